"""Counts in words: `1 problem`, `2 problems`.

Every text that puts a number before things goes through this; `tests/test_counts.py` looks for one
that does not.
"""

from __future__ import annotations

PLURALS = {"branch": "branches"}
"""Of nouns that are a `unit`, where it is not the noun and an s."""


def unit_of(decodings: int, problems: int, *, are_branches: bool = False) -> str:
    """What one of these `decodings` is, which are of so many `problems` of the input: a `branch`, a
    `sample` where some problem has several, else a `problem`. Unknown `problems` are 0."""
    if are_branches:
        return "branch"
    return "sample" if 0 < problems < decodings else "problem"


def decodings_text(number: int, unit: str, problems: int) -> str:
    """So many decodings of a run whose `unit` is that, of so many `problems` of the input:
    `1 problem`, `3 samples of 1 problem`, `256 branches`."""
    text = count_text(number, unit)
    return f"{text} of {count_text(problems, 'problem')}" if unit == "sample" else text


def count_text(number: int | str, noun: str, plural: str = "") -> str:
    """The number with its noun: `1 problem`, `0 problems`, `2 forward passes`, `? problems`.

    `plural` where it is neither the noun and an s nor in `PLURALS`. A text is a number that is not
    known, or one that is written in groups of digits.
    """
    return f"{number} {noun_for(number, noun, plural)}"


def noun_for(number: int | str, noun: str, plural: str = "") -> str:
    """The noun alone, as it stands behind this number."""
    if str(number) == "1":
        return noun
    return plural or PLURALS.get(noun, f"{noun}s")
