r"""Numbers as people and models write them, as fractions: `$1,200.00`, `1{,}200`, `-\frac34`, `2
1/2`, `6\text{ cm}^2`.

Mathematical forms are read by `number_forms`; what has no exact value there (`x+1`, `\sqrt{2}`) and
number words are not numbers here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from .number_forms import after_construct, plain_value, read_number, read_quotient
from .number_patterns import (
    FRACTION,
    GROUP_SIGNS,
    MOST_DIGITS,
    PLAIN,
    ROOT,
    SUPERSCRIPT,
    VULGAR,
)

_MONEY = r"(?:\\?[$]\s?|[€£])"
_SIGN = (
    r"(?:(?<![\w)\]}.%])"  # a minus between two operands is not a sign
    r"(?P<sign>[-−–])\s{0,2})?"
    rf"(?:{_MONEY})?"
    r"(?:(?<=[$€£])(?P<inner>[-−–]))?"  # the sign may stand behind the currency
)
_FORM = rf"(?P<form>(?={FRACTION}|{ROOT}|(?<!\w)[{VULGAR}]))"
"""Where a mathematical form begins; `read_number` reads it from there."""
_DIGITS = (
    r"(?<![\w\\^])(?<!\d[.,])(?<!\^[{-])"  # not in a word, behind a point, or in an exponent
    rf"(?!(?<=\d[{GROUP_SIGNS}])\d{{3}}(?!\d))"  # nor the next group of a longer number
    rf"(?P<body>{PLAIN})"
    r"(?:(?P<exponent>[eE][+-]?\d{1,3})(?!\w)"  # 2e5
    r"|(?:[ ](?P<mixed>\d+))?/(?P<over>\d+)(?![\d/]))?"  # 3/4 and 2 3/4, but no date
)
_END = r"(?![.,]?\d|[eE][+-]?\d|(?:st|nd|rd|th)\b|(?![gmshl])[a-zD]\b)"
"""Not a part of a longer number, an ordinal, a multiple of an unknown, or a name such as 3D."""
NUMBER = re.compile(rf"{_SIGN}(?>{_FORM}|{_DIGITS}){_END}")

_GOES_ON = re.compile(
    rf"\s?\^|[{SUPERSCRIPT}⁻]"  # a power
    r"|\.?\\(?:overline|bar|dot)(?![A-Za-z])"  # repeating digits
    rf"|\s*(?:\\[,;:! ])?(?:\\times|\\cdot|[×·*x]\s*10\s*[\^{SUPERSCRIPT}⁻])"
    rf"|\s?(?:\\[,;:! ])?(?:{FRACTION}|{ROOT}|[{VULGAR}])"  # a mixed number
)
"""What makes plain digits the beginning of a mathematical form."""
_TEXT_UNIT = r"\\(?:text|textbf|textrm|mathrm|mbox|operatorname)\s*\{[^{}\d]*\}"
UNIT = re.compile(
    r"(?:\s|\\[ ,;:!%$]|[~%°.$€£]"  # spaces, percent, currency, the end of the sentence
    r"|\^\s*\{?\s*\\circ\s*\}?|\\(?:circ|degree|percent|right)(?![A-Za-z])"  # degrees
    r"|\\[)\]]"  # the end of a formula
    rf"|/?{_TEXT_UNIT}(?:\s*\^\s*(?:\{{\s*-?\d\s*\}}|-?\d))?"  # \text{cm}^2
    r"|(?<=[\s\d/}])(?!(?:pi|sqrt|i)\b)"  # words and abbreviations, with a power; no constants
    r"(?:[^\W\d_]{2,}|[gmshlLCFK]\b)[/-]?(?:\^?(?:[23²³]|\{[23]\})(?!\d))?)*"
)
"""What may stand behind a number without changing it."""
_OPENING = re.compile(r"(?:\s|\\[,;:!$(\[ ]|[$€£*~]|\\(?:left|displaystyle)(?![A-Za-z]))*")
"""What may stand before it."""


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
    end = 0
    while match := NUMBER.search(text, end):
        start, negative = _sign(match, text, leading_minus_is_sign=leading_minus_is_sign)
        value, end = _value(match, text)
        if value is not None:
            yield Number(start, end, -value if negative else value)


def parse_value(text: str) -> Number | None:
    """The number that the whole text is, but for currency, units, percent and `x =`; None where it
    is anything else.

    A percent sign is dropped, as MATH's own grader (Hendrycks et al. 2021, `strip_string`) and
    Minerva's (Lewkowycz et al. 2022, appendix D) drop it: 50 % is 50 and not 1/2.
    """
    right_side = text.rfind("=") + 1
    return _only_number(text, right_side) or _whole_form(text, right_side)


def _only_number(text: str, right_side: int) -> Number | None:
    """The first number of what begins at `right_side`, where nothing else stands there."""
    rest = text[right_side:]
    first = next(numbers(rest, leading_minus_is_sign=True), None)
    if first is None or rest[: first.start].strip(" \t\n\\$€£(*"):
        return None
    if not UNIT.fullmatch(rest[first.end :].rstrip(" \n)*")):
        return None
    return Number(right_side + first.start, right_side + first.end, first.value)


def _whole_form(text: str, right_side: int) -> Number | None:
    """What begins at `right_side` as one mathematical form."""
    opening = _OPENING.match(text, right_side)
    start = opening.end() if opening else right_side
    form = read_quotient(text, start)
    if form is None or not UNIT.fullmatch(text[form.end :].rstrip(" \n*")):
        return None
    return Number(start, form.end, form.value)


def same_text(left: str, right: str) -> bool:
    r"""Equality of answers that are no numbers, but for case, white space, `$`, `\text{}`, `(A)`
    for `A`, last dot."""
    return normal_text(left) == normal_text(right)


def normal_text(text: str) -> str:
    """What `same_text` compares."""
    text = re.sub(r"\\(?:text|textbf|mathrm|mbox)\s*\{([^{}]*)\}", r"\1", text)
    text = text.replace("−", "-").replace("\\dfrac", "\\frac")
    text = re.sub(r"\\(?:left|right|[,;:! ])|\\?\$|\s", "", text)
    text = text.strip("*").rstrip(".").casefold()
    if re.fullmatch(r"\(\w\)", text):
        return text[1:-1]
    return text


def _sign(match: re.Match[str], text: str, *, leading_minus_is_sign: bool) -> tuple[int, bool]:
    """Where the number begins, its sign included and its currency not, and whether it is
    negative."""
    digits = max(match.start("body"), match.start("form"))
    if match["sign"] is None and match["inner"] is None:
        return digits, False
    if match["sign"] is None:
        return match.start("inner"), True

    before = text[: match.start()].rstrip(" \t$*")
    spaced = text[match.end("sign")].isspace()
    opens = leading_minus_is_sign and not before
    if not spaced or opens or before.endswith(("=", ":", "(")):
        return match.start(), True
    return digits, False


def _value(match: re.Match[str], text: str) -> tuple[Fraction | None, int]:
    """What a match is worth, exactly, and where it ends, with what LaTeX adds behind it.

    None for a zero denominator, a form without an exact value, or more digits than anyone means.
    """
    end = match.end()
    if match["form"] is not None:
        return read_number(text, end) or (None, after_construct(text, end))
    if end - match.start() > MOST_DIGITS:
        return None, end
    if _GOES_ON.match(text, end):
        longer = read_number(text, match.start("body"))
        if longer is not None and longer.end > end:
            return longer

    plain = plain_value(match["body"] + (match["exponent"] or ""))
    if match["over"] is None:
        return plain, end
    denominator = int(match["over"])
    if denominator == 0:
        return None, end
    if match["mixed"] is not None:
        return plain + Fraction(int(match["mixed"]), denominator), end
    return plain / denominator, end
