"""What a run can say of its gold answers before it starts: which of them it will not be able to
judge as it should."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..store.counts import count_text
from .ambiguous import readings
from .numbers import parse_value
from .symbolic import available

_WORDS = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mbox)\s*\{)?"
    r"\(?(?:[A-Z]|[^\W\d_]{2,}(?:[ '’-][^\W\d_]+)*)\)?"
    r"[.!]?\}?"
)
"""A letter of choice or words, which compare as text whatever is installed."""


def gold_warnings(golds: Iterable[str | None]) -> list[str]:
    """Sentences on the gold answers that cannot be judged exactly, with their number and what to
    do; often none."""
    given = [gold for gold in golds if gold is not None]
    not_numbers = [gold for gold in given if parse_value(gold) is None]
    ambiguous = [gold for gold in not_numbers if readings(gold)]
    symbolic = [gold for gold in not_numbers if _is_symbolic(gold)]
    warnings = []
    if symbolic and not available():
        warnings.append(
            f"Math-Verify is not installed: {_count(symbolic, given)} are no plain numbers and "
            "will not be judged symbolically but compared as text, so that an equal expression "
            "written differently counts as wrong; stop, pip install math-verify (extra `math`), "
            "and run again"
        )
    if ambiguous:
        warnings.append(
            f"{_count(ambiguous, given)} are numbers that two conventions read differently: "
            "answers that are right in one of them are `ambiguous`, not correct; write decimals "
            "with a point and thousands with a comma or nothing"
        )
    return warnings


def _is_symbolic(gold: str) -> bool:
    return not readings(gold) and not _WORDS.fullmatch(gold.strip())


def _count(some: list[str], given: list[str]) -> str:
    answers = count_text(len(given), "gold answer")
    return f"{len(some)} of {answers} (such as {some[0][:60]!r})"
