r"""Numbers in LaTeX against values worked out by hand, against `fractions` and `decimal` on seeded
random spellings."""

from __future__ import annotations

import random
import time
from decimal import Decimal
from fractions import Fraction

import pytest

from diffengine.engine.answers import symbolic
from diffengine.engine.answers.grade import grade
from diffengine.engine.answers.numbers import numbers, parse_value

THIN, NO_BREAK, NARROW = "\u2009", "\u00a0", "\u202f"
SEPARATORS = [
    "",
    ",",
    "{,}",
    r"\,",
    r"\!,",
    r",\!",
    r"\;",
    "~",
    "'",
    "\u2019",
    "_",
    THIN,
    NO_BREAK,
    NARROW,
]

SPELLINGS = [
    # every spelling of a line is worth the first
    ["1/2", r"\frac12", r"\frac{1}{2}", r"\frac{1}2", r"\frac1{2}", r"\tfrac12", r"\dfrac{1}{2}",
     r"\cfrac12", r"\frac 1 2",
     "0.5", ".5", "½", r"\left(\frac12\right)", r"$\frac12$", r"\(\frac12\)", r"x = \frac12",
     r"\frac{1}{2}\text{ cup}",
     r"\sqrt{\frac14}", r"\frac{\sqrt{4}}{4}", r"2^{-1}", r"\displaystyle\frac12", r"\frac{\frac{1}{2}}{1}"],
    ["-3/4", r"-\frac34", r"\frac{-3}{4}", r"-\dfrac{3}{4}", "\u2212¾", r"$-\frac{3}{4}$", "-.75",
     r"\frac{3}{-4}"],
    ["1.5", r"1\frac12", r"1\frac{1}{2}", "1 1/2", "1½", "1 ½", "3/2", r"1\,\frac12", "1.50", r"1\tfrac{1}{2}"],
    ["2", r"\sqrt4", r"\sqrt{4}", "√4", r"\sqrt[3]{8}", r"2\%", r"\$2", r"2^\circ", r"2^{\circ}",
     r"2\text{ cm}", "+2",
     r"2\mathrm{~m}^{3}", r"2\text{ cm}^2", "2 cm^{2}", "2%", "$2.00", r"\left(2\right)", r"2\sqrt{1}",
     "2!", "(2)"],
    ["6", "3!", r"6\text{ cm}^2", r"6\,\text{cm}^{2}", r"2\sqrt9", r"6^{1}"],
    ["1000", "10^{3}", "10^3", "10³", "1e3", r"1\times10^3", r"1 \times 10^{3}", r"1\cdot 10^3", "1,000",
     "1{,}000",
     r"1\,000", f"1{THIN}000", f"1{NO_BREAK}000", f"1{NARROW}000", "1'000", "1_000", "1 × 10³"],
    ["1024", "2^{10}", "2^10", "1,024", r"1,\!024", r"1.024 \times 10^{3}"],
    ["2000", r"2 \times 10^3", r"2\cdot10^{3}", "2e3", "2E+3", r"\$2{,}000", "2 x 10^3", "2*10^3"],
    ["1/3", r"0.\overline{3}", r"0.\overline3", r"0.\bar{3}", r"0.3\overline{3}", r"\frac13", "⅓"],
    ["1/6", r"0.1\overline{6}", r"\frac{1}{6}", r"0.1\overline{66}"],
    ["-4", "-2^2", r"-2^{2}", "-√16"],
    ["1/500", r"2 \times 10^{-3}", "2e-3", ".002"],
    ["1234567.5", "1,234,567.5", f"1{NARROW}234{NARROW}567.5", "1'234'567.5", r"1\,234\,567.5"],
]  # fmt: skip

SYMBOLIC = [
    # equal, and one of the two has no exact reading of ours
    (r"3 \times 4", "12"), (r"\binom{5}{2}", "10"), (r"\frac{\sqrt{8}}{\sqrt{2}}", "2"), (r"16^{\frac14}", "2"),
    (r"2\sqrt3", r"\sqrt{12}"), (r"5\pi", r"\pi \cdot 5"), ("x+1", "1+x"), (r"\frac{x}{2}", "x/2"),
]  # fmt: skip

UNEQUAL = [
    (r"\frac12", "2"), (r"\frac12", "12"), (r"5\pi", "5"), ("5x", "5"), ("(3,4)", "4"), ("5, 6", "5"),
    ("10^3", "10"),
    ("3!", "3"), (r"0.\overline{3}", "0.333"), (r"50\%", "0.5"), (r"50\%", r"\frac12"), (r"2\sqrt3", "2"),
    ("2^{10}", "1023"),
    (r"1\frac12", "1/2"), (r"\sqrt{2}", "2"), ("x^2", "2"), (r"\frac{1}{20}", "1/2"), (r"\sqrt[3]{8}", "8"),
]  # fmt: skip


def _verdict(answer: str, gold: str) -> str:
    return grade(rf"so it is \boxed{{{answer}}}.", gold).verdict


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("spellings", SPELLINGS, ids=lambda row: row[0])
def test_spellings_of_a_number_are_equal_both_ways(spellings, installed, monkeypatch):
    if not installed:
        monkeypatch.setattr(symbolic.importlib.util, "find_spec", lambda name: None)
    assert {str(parse_value(text) and parse_value(text).value) for text in spellings} == {
        str(Fraction(spellings[0]))
    }
    for answer in spellings:
        for gold in (spellings[0], spellings[1], spellings[-1]):
            assert (_verdict(answer, gold), _verdict(gold, answer)) == ("correct", "correct"), (
                answer,
                gold,
            )


@pytest.mark.parametrize("one, other", SYMBOLIC)
def test_math_verify_decides_the_rest_both_ways(one, other):
    assert symbolic.importlib.util.find_spec("math_verify") is not None, (
        "the extra `test` brings math-verify"
    )
    assert (_verdict(one, other), _verdict(other, one)) == ("correct", "correct")
    assert grade(rf"\boxed{{{one}}}", other).rule == "boxed:math_verify"


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("one, other", UNEQUAL)
def test_unequal_answers_are_wrong_both_ways(one, other, installed, monkeypatch):
    if not installed:
        monkeypatch.setattr(symbolic.importlib.util, "find_spec", lambda name: None)
    assert (_verdict(one, other), _verdict(other, one)) == ("wrong", "wrong")


@pytest.mark.parametrize("text", [
    r"\sqrt{2}", r"\frac{x}{2}", r"\frac10", "3/0", r"5\pi", "5x", "5!!", r"10^{99999}", "1e999999",
    "201!", r"\sqrt{-4}",
    r"\frac{1}{2}3", r"\frac123", "0^0", "0^{-1}", "x+5", "5+3", r"\pm 5", "(3,4)", "5, 6",
    r"2^{\frac12}", "12,34", "", "{",
    r"\frac", r"\sqrt", r"\frac{1}", r"\frac{1}{",
])  # fmt: skip
def test_what_has_no_exact_reading_is_no_number(text):
    assert parse_value(text) is None


@pytest.mark.parametrize("text, gold, extracted", [
    (r"The answer is $\frac12$.", "1/2", r"\frac12"), (r"The answer is $10^{3}$.", "1000", "10^{3}"),
    (r"#### \frac1{20}", "0.05", r"\frac1{20}"), (r"Thus \(1\frac12\) cups, the answer: "
                                                  r"\(1\frac12\)",
    "1.5", r"1\frac12"),
    ("so he eats 1½", "3/2", "1½"), (r"we get 2 \times 10^3", "2000", r"2 \times 10^3"),
    ("an area of 12 cm^2", "12", "12"),
    (f"#### 1{THIN}234", "1234", f"1{THIN}234"), (f"#### 12{NO_BREAK}345{NO_BREAK}678", "12345678", None),
    (f"#### 1{NARROW}234 eggs", "1234", f"1{NARROW}234"), ("The answer is 1'234.", "1234", "1'234"),
    (r"The answer is $2\sqrt{4}$.", "4", r"2\sqrt{4}"), (r"The answer is $3 \times 4$.", "12", r"3 \times 4"),
    ("The answer is 3!", "3", "3"), ("#### 3!", "3", "3"),
])  # fmt: skip
def test_forms_are_found_whole_in_running_text(text, gold, extracted):
    found = grade(text, gold)
    assert found.verdict == "correct"
    assert found.extracted == (extracted or text.removeprefix("#### "))


@pytest.mark.parametrize("text, gold", [
    (r"The answer is $2\sqrt{3}$.", "2"), (r"The answer is $5\pi$.", "5"), ("The answer is $10^3$.",
    "10"), (r"\sqrt{2}", "2"),
    (r"#### \frac{x}{2}", "2"), (r"\frac1{20}", "20"), (f"#### 1{THIN}234", "1"),
])  # fmt: skip
def test_a_part_of_a_form_is_never_the_answer(text, gold):
    assert grade(text, gold).verdict != "correct"


def _grouped(digits: str, separator: str) -> str:
    head = len(digits) % 3 or 3
    return separator.join(
        [digits[:head], *(digits[at : at + 3] for at in range(head, len(digits), 3))]
    )


def _decimal(rng: random.Random) -> tuple[str, Fraction]:
    """A decimal number with any group separator, sign and exponent; the truth is Decimal's."""
    digits = str(rng.randrange(10 ** rng.randrange(1, 13)))
    decimals = str(rng.randrange(10**6)) if rng.random() < 0.4 else ""
    exponent = f"e{rng.randrange(-30, 31)}" if rng.random() < 0.2 else ""
    sign = rng.choice(["", "", "-", "\u2212"])
    plain = ("-" if sign else "") + digits + ("." + decimals if decimals else "") + exponent
    written = (
        sign
        + _grouped(digits, rng.choice(SEPARATORS))
        + ("." + decimals if decimals else "")
        + exponent
    )
    return written, Fraction(Decimal(plain))


def _fraction(rng: random.Random) -> tuple[str, Fraction]:
    top, bottom, whole = rng.randrange(1, 200), rng.randrange(1, 200), rng.randrange(1, 50)
    name = rng.choice(["frac", "dfrac", "tfrac", "cfrac"])
    if top < 10 and bottom < 10 and rng.random() < 0.7:
        written = rf"\{name}{top}{bottom}"
    else:
        written = rf"\{name}{{{top}}}{{{bottom}}}"
    value = Fraction(top, bottom)
    if rng.random() < 0.4:
        written, value = f"{whole}{written}", whole + value
    return (f"-{written}", -value) if rng.random() < 0.5 else (written, value)


def _power(rng: random.Random) -> tuple[str, Fraction]:
    base, exponent = rng.randrange(2, 30), rng.randrange(-9, 20)
    written = f"{base}^{{{exponent}}}"
    value = Fraction(base) ** exponent
    if rng.random() < 0.5:
        tens = rng.randrange(-12, 13)
        times = rng.choice([r"\times", r"\cdot", "×"])
        written = f"{base}.5 {times} 10^{{{tens}}}"
        value = (base + Fraction(1, 2)) * Fraction(10) ** tens
    return written, value


def _repeating(rng: random.Random) -> tuple[str, Fraction]:
    """The digits written out a thousand times differ from the value by less than their last
    place."""
    whole, fixed = rng.randrange(100), "".join(rng.choices("0123456789", k=rng.randrange(4)))
    period = "".join(rng.choices("0123456789", k=rng.randrange(1, 6)))
    shift = 10 ** len(fixed)
    value = (
        Fraction(whole)
        + (Fraction(int(fixed or 0)) + Fraction(int(period), int("9" * len(period)))) / shift
    )
    long = Fraction(Decimal(f"{whole}.{fixed}{period * 20}"))
    assert 0 <= value - long <= Fraction(1, 10 ** (len(fixed) + 20 * len(period)))
    return rf"{whole}.{fixed}\overline{{{period}}}", value


@pytest.mark.parametrize("draw", [_decimal, _fraction, _power, _repeating])
def test_random_spellings_against_fractions_and_decimal(draw):
    rng = random.Random(20)
    units = ["", "", " dollars", r"\%", r"\text{ cm}^2", r"^\circ", " km/h"]
    for _ in range(1500):
        written, value = draw(rng)
        written += rng.choice(units)
        found = parse_value(written)
        assert found is not None and found.value == value, written
        (alone,) = numbers(f"x is {written}, he said", leading_minus_is_sign=True)
        assert abs(alone.value) == abs(value), written


def test_random_rubbish_neither_crashes_nor_takes_long():
    rng = random.Random(21)
    pieces = [r"\frac", r"\sqrt", r"\overline", "{", "}", "(", ")", "^", "!", ".", ",", "1", "23", "456",
                  "-", "/", " ", "½", "²",
              r"\times", "10", "e5", "$", r"\text{", "[3]", THIN, "'", "x", "=", r"\left(", r"\right)",
              "√", "⁻"]  # fmt: skip
    for _ in range(3000):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 25)))
        for found in [parse_value(text), *numbers(text)]:
            assert found is None or (0 <= found.start < found.end <= len(text))


def test_hostile_forms_take_linear_time():
    started = time.process_time()
    for piece in (r"\frac", r"\frac{1", r"\sqrt{", "1^", "1'000", "2^{9999}", "9!", r"\frac1", "((1",
    "1 \\times ", "10^9", "½",
                  "$1^", r"\(", r"0.\overline{3}", "√", "\\left("):  # fmt: skip
        grade("5 " + piece * (8_000 // len(piece)), "5")
        grade("The answer is $" + piece * (8_000 // len(piece)) + "$", "5")
    assert time.process_time() - started < 6  # seconds; 1.5 when linear
