r"""Numbers as LaTeX and mathematics write them, as fractions: `\frac12`, `10^{3}`, `2 \times 10^3`,
`\sqrt{4}`, `3!`.

A reader by recursive descent from a given place of a text; it reads no more than it can give an
exact value. What has none as a fraction (`\sqrt{2}`, `\pi`, sums, unknowns) is None here and a
question for `symbolic`. Signs in running text, units and currency are the matter of `numbers`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

from .number_patterns import (
    DIGITS,
    EXPONENT,
    FRACTION_SIGN,
    MOST_DIGITS,
    REPEATING,
    ROOT_SIGN,
    SPACE,
    TIMES,
    VULGAR,
)

DEEPEST = 12
"""Nested braces, roots and fractions."""
MOST_FACTORIAL = 200

_MINUS_SIGNS = ("-", "−", "–", "﹣", "－")
_DIVISION_SIGNS = ("/", "⁄", "÷")
_CLOSING = {"(": ")", "{": "}", "[": "]"}


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
    start = _skip_space(text, start)
    negative = text.startswith(_MINUS_SIGNS, start)
    if negative or text.startswith("+", start):
        start = _skip_space(text, start + 1)
    top = read_number(text, start, factorial=True, depth=depth)
    if top is None:
        return None

    value, end = top
    slash = _skip_space(text, end)
    if text.startswith(_DIVISION_SIGNS, slash):
        bottom_start = _skip_space(text, slash + 1)
        bottom = read_number(text, bottom_start, factorial=True, depth=depth)
        if bottom is None or bottom.value == 0:
            return None
        value = value / bottom.value
        end = bottom.end
    return Reading(-value if negative else value, end)


def after_construct(text: str, start: int) -> int:
    r"""Where the arguments of the `\frac` or `\sqrt` at `start` end, as far as they are closed near
    by."""
    fraction = FRACTION_SIGN.match(text, start)
    command = fraction or ROOT_SIGN.match(text, start)
    end = command.end() if command else start + 1
    for _ in range(2 if fraction else 1):
        argument = _argument_span(text, end)
        if argument is None:
            return end
        end = argument.end
    return end


def plain_value(body: str) -> Fraction:
    """What digits with group separators, a decimal point and an exponent are worth."""
    mantissa, _, exponent = body.casefold().partition("e")
    digits = re.sub(r"[^\d.]", "", mantissa)
    return Fraction(digits) * Fraction(10) ** int(exponent or 0)


def _mixed(text: str, start: int, *, factorial: bool, depth: int) -> Reading | None:
    r"""A factor, or a whole number with a fraction behind it (`1\frac12`, `1½`), or with a root
    (`2\sqrt4`)."""
    whole = _factor(text, start, factorial=factorial, depth=depth)
    body = DIGITS.match(text, start)
    if whole is None or body is None or whole.end != body.end():
        return whole

    behind = _skip_space(text, whole.end)
    if text[behind : behind + 1] and text[behind] in VULGAR:
        return Reading(whole.value + _vulgar(text[behind]), behind + 1)
    if FRACTION_SIGN.match(text, behind):
        part = _fraction(text, behind, depth=depth)
        if part is None or part.value < 0:
            return None
        return Reading(whole.value + part.value, part.end)
    if ROOT_SIGN.match(text, behind):
        root = _root(text, behind, depth=depth)
        if root is None:
            return None
        return Reading(whole.value * root.value, root.end)
    return whole


def _factor(text: str, start: int, *, factorial: bool, depth: int) -> Reading | None:
    """An atom, raised to a power or with its factorial."""
    if depth <= 0:
        return None
    base = _atom(text, start, depth=depth)
    if base is None:
        return None
    exponent = EXPONENT.match(text, base.end)
    if exponent and not text.startswith("\\circ", exponent.end()):
        return _power(base.value, exponent)
    if factorial and text.startswith("!", base.end) and not text.startswith("!!", base.end):
        return _factorial(base)
    return base


def _factorial(base: Reading) -> Reading | None:
    if base.value.denominator != 1 or not 0 <= base.value <= MOST_FACTORIAL:
        return None
    return Reading(Fraction(math.factorial(int(base.value))), base.end + 1)


def _atom(text: str, start: int, *, depth: int) -> Reading | None:
    """What stands in brackets, a fraction, a root, or digits."""
    opening = text[start : start + 1]
    if opening in _CLOSING:
        return _bracketed(text, start, depth=depth)
    if opening and opening in VULGAR:
        return Reading(_vulgar(opening), start + 1)
    if FRACTION_SIGN.match(text, start):
        return _fraction(text, start, depth=depth)
    if ROOT_SIGN.match(text, start):
        return _root(text, start, depth=depth)
    return _decimal(text, start)


def _bracketed(text: str, start: int, *, depth: int) -> Reading | None:
    inner = read_quotient(text, start + 1, depth=depth - 1)
    if inner is None:
        return None
    end = _skip_space(text, inner.end)
    if not text.startswith(_CLOSING[text[start]], end):
        return None
    return Reading(inner.value, end + 1)


def _decimal(text: str, start: int) -> Reading | None:
    """Digits, the last of which may repeat for ever."""
    body = DIGITS.match(text, start)
    if body is None or body.end() - start > MOST_DIGITS:
        return None
    plain = Reading(plain_value(body[0]), body.end())

    end = body.end()
    has_point = "." in body[0]
    if not has_point and text.startswith(".", end):
        end += 1
        has_point = True
    repeated = REPEATING.match(text, end)
    if repeated is None or not has_point or "e" in body[0].casefold():
        return plain
    digits = repeated[1] or repeated[2]
    decimals = len(body[0].partition(".")[2])
    period = Fraction(int(digits), 10 ** len(digits) - 1)
    return Reading(plain.value + period / 10**decimals, repeated.end())


def _fraction(text: str, start: int, *, depth: int) -> Reading | None:
    command = FRACTION_SIGN.match(text, start)
    assert command is not None
    top = _argument(text, command.end(), depth=depth)
    if top is None:
        return None
    bottom = _argument(text, top.end, depth=depth)
    if bottom is None or bottom.value == 0:
        return None
    return Reading(top.value / bottom.value, bottom.end)


def _root(text: str, start: int, *, depth: int) -> Reading | None:
    command = ROOT_SIGN.match(text, start)
    assert command is not None
    degree = int(command[1] or 2)
    end = command.end()
    if command[0] != "√":
        inner = _argument(text, end, depth=depth)
    elif text.startswith(("{", "("), end):
        inner = _atom(text, end, depth=depth - 1)
    else:
        inner = _decimal(text, end)
    if inner is None or inner.value < 0 or degree < 1:
        return None

    top = _exact_root(inner.value.numerator, degree)
    bottom = _exact_root(inner.value.denominator, degree)
    if top is None or bottom is None:
        return None
    return Reading(Fraction(top, bottom), inner.end)


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


class _Argument(NamedTuple):
    """Where the content of a LaTeX argument stands, and where the argument ends."""

    content_start: int
    content_end: int
    end: int


def _argument_span(text: str, start: int) -> _Argument | None:
    """A braced group of at most MOST_DIGITS characters, or one digit."""
    near = text[start : start + 8]
    start += len(near) - len(near.lstrip(" \t\n"))
    if not text.startswith("{", start):
        is_digit = text[start : start + 1].isdigit()
        return _Argument(start, start + 1, start + 1) if is_digit else None
    level = 0
    for index in range(start, min(len(text), start + MOST_DIGITS)):
        if text[index] == "{":
            level += 1
        elif text[index] == "}":
            level -= 1
        if level == 0:
            return _Argument(start + 1, index, index + 1)
    return None


def _argument(text: str, start: int, *, depth: int) -> Reading | None:
    span = _argument_span(text, start)
    if span is None or depth <= 0:
        return None
    content = text[span.content_start : span.content_end]
    inner = read_quotient(content, 0, depth=depth - 1)
    if inner is None or _skip_space(content, inner.end) != len(content):
        return None
    return Reading(inner.value, span.end)


def _power(base: Fraction, exponent: re.Match[str]) -> Reading | None:
    written = exponent["braced"] or exponent["round"] or exponent["bare"]
    if exponent["raised"]:
        written = unicodedata.normalize("NFKC", exponent["raised"])
    power = int(written.replace("−", "-").replace(" ", ""))
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if (base == 0 and power <= 0) or size * abs(power) > MOST_DIGITS * 4:
        return None
    return Reading(base**power, exponent.end())


def _times_power_of_ten(text: str, factor: Reading) -> Reading:
    """The factor times the power of ten behind it, or the factor alone."""
    times = TIMES.match(text, _skip_space(text, factor.end))
    if times is None:
        return factor
    ten = _skip_space(text, times.end())
    exponent = EXPONENT.match(text, ten + 2)
    if exponent is None or not text.startswith("10", ten):
        return factor
    power = _power(Fraction(10), exponent)
    if power is None:
        return factor
    return Reading(factor.value * power.value, power.end)


def _vulgar(character: str) -> Fraction:
    numerator, _, denominator = unicodedata.normalize("NFKC", character).partition("\u2044")
    return Fraction(int(numerator), int(denominator))


def _skip_space(text: str, start: int) -> int:
    match = SPACE.match(text, start)
    assert match is not None
    return match.end()
