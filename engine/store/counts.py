"""Counts in words: `1 problem`, `2 problems`.

Every text that puts a number before things goes through this; `tests/test_counts.py` looks for one
that does not.
"""

from __future__ import annotations


def count_text(number: int | str, noun: str, plural: str = "") -> str:
    """The number with its noun: `1 problem`, `0 problems`, `2 forward passes`, `? problems`.

    `plural` where it is not the noun and an s. A text is a number that is not known, or one that
    is written in groups of digits.
    """
    return f"{number} {noun_for(number, noun, plural)}"


def noun_for(number: int | str, noun: str, plural: str = "") -> str:
    """The noun alone, as it stands behind this number."""
    if str(number) == "1":
        return noun
    return plural or f"{noun}s"
