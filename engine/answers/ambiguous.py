"""Numbers that two conventions read differently: `12,5`, `1.234,5`, `0,333`, `1.234.567`,
`12,34,567`.

A comma is the decimal sign of half the world and the group separator of the other; the data of the
field are written in the second way, where `1,234` and `1.234` are plain. What is neither a group
nor a decimal there is read in no way silently: `readings` gives every value that it may mean.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from .number_patterns import GROUP_SIGNS, MOST_DIGITS
from .numbers import UNIT

_GROUP_SIGN = f"[{GROUP_SIGNS}]"
_DECIMAL_COMMA = (
    r"\d{1,3}(?:\.\d{3}(?!\d))+,\d+"  # 1.234,5
    rf"|\d{{1,3}}(?:{_GROUP_SIGN}\d{{3}}(?!\d))+,\d+"  # 1'234,5
    r"|\d+,\d+"  # 12,5
)
_DOT_GROUPS = r"\d{1,3}(?:\.\d{3}){2,}"  # 1.234.567
_LAKH = r"\d{1,2}(?:,\d{2})+,\d{3}"  # 12,34,567 as in India
_SPACED = r"[1-9]\d{0,2}(?: \d{3})+"  # 1 234
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+")
"""1,234,567: every convention that the field uses reads it alike."""
_AMBIGUOUS = re.compile(
    r"(?:(?<![\w)\]}.%])(?P<sign>[-−–]))?"
    r"(?:\\?\$\s?|[€£])?"
    r"(?<![\w.,^\\])(?<!\\[{(])"  # not a part of a word, a number, an exponent, a command
    rf"(?P<digits>{_LAKH}|{_DOT_GROUPS}|{_DECIMAL_COMMA}|{_SPACED})"
    r"(?![.,]?\d|\w)"
)
_LIST_OPENS = re.compile(r"[(\[]\s*$")
_LIST_NEAR = 8
"""Characters before a number in which a list may open."""


class Ambiguous(NamedTuple):
    """Where it stands, its sign included, and the values that it may have."""

    start: int
    end: int
    values: frozenset[Fraction]


def ambiguous_numbers(text: str, *, spaced: bool = False) -> list[Ambiguous]:
    """Those of a text in order. Lists in brackets, `(3,4)`, are none.

    With `spaced` also `1 234` with an ordinary space, which in running text is more often two
    numbers.
    """
    ambiguous = []
    for match in _AMBIGUOUS.finditer(text):
        digits = match["digits"]
        if _GROUPED.fullmatch(digits) or len(digits) > MOST_DIGITS:
            continue
        if " " in digits and not spaced:
            continue
        before = text[max(0, match.start() - _LIST_NEAR) : match.start()]
        if _LIST_OPENS.search(before):
            continue
        negative = match["sign"] is not None
        start = match.start() if negative else match.start("digits")
        ambiguous.append(Ambiguous(start, match.end(), _values(digits, negative=negative)))
    return ambiguous


def readings(text: str) -> frozenset[Fraction]:
    """The values that the whole text may have, but for currency, units and `x =`; empty if it is no
    such number."""
    right_side = text[text.rfind("=") + 1 :]
    numbers = ambiguous_numbers(right_side, spaced=True)
    if not numbers or right_side[: numbers[0].start].strip(" \t\n\\$€£*"):
        return frozenset()
    behind = right_side[numbers[0].end :].rstrip(" \n*")
    return numbers[0].values if UNIT.fullmatch(behind) else frozenset()


def _values(digits: str, *, negative: bool) -> frozenset[Fraction]:
    """Comma as the decimal sign, dot as the decimal sign, neither; for `1 234` also the first
    number alone."""
    bare = re.sub(_GROUP_SIGN, "", digits)
    if " " in digits:
        written = [bare.replace(" ", ""), digits.partition(" ")[0]]
    else:
        decimal_comma = bare.replace(".", "").replace(",", ".")
        decimal_dot = bare.replace(",", "")
        neither = re.sub("[.,]", "", bare)
        written = [decimal_comma, decimal_dot, neither]
    values = {Fraction(text) for text in written if re.fullmatch(r"\d+(?:\.\d+)?", text)}
    return frozenset(-value if negative else value for value in values)
