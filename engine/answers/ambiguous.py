"""Numbers that two conventions read differently: `12,5`, `1.234,5`, `0,333`, `1.234.567`,
`12,34,567`.

A comma is the decimal sign of half the world and the group separator of the other; the data of the
field are written in the second way, where `1,234` and `1.234` are plain. What is neither a group
nor a decimal there is read in no way silently: `readings` gives every value that it may mean. Knows
nothing of grading.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from .number_forms import GROUP_SIGNS, MOST_DIGITS
from .numbers import UNIT

_GROUP_SIGN = f"[{GROUP_SIGNS}]"
_DECIMAL_COMMA = (
    rf"\d{{1,3}}(?:\.\d{{3}}(?!\d))+,\d+|\d{{1,3}}(?:{_GROUP_SIGN}\d{{3}}(?!\d))+,\d+|\d+,\d+"
)
_DOT_GROUPS = r"\d{1,3}(?:\.\d{3}){2,}"
_LAKH = r"\d{1,2}(?:,\d{2})+,\d{3}"
_SPACED = r"[1-9]\d{0,2}(?: \d{3})+"
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+")
_AMBIGUOUS = re.compile(
    rf"(?:(?<![\w)\]}}.%])(?P<sign>[-−–]))?(?:\\?\$\s?|[€£])?(?<![\w.,^\\])(?<!\\[{{(])"
    rf"(?P<digits>{_LAKH}|{_DOT_GROUPS}|{_DECIMAL_COMMA}|{_SPACED})(?![.,]?\d|\w)"
)
_LIST_OPENS = re.compile(r"[(\[]\s*$")


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
    found = []
    for match in _AMBIGUOUS.finditer(text):
        digits = match["digits"]
        if (
            _GROUPED.fullmatch(digits)
            or len(digits) > MOST_DIGITS
            or (" " in digits and not spaced)
        ):
            continue
        if _LIST_OPENS.search(text[max(0, match.start() - 8) : match.start()]):
            continue
        start = match.start() if match["sign"] else match.start("digits")
        found.append(
            Ambiguous(start, match.end(), _values(digits, negative=match["sign"] is not None))
        )
    return found


def readings(text: str) -> frozenset[Fraction]:
    """The values that the whole text may have, but for currency, units and `x =`; empty if it is no
    such number."""
    begin = text.rfind("=") + 1
    found = ambiguous_numbers(text[begin:], spaced=True)
    if not found or text[begin : begin + found[0].start].strip(" \t\n\\$€£*"):
        return frozenset()
    return (
        found[0].values
        if UNIT.fullmatch(text[begin + found[0].end :].rstrip(" \n*"))
        else frozenset()
    )


def _values(digits: str, *, negative: bool) -> frozenset[Fraction]:
    """Comma as the decimal sign, dot as the decimal sign, neither; for `1 234` also the first
    number alone."""
    bare = re.sub(_GROUP_SIGN, "", digits)
    written = [
        bare.replace(".", "").replace(",", "."),
        bare.replace(",", ""),
        re.sub("[.,]", "", bare),
    ]
    if " " in digits:
        written = [bare.replace(" ", ""), digits.partition(" ")[0]]
    values = {Fraction(one) for one in written if re.fullmatch(r"\d+(?:\.\d+)?", one)}
    return frozenset(-value if negative else value for value in values)
