r"""Numbers as people and models write them, as fractions: `$1,200.00`, `1{,}200`, `-\frac34`, `2
1/2`, `6\text{ cm}^2`.

Knows nothing of where in a text the answer stands; that is `grading`. Mathematical forms are read
by `number_forms`; what has no exact value there (`x+1`, `\sqrt{2}`) and number words are not
numbers here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from .number_forms import (
    FRACTION,
    GROUP_SIGNS,
    MOST_DIGITS,
    PLAIN,
    ROOT,
    SUPERSCRIPT,
    VULGAR,
    after_construct,
    plain_value,
    read_number,
    read_quotient,
)

_MONEY = r"(?:\\?[$]\s?|[€£])"
NUMBER = re.compile(
    # The sign may stand before or after the currency; a minus between two operands is not a sign.
    rf"(?:(?<![\w)\]}}.%])(?P<sign>[-−–])\s{{0,2}})?(?:{_MONEY})?(?:(?<=[$€£])(?P<inner>[-−–]))?"
    rf"(?>(?P<form>(?={FRACTION}|{ROOT}|(?<!\w)[{VULGAR}]))"
    rf"|(?<![\w\\^])(?<!\d[.,])(?<!\^[{{-])(?!(?<=\d[{GROUP_SIGNS}])\d{{3}}(?!\d))(?P<body>{PLAIN})"
    r"(?:(?P<exponent>[eE][+-]?\d{1,3})(?!\w)"
    r"|(?:[ ](?P<mixed>\d+))?/(?P<over>\d+)(?![\d/]))?)"
    # Not a part of a longer number, an ordinal, a multiple of an unknown, or a name such as 3D.
    r"(?![.,]?\d|[eE][+-]?\d|(?:st|nd|rd|th)\b|(?![gmshl])[a-zD]\b)"
)
_GOES_ON = re.compile(
    rf"\s?\^|[{SUPERSCRIPT}⁻]|\.?\\(?:overline|bar|dot)(?![A-Za-z])"
    rf"|\s*(?:\\[,;:! ])?(?:\\times|\\cdot|[×·*x]\s*10\s*[\^{SUPERSCRIPT}⁻])"
    rf"|\s?(?:\\[,;:! ])?(?:{FRACTION}|{ROOT}|[{VULGAR}])"
)
_TEXT_UNIT = r"\\(?:text|textbf|textrm|mathrm|mbox|operatorname)\s*\{[^{}\d]*\}"
UNIT = re.compile(
    r"(?:\s|\\[ ,;:!%$]|[~%°.$€£]|\^\s*\{?\s*\\circ\s*\}?"
    r"|\\(?:circ|degree|percent|right)(?![A-Za-z])|\\[)\]]"
    rf"|/?{_TEXT_UNIT}(?:\s*\^\s*(?:\{{\s*-?\d\s*\}}|-?\d))?"
    r"|(?<=[\s\d/}])(?!(?:pi|sqrt|i)\b)(?:[^\W\d_]{2,}|[gmshlLCFK]\b)[/-]?(?:\^?(?:[23²³]|\{[23]\})(?!\d))?)*"
)
_OPENING = re.compile(r"(?:\s|\\[,;:!$(\[ ]|[$€£*~]|\\(?:left|displaystyle)(?![A-Za-z]))*")


class Number(NamedTuple):
    """A number found in a text: where it stands (sign included, unit not) and what it is worth."""

    start: int
    end: int
    value: Fraction


def numbers(text: str, *, leading_minus_is_sign: bool = False) -> Iterator[Number]:
    """The numbers of a text in order.

    A minus with a space behind it counts as a sign after `=`, `:` or `(`; where it opens the text,
    only with `leading_minus_is_sign`, since there it is more often the bullet of a list.
    """
    place = 0
    while match := NUMBER.search(text, place):
        start, negative = _sign(match, text, leading_minus_is_sign=leading_minus_is_sign)
        value, place = _value(match, text)
        if value is not None:
            yield Number(start, place, -value if negative else value)


def parse_value(text: str) -> Number | None:
    """The number that the whole text is, but for currency, units, percent and `x =`; None where it
    is anything else.

    A percent sign is dropped, as MATH's own grader (Hendrycks et al. 2021, `strip_string`) and
    Minerva's (Lewkowycz et al. 2022, appendix D) drop it: 50 % is 50 and not 1/2.
    """
    begin = text.rfind("=") + 1
    first = next(iter(numbers(text[begin:], leading_minus_is_sign=True)), None)
    if first is not None and not text[begin : begin + first.start].strip(" \t\n\\$€£(*"):
        if UNIT.fullmatch(text[begin + first.end :].rstrip(" \n)*")):
            return Number(begin + first.start, begin + first.end, first.value)
    opening = _OPENING.match(text, begin)
    start = opening.end() if opening else begin
    whole = read_quotient(text, start)
    if whole is None or not UNIT.fullmatch(text[whole.end :].rstrip(" \n*")):
        return None
    return Number(start, whole.end, whole.value)


def same_text(one: str, other: str) -> bool:
    r"""Equality of answers that are no numbers, but for case, white space, `$`, `\text{}`, `(A)`
    for `A`, last dot."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    text = re.sub(r"\\(?:text|textbf|mathrm|mbox)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(
        r"\\(?:left|right|[,;:! ])|\\?\$|\s",
        "",
        text.replace("−", "-").replace("\\dfrac", "\\frac"),
    )
    text = text.strip("*").rstrip(".").casefold()
    return text[1:-1] if re.fullmatch(r"\(\w\)", text) else text


def _sign(match: re.Match[str], text: str, *, leading_minus_is_sign: bool) -> tuple[int, bool]:
    """Where the number begins, its sign included and its currency not, and whether it is
    negative."""
    digits = max(match.start("body"), match.start("form"))
    if match["sign"] is None:
        return (digits, False) if match["inner"] is None else (match.start("inner"), True)
    before = text[: match.start()].rstrip(" \t$*")
    spaced = text[match.end("sign")].isspace()
    if not spaced or before.endswith(("=", ":", "(")) or (leading_minus_is_sign and not before):
        return match.start(), True
    return digits, False


def _value(match: re.Match[str], text: str) -> tuple[Fraction | None, int]:
    """What a match is worth, exactly, and where it ends, with what LaTeX adds behind it.

    None for a zero denominator, a form without an exact value, or more digits than anyone means.
    """
    if match["form"] is not None:
        form = read_number(text, match.end())
        return (None, after_construct(text, match.end())) if form is None else form
    if match.end() - match.start() > MOST_DIGITS:
        return None, match.end()
    longer = read_number(text, match.start("body")) if _GOES_ON.match(text, match.end()) else None
    if longer is not None and longer.end > match.end():
        return longer
    plain = plain_value(match["body"] + (match["exponent"] or ""))
    if match["over"] is None:
        return plain, match.end()
    if int(match["over"]) == 0:
        return None, match.end()
    if match["mixed"] is not None:
        return plain + Fraction(int(match["mixed"]), int(match["over"])), match.end()
    return plain / int(match["over"]), match.end()
