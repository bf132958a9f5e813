"""The worker behind `symbolic`: reads [gold, answer] lines of JSON, says one word for each.

That is "same", "different" or "failed", or "broken" and why, where Math-Verify does not import. Run
as a script; imports nothing of ours. Math-Verify's own timeouts are off: whoever asks keeps the
time.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def verdict(gold: str, answer: str) -> str:
    """Math-Verify's judgement of two LaTeX or plain expressions; order matters, gold comes
    first."""
    try:
        from math_verify import parse, verify
    except Exception as error:
        # The package is there, but it or what it imports does not fit: no text is to blame.
        return f"broken {type(error).__name__}: {error}".splitlines()[0]

    def parsed(text: str) -> Any:
        as_formula = parse(f"${text}$", parsing_timeout=None)
        return as_formula or parse(text, parsing_timeout=None)

    try:
        same = verify(parsed(gold), parsed(answer), timeout_seconds=None)
    except Exception:
        # A grammar we do not know in a text we did not write: it may raise anything.
        return "failed"
    return "same" if same else "different"


def serve() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        gold, answer = json.loads(line)
        sys.stdout.write(verdict(gold, answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
