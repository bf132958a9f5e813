r"""Numbers as LaTeX and mathematics write them, as fractions: `\frac12`, `10^{3}`, `2 \times 10^3`,
`\sqrt{4}`, `3!`.

A reader by recursive descent from a given place of a text; it reads no more than it can give an
exact value. What has none as a fraction (`\sqrt{2}`, `\pi`, sums, unknowns) is None here and a
question for `symbolic`. Knows nothing of signs in running text, units or currency; that is
`answer_values`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

MOST_DIGITS = 400
"""Of a number worth reading, and characters of an expression."""
DEEPEST = 12
"""Nested braces, roots and fractions."""

GROUP_SIGNS = "'’_\u2009\u00a0\u202f\u2008\u2007"
"""What stands between groups of three digits besides the comma: ISO 80000's thin spaces, apostrophe
and underscore."""
_COMMA = r"(?:,|\{,\}|\\!,|,\\!)"
_OTHER = rf"(?:[{GROUP_SIGNS}]|\\[,!;: _]|~|\{{\\,\}}|\{{ \}})"
_BY_OTHER = rf"(?P<group>{_OTHER})\d{{3}}(?:(?P=group)\d{{3}})*"
GROUPED = rf"[1-9]\d{{0,2}}(?:(?:{_COMMA}\d{{3}})+|{_BY_OTHER})(?!\d)"
"""One kind of separator throughout: `1 234,567` has a decimal comma."""
PLAIN = rf"(?:{GROUPED}|\d+)(?:\.\d+)?|\.\d+"
VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹"
FRACTION = r"\\[dtc]?frac(?![A-Za-z])"
ROOT = r"\\sqrt(?![A-Za-z])|√"

_BODY = re.compile(rf"(?:{PLAIN})(?:[eE][+-]?\d{{1,3}}(?![\w.]))?")
_SPACE = re.compile(
    r"(?:\s|\\[,;:!> ]|~|\\(?:left|right|displaystyle|(?:thin|med|thick)space|q?quad)(?![A-Za-z]))*"
)
_REPEATING = re.compile(r"\\(?:overline|bar|dot)\s*(?:\{\s*(\d{1,50})\s*\}|(\d))")
_FRACTION = re.compile(FRACTION)
_ROOT = re.compile(rf"(?:{ROOT})(?:\s*\[\s*(\d{{1,3}})\s*\])?")
_TIMES = re.compile(r"\\times(?![A-Za-z])|\\cdot(?![A-Za-z])|[×·*x](?=\s*10\s*[\^⁻⁰¹²³⁴⁵⁶⁷⁸⁹])")
_EXPONENT = re.compile(
    r"\s?\^\s*(?:\{\s*(?P<braced>[-−+]?\s*\d{1,4})\s*\}|\(\s*(?P<round>[-−+]?\d{1,4})\s*\)|(?P<bare>[-−]?\d{1,4}))"
    rf"|(?P<raised>⁻?[{SUPERSCRIPT}]{{1,4}})"
)


class Reading(NamedTuple):
    """What was read: its value and where it ends."""

    value: Fraction
    end: int


def read_number(
    text: str, start: int, *, factorial: bool = False, depth: int = DEEPEST
) -> Reading | None:
    """The longest exact number that begins at `start`, without a sign; None if there is none.

    With `factorial`, `3!` is 6: only where the text is known to be mathematics, else it is an
    exclamation.
    """
    factor = _mixed(text, start, factorial=factorial, depth=depth)
    if factor is None or factor.end - start > MOST_DIGITS:
        return None
    scaled = _times_power_of_ten(text, factor)
    return scaled if scaled.end - start <= MOST_DIGITS else factor


def read_quotient(text: str, start: int, *, depth: int = DEEPEST) -> Reading | None:
    r"""As `read_number` in mathematics, with a sign, parentheses, and one division: `-(3)`,
    `\sqrt{4}/3`."""
    place = _space(text, start)
    negative = text[place : place + 1] in ("-", "−", "–", "﹣", "－") and place < len(text)
    if negative or text[place : place + 1] == "+":
        place = _space(text, place + 1)
    top = read_number(text, place, factorial=True, depth=depth)
    if top is None:
        return None
    value, end = top
    slash = _space(text, end)
    if text[slash : slash + 1] in ("/", "⁄", "÷") and slash < len(text):
        bottom = read_number(text, _space(text, slash + 1), factorial=True, depth=depth)
        if bottom is None or bottom.value == 0:
            return None
        value = value / bottom.value
        end = bottom.end
    return Reading(-value if negative else value, end)


def after_construct(text: str, start: int) -> int:
    r"""Where the arguments of the `\frac` or `\sqrt` at `start` end, as far as they are closed near
    by."""
    head = _FRACTION.match(text, start) or _ROOT.match(text, start)
    place = head.end() if head else start + 1
    for _ in range(2 if head and "frac" in head[0] else 1):
        argument = _argument_span(text, place)
        if argument is None:
            return place
        place = argument[2]
    return place


def _mixed(text: str, start: int, *, factorial: bool, depth: int) -> Reading | None:
    r"""A factor, or a whole number with a fraction behind it (`1\frac12`, `1½`), or with a root
    (`2\sqrt4`)."""
    whole = _factor(text, start, factorial=factorial, depth=depth)
    body = _BODY.match(text, start)
    if whole is None or body is None or whole.end != body.end():
        return whole
    place = _space(text, whole.end)
    if text[place : place + 1] in VULGAR and place < len(text):
        return Reading(whole.value + _vulgar(text[place]), place + 1)
    if _FRACTION.match(text, place):
        part = _fraction(text, place, depth=depth)
        return (
            None if part is None or part.value < 0 else Reading(whole.value + part.value, part.end)
        )
    if _ROOT.match(text, place):
        part = _root(text, place, depth=depth)
        return None if part is None else Reading(whole.value * part.value, part.end)
    return whole


def _factor(text: str, start: int, *, factorial: bool, depth: int) -> Reading | None:
    if depth <= 0:
        return None
    base = _atom(text, start, depth=depth)
    if base is None:
        return None
    if (exponent := _EXPONENT.match(text, base.end)) and not text.startswith(
        "\\circ", exponent.end()
    ):
        return _power(base.value, exponent)
    if factorial and text.startswith("!", base.end) and not text.startswith("!!", base.end):
        whole = base.value.denominator == 1 and 0 <= base.value <= 200
        return Reading(Fraction(math.factorial(int(base.value))), base.end + 1) if whole else None
    return base


def _atom(text: str, start: int, *, depth: int) -> Reading | None:
    opening = text[start : start + 1]
    if opening in ("(", "{", "["):
        inner = read_quotient(text, start + 1, depth=depth - 1)
        place = _space(text, inner.end) if inner else -1
        closed = (
            inner is not None and text[place : place + 1] == {"(": ")", "{": "}", "[": "]"}[opening]
        )
        return Reading(inner.value, place + 1) if inner and closed else None
    if opening and opening in VULGAR:
        return Reading(_vulgar(opening), start + 1)
    if _FRACTION.match(text, start):
        return _fraction(text, start, depth=depth)
    if _ROOT.match(text, start):
        return _root(text, start, depth=depth)
    return _decimal(text, start)


def _decimal(text: str, start: int) -> Reading | None:
    body = _BODY.match(text, start)
    if body is None or body.end() - start > MOST_DIGITS:
        return None
    place = body.end()
    if "." not in body[0] and text.startswith(".", place):
        place += 1
    repeated = _REPEATING.match(text, place)
    if repeated is None or not (place > body.end() or "." in body[0]) or "e" in body[0].casefold():
        return Reading(plain_value(body[0]), body.end())
    digits = repeated[1] or repeated[2]
    decimals = len(body[0].partition(".")[2])
    period = Fraction(int(digits), 10 ** len(digits) - 1)
    return Reading(plain_value(body[0]) + period / 10**decimals, repeated.end())


def plain_value(body: str) -> Fraction:
    """What digits with group separators, a decimal point and an exponent are worth."""
    mantissa, _, exponent = body.casefold().partition("e")
    return Fraction(re.sub(r"[^\d.]", "", mantissa)) * Fraction(10) ** int(exponent or 0)


def _fraction(text: str, start: int, *, depth: int) -> Reading | None:
    head = _FRACTION.match(text, start)
    assert head is not None
    top = _argument(text, head.end(), depth=depth)
    bottom = _argument(text, top.end, depth=depth) if top else None
    if top is None or bottom is None or bottom.value == 0:
        return None
    return Reading(top.value / bottom.value, bottom.end)


def _root(text: str, start: int, *, depth: int) -> Reading | None:
    head = _ROOT.match(text, start)
    assert head is not None
    degree = int(head[1] or 2)
    if head[0] == "√" and text[head.end() : head.end() + 1] not in ("{", "("):
        inner = _decimal(text, head.end())
    elif head[0] == "√":
        inner = _atom(text, head.end(), depth=depth - 1)
    else:
        inner = _argument(text, head.end(), depth=depth)
    if inner is None or inner.value < 0 or degree < 1:
        return None
    top = _exact_root(inner.value.numerator, degree)
    bottom = _exact_root(inner.value.denominator, degree)
    return None if top is None or bottom is None else Reading(Fraction(top, bottom), inner.end)


def _exact_root(number: int, degree: int) -> int | None:
    """The whole root of a whole number >= 0, by bisection; None where it has none."""
    low = 0
    high = 1 << (number.bit_length() // degree + 1)
    while low < high:
        middle = (low + high) // 2
        if middle**degree < number:
            low = middle + 1
        else:
            high = middle
    return low if low**degree == number else None


def _argument_span(text: str, start: int) -> tuple[int, int, int] | None:
    """(start, end of the content, end) of a LaTeX argument: a braced group of at most MOST_DIGITS
    characters, or one character."""
    place = start + len(text[start : start + 8]) - len(text[start : start + 8].lstrip(" \t\n"))
    if not text.startswith("{", place):
        return (place, place + 1, place + 1) if text[place : place + 1].isdigit() else None
    level = 0
    for at in range(place, min(len(text), place + MOST_DIGITS)):
        level += {"{": 1, "}": -1}.get(text[at], 0)
        if level == 0:
            return place + 1, at, at + 1
    return None


def _argument(text: str, start: int, *, depth: int) -> Reading | None:
    span = _argument_span(text, start)
    if span is None or depth <= 0:
        return None
    inner = read_quotient(text[span[0] : span[1]], 0, depth=depth - 1)
    if inner is None or _space(text[span[0] : span[1]], inner.end) != span[1] - span[0]:
        return None
    return Reading(inner.value, span[2])


def _power(base: Fraction, exponent: re.Match[str]) -> Reading | None:
    raised = exponent["raised"]
    written = exponent["braced"] or exponent["round"] or exponent["bare"]
    if raised:
        written = unicodedata.normalize("NFKC", raised)
    power = int(written.replace("−", "-").replace(" ", ""))
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if (base == 0 and power <= 0) or size * abs(power) > MOST_DIGITS * 4:
        return None
    return Reading(base**power, exponent.end())


def _times_power_of_ten(text: str, factor: Reading) -> Reading:
    """The factor times the power of ten behind it, or the factor alone."""
    times = _TIMES.match(text, _space(text, factor.end))
    if times is None:
        return factor
    ten = _space(text, times.end())
    exponent = _EXPONENT.match(text, ten + 2) if text.startswith("10", ten) else None
    power = _power(Fraction(10), exponent) if exponent else None
    return Reading(factor.value * power.value, power.end) if power else factor


def _vulgar(character: str) -> Fraction:
    numerator, _, denominator = unicodedata.normalize("NFKC", character).partition("\u2044")
    return Fraction(int(numerator), int(denominator))


def _space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    assert match is not None
    return match.end()
