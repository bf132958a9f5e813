"""The worker behind `symbolic`: reads [gold, answer] lines of JSON, says "same", "different" or "failed" for each.

Run as a script; imports nothing of ours. Math-Verify's own timeouts are off: whoever asks keeps the time.
"""

from __future__ import annotations

import json
import sys


def verdict(gold: str, answer: str) -> str:
    """Math-Verify's judgement of two LaTeX or plain expressions; order matters, gold comes first."""
    from math_verify import parse, verify

    try:
        parsed = [parse(f"${text}$", parsing_timeout=None) or parse(text, parsing_timeout=None)
                  for text in (gold, answer)]  # fmt: skip
        return "same" if verify(*parsed, timeout_seconds=None) else "different"
    except Exception:  # a grammar we do not know in a text we did not write: whatever it raises, the answer is "failed"
        return "failed"


def serve() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        gold, answer = json.loads(line)
        sys.stdout.write(verdict(gold, answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
