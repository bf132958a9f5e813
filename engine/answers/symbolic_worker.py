"""The worker behind `symbolic`: reads [gold, answer] lines of JSON, says one word for each.

That is "same", "different" or "failed", or "broken" and why, where Math-Verify does not import. Run
as a script; imports nothing of ours. Math-Verify's own timeouts are off: whoever asks keeps the
time.
"""

from __future__ import annotations

import json
import sys


def verdict(gold: str, answer: str) -> str:
    """Math-Verify's judgement of two LaTeX or plain expressions; order matters, gold comes
    first."""
    try:
        from math_verify import parse, verify
    except (
        Exception
    ) as error:  # the package is there, but it or what it imports does not fit: no text is to blame
        return f"broken {type(error).__name__}: {error}".splitlines()[0]
    try:
        parsed = [
            parse(f"${text}$", parsing_timeout=None) or parse(text, parsing_timeout=None)
            for text in (gold, answer)
        ]
        return "same" if verify(*parsed, timeout_seconds=None) else "different"
    # a grammar we do not know in a text we did not write: whatever it raises, the answer is
    # "failed"
    except Exception:
        return "failed"


def serve() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        gold, answer = json.loads(line)
        sys.stdout.write(verdict(gold, answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
