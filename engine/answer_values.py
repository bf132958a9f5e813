r"""Numbers as people and models write them, as fractions: `$1,200.00`, `1{,}200`, `-\frac{3}{4}`, `2 1/2`, `1.2e3`.

Knows nothing of where in a text the answer stands; that is `grading`. Symbolic answers (`x+1`, `\sqrt{2}`) and number
words are not numbers here and compare as strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

MOST_DIGITS = 400

_GROUP = r"(?:,|\{,\}|\\,|\\!,|,\\!)"
_PLAIN = rf"(?:\d{{1,3}}(?:{_GROUP}\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_TEX_FRACTION = r"\\[dt]?frac\s*\{\s*(?P<{0}num>-?\d+)\s*\}\s*\{\s*(?P<{0}den>\d+)\s*\}"
_MONEY = r"(?:\\?\$\s?|[€£])"
NUMBER = re.compile(
    # The sign may stand before or after the currency; a minus between two operands is not a sign.
    rf"(?:(?<![\w)\]}}.%])(?P<sign>[-−])\s{{0,2}})?(?:{_MONEY})?(?:(?<=[$€£])(?P<inner>[-−]))?"
    rf"(?>(?P<fraction>{_TEX_FRACTION.replace('{0}', 'a')})"
    rf"|(?<![\w\\])(?<!\d[.,])(?P<body>{_PLAIN})"
    rf"(?:(?P<exponent>[eE][+-]?\d{{1,3}})(?!\w)|\s?{_TEX_FRACTION.replace('{0}', 'b')}"
    r"|(?:[ ](?P<mixed>\d+))?/(?P<over>\d+)(?![\d/]))?)"
    # Not a part of a longer number, an ordinal, a multiple of an unknown, or a name such as 3D.
    r"(?![.,]?\d|[eE][+-]?\d|(?:st|nd|rd|th)\b|(?![gmshl])[a-zD]\b)"
)
_UNIT = re.compile(
    r"(?:\s|\\[ ,;:!%$]|[%°.$€£]|\^\s*\{?\s*\\circ\s*\}?|\\(?:text|textbf|mathrm|mbox)\s*\{[^{}\d]*\}"
    r"|(?<=[\s\d/])(?!(?:pi|sqrt|i)\b)(?:[^\W\d_]{2,}|[gmshlLCFK]\b)[/-]?(?:\^?[23²³](?!\d))?)*"
)


class Number(NamedTuple):
    """A number found in a text: where it stands (sign included, unit not) and what it is worth."""

    start: int
    end: int
    value: Fraction


def numbers(text: str, *, leading_minus_is_sign: bool = False) -> Iterator[Number]:
    """The numbers of a text in order.

    A minus with a space behind it counts as a sign after `=`, `:` or `(`; where it opens the text, only with
    `leading_minus_is_sign`, since there it is more often the bullet of a list.
    """
    for match in NUMBER.finditer(text):
        start, negative = _sign(match, text, leading_minus_is_sign=leading_minus_is_sign)
        value = _value(match)
        if value is not None:
            yield Number(start, match.end(), -value if negative else value)


def parse_value(text: str) -> Number | None:
    """The number that the whole text is, but for currency, units, percent and `x =`; None where it is anything else."""
    begin = text.rfind("=") + 1
    found = next(iter(numbers(text[begin:], leading_minus_is_sign=True)), None)
    if found is None or text[begin : begin + found.start].strip(" \t\n\\$€£(*"):
        return None
    if not _UNIT.fullmatch(text[begin + found.end :].rstrip(" \n)*")):
        return None
    return Number(begin + found.start, begin + found.end, found.value)


def same_text(one: str, other: str) -> bool:
    r"""Equality of answers that are no numbers, but for case, white space, `$`, `\text{}`, `(A)` for `A`, last dot."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    text = re.sub(r"\\(?:text|textbf|mathrm|mbox)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\(?:left|right|[,;:! ])|\\?\$|\s", "", text.replace("−", "-").replace("\\dfrac", "\\frac"))
    text = text.strip("*").rstrip(".").casefold()
    return text[1:-1] if re.fullmatch(r"\(\w\)", text) else text


def _sign(match: re.Match[str], text: str, *, leading_minus_is_sign: bool) -> tuple[int, bool]:
    """Where the number begins, its sign included and its currency not, and whether it is negative."""
    digits = max(match.start("body"), match.start("fraction"))
    if match["sign"] is None:
        return (digits, False) if match["inner"] is None else (match.start("inner"), True)
    before = text[: match.start()].rstrip(" \t$*")
    spaced = text[match.end("sign")].isspace()
    if not spaced or before.endswith(("=", ":", "(")) or (leading_minus_is_sign and not before):
        return match.start(), True
    return digits, False


def _value(match: re.Match[str]) -> Fraction | None:
    """What the parts of a match are worth, exactly. None for a zero denominator or more digits than anyone means."""
    if match.end() - match.start() > MOST_DIGITS:
        return None
    if match["anum"] is not None:
        return _ratio(match["anum"], match["aden"])
    plain = Fraction(re.sub(r"[^\d.]", "", match["body"]) + (match["exponent"] or ""))
    if match["bnum"] is not None:
        part = _ratio(match["bnum"], match["bden"])
        return None if part is None else plain + part
    if match["over"] is None:
        return plain
    if match["mixed"] is not None:
        part = _ratio(match["mixed"], match["over"])
        return None if part is None else plain + part
    return None if int(match["over"]) == 0 else plain / int(match["over"])


def _ratio(numerator: str, denominator: str) -> Fraction | None:
    return None if int(denominator) == 0 else Fraction(int(numerator), int(denominator))
