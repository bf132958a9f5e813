"""What a run can say of its gold answers before it starts: which of them it will not be able to
judge as it should.

Knows how answers are compared, nothing of models or of generated texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .ambiguous import readings
from .numbers import parse_value
from .symbolic import available

_WORDS = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mbox)\s*\{)?\(?(?:[A-Z]|[^\W\d_]{2,}(?:[ "
    r"'’-][^\W\d_]+)*)\)?[.!]?\}?"
)
"""A letter of choice or words, which compare as text whatever is installed."""


def gold_warnings(golds: Iterable[str | None]) -> list[str]:
    """Sentences on the gold answers that cannot be judged exactly, with their number and what to
    do; often none."""
    known = [gold for gold in golds if gold is not None]
    unread = [gold for gold in known if parse_value(gold) is None]
    ambiguous = [gold for gold in unread if readings(gold)]
    symbolic = [
        gold for gold in unread if not readings(gold) and not _WORDS.fullmatch(gold.strip())
    ]
    warnings = []
    if symbolic and not available():
        warnings.append(
            f"Math-Verify is not installed: {len(symbolic)} of {len(known)} gold answers "
            f"({_example(symbolic)}) are no "
            "plain numbers and will not be judged symbolically but compared as text, so that an "
            "equal expression "
            "written differently counts as wrong; stop, pip install math-verify (extra `math`), "
            "and run again"
        )
    if ambiguous:
        warnings.append(
            f"{len(ambiguous)} of {len(known)} gold answers ({_example(ambiguous)}) are numbers "
            "that two conventions "
            "read differently: answers that are right in one of them are `ambiguous`, not "
            "correct; write decimals with "
            "a point and thousands with a comma or nothing"
        )
    return warnings


def _example(golds: list[str]) -> str:
    return f"such as {golds[0][:60]!r}"
