"""Grading against texts whose truth was decided by reading them; lm-eval's two verdicts against its
published rule."""

from __future__ import annotations

import time

import pytest

from diffengine.engine.answers.grade import grade, lm_eval_flexible, lm_eval_strict
from diffengine.engine.answers.numbers import parse_value
from diffengine.engine.models.bundled.generator import word_problems
from diffengine.engine.store.format.verdicts import VERDICTS

RIGHT = [
    # text, gold, the answer as it stands in the text, rule
    (r"so \boxed{72}", "72", "72", "boxed"),
    (r"\boxed{5} hmm, rather \boxed{6}.", "6", "6", "boxed"),
    (r"\boxed{1{,}200}", "1200", r"1{,}200", "boxed"),
    (r"\boxed{1,\!200}", "1200", r"1,\!200", "boxed"),
    (r"\boxed{\$1,200.00}", "1200", "1,200.00", "boxed"),
    (r"\boxed{\frac{3}{4}}", "0.75", r"\frac{3}{4}", "boxed"),
    (r"\boxed{-\dfrac{3}{4}}", "-3/4", r"-\dfrac{3}{4}", "boxed"),
    (r"\boxed{\frac{-3}{4}}", "-.75", r"\frac{-3}{4}", "boxed"),
    (r"\boxed{2\frac{1}{2}}", "2.5", r"2\frac{1}{2}", "boxed"),
    (r"\boxed{18\text{ eggs}}", "18", "18", "boxed"),
    (r"\boxed{90^\circ}", "90", "90", "boxed"),
    (r"\boxed{20\%}", "20", "20", "boxed"),
    (r"\boxed{x = 5}", "5", "5", "boxed"),
    (r"\boxed{5 m}", "5", "5", "boxed"),
    (r"\boxed{12 cm^2}", "12", "12", "boxed"),
    (r"\boxed{60\text{ km/h}}", "60", "60", "boxed"),
    (r"#### 3 but \boxed{4}", "4", "4", "boxed"),
    (r"\boxed{} so the answer is 5", "5", "5", "answer_is"),
    (r"#### 7 \boxed{7", "7", "7", "hashes"),
    (r"\boxed{x + 1}", "x+1", "x + 1", "boxed"),
    (r"\boxed{\text{Blue}}", "blue", r"\text{Blue}", "boxed"),
    (r"\boxed{\dfrac{x}{2}}", r"\frac{x}{2}", r"\dfrac{x}{2}", "boxed"),
    (r"\boxed{\left(3,4\right)}", "(3, 4)", r"\left(3,4\right)", "boxed"),
    ("#### 72", "72", "72", "hashes"),
    ("9+9=18\n####18", "18", "18", "hashes"),
    ("#### 72.", "72", "72", "hashes"),
    ("#### 72.0", "72", "72.0", "hashes"),
    ("#### $1,200.00", "1200", "1,200.00", "hashes"),
    ("#### $72", "72", "72", "hashes"),
    ("#### -$3", "-3", "-$3", "hashes"),
    ("#### $-3", "-3", "-3", "hashes"),
    ("#### \u221272", "-72", "\u221272", "hashes"),
    ("#### - 72", "-72", "- 72", "hashes"),
    ("#### 18 eggs at 2 dollars", "18", "18", "hashes"),
    ("#### 5 and 6", "5", "5", "hashes"),
    ("#### 3+4=7", "7", "7", "hashes"),
    ("#### **72**", "72", "72", "hashes"),
    ("#### 72\n#### 73", "73", "73", "hashes"),
    ("#### 72\nQuestion: what about 5?", "72", "72", "hashes"),
    ("#### 1.2e3", "1200", "1.2e3", "hashes"),
    ("#### 2 1/2", "5/2", "2 1/2", "hashes"),
    ("#### 3/4 cup", "0.75", "3/4", "hashes"),
    ("#### Step 1: add 2\n#### Step 2: done\nSo it is 9", "9", "9", "last_number"),
    ("#### 1. Add\n2+3=5\n#### 2. Check\nThe answer is 5.", "5", "5", "answer_is"),
    ("#### (B)", "B", "B", "hashes"),
    ("The answer is 15.", "15", "15", "answer_is"),
    ("The final answer is: $18$.", "18", "18", "answer_is"),
    ("**Answer:** 18", "18", "18", "answer_is"),
    ("Answer (in dollars): 18", "18", "18", "answer_is"),
    ("Answer:\n18", "18", "18", "answer_is"),
    ("The answer is 72.5.", "72.5", "72.5", "answer_is"),
    ("The answer is 5. It took 9 steps.", "5", "5", "answer_is"),
    ("The answer is 18 eggs at 2 dollars", "18", "18", "answer_is"),
    ("The answer is 3 apples + 4 apples = 7 apples", "7", "7", "answer_is"),
    ("The answer is $1,200 + $300 = $1,500.", "1500", "1,500", "answer_is"),
    ("The answer is 5 (since 2+3=5, and x=9).", "5", "5", "answer_is"),
    ("The answer is 1. No: the answer is 2", "2", "2", "answer_is"),
    ("The answer is not 3 but 4", "4", "4", "last_number"),
    ("The answer is B because 5 > 3.", "B", "B", "answer_is"),
    ("The answer is (C)", "C", "C", "answer_is"),
    ("The answer is blue.", "Blue", "blue", "answer_is"),
    ("18 eggs, so 9 left", "9", "9", "last_number"),
    ("it makes 72%", "72", "72", "last_number"),
    ("- 72", "72", "72", "last_number"),
    ("total = - 5", "-5", "- 5", "last_number"),
    ("between 10-15", "15", "15", "last_number"),
    ("12 on the 3rd day", "12", "12", "last_number"),
    ("it weighs 5kg", "5", "5", "last_number"),
    ("He pays $5.", "5", "5", "last_number"),
    ("1,450,000 in all", "1450000", "1,450,000", "last_number"),
    ("It is .5", "1/2", ".5", "last_number"),
    ("0.1", "1/10", "0.1", "last_number"),
    ("It is 72", "72 dollars", "72", "last_number"),
    ("It is 1200", "$1,200", "1200", "last_number"),
]

WRONG = [
    ("#### 15", "5"),
    ("#### 5", "15"),
    ("the answer is 51", "5"),
    ("15 eggs", "5"),
    ("5.0001", "5"),
    ("1/3", "0.333"),
    (r"\boxed{5} then \boxed{6}", "5"),
    (r"\boxed{x^2}", "2"),
    (r"\boxed{5x}", "5"),
    (r"\boxed{5 x}", "5"),
    (r"\boxed{5\pi}", "5"),
    (r"\boxed{(3,4)}", "4"),
    (r"\boxed{5, 6}", "5"),
    (r"\boxed{10^{3}}", "10"),
    (r"\boxed{\sqrt{2}}", "2"),
    (r"\boxed{3 \times 4}", "3"),
    (r"5 \boxed{6}", "5"),
    ("5-3", "-3"),
    ("#### 72", "-72"),
    ("#### -72", "72"),
    ("#### 6\n5", "5"),
    ("the answer is 6, not 5", "5"),
    ("The answer is A dog", "A"),
    ("The answer is C", "B"),
    ("The answer is blue or red.", "red"),
    ("1.2e3", "1.2"),
    ("50%", "0.5"),
    ("12:30", "12"),
    ("#### 5 and 6", "6"),
    (r"\boxed{\text{the blue one}}", "blue"),
    ("#### 1,200", "1"),
    ("#### 1200", "12"),
]

NOTHING = [
    ("", "5"),
    ("no idea", "5"),
    ("five", "5"),
    ("2nd and 3rd", "3"),
    ("1e999999", "1"),
    ("3/0", "0"),
    ("H2O", "2"),
    ("9" * 5000, "9"),
    ("the blue one", "blue"),
    ("a bag of apples", "apples"),
    (r"\boxed", "5"),
    ("#### \n", "x"),
]


@pytest.mark.parametrize("text, gold, extracted, rule", RIGHT)
def test_right_answers(text, gold, extracted, rule):
    found = grade(text, gold)
    assert (found.verdict, found.extracted, found.rule.partition(":")[0]) == (
        "correct",
        extracted,
        rule,
    )
    assert text[found.start : found.end] == extracted


@pytest.mark.parametrize("text, gold", WRONG)
def test_wrong_answers_are_never_passed(text, gold):
    found = grade(text, gold)
    assert found.verdict == "wrong" and found.extracted == text[found.start : found.end] != ""


@pytest.mark.parametrize("text, gold", NOTHING)
def test_a_text_without_an_answer_is_its_own_verdict(text, gold):
    found = grade(text, gold)
    assert found[:5] == ("no_answer_extracted", "", -1, -1, "")


@pytest.mark.parametrize(
    "text, extracted", [("#### 72 eggs", "72"), ("hello", ""), (r"\boxed{x+1}", "x+1")]
)
def test_without_gold_the_answer_is_still_found(text, extracted):
    found = grade(text, None)
    assert (found.verdict, found.extracted) == ("no_gold_answer", extracted)
    assert (found.lm_eval_strict, found.lm_eval_flexible) == (None, None)


def test_verdicts_are_the_ones_that_shards_store():
    cases = [("#### 1", "2"), ("#### 1", "1"), ("", "1"), ("", None), ("#### 1,5", "1.5")]
    assert tuple(grade(*case).verdict for case in cases) == tuple(VERDICTS)


@pytest.mark.parametrize(
    "text, gold, rule",
    [
        ("#### 72.0", "72", "hashes:number"),
        ("#### x", "x", "hashes:text"),
        ("7", "7", "last_number:number"),
        (r"\boxed{5x}", "5", "boxed:math_verify"),
        ("#### B", "A", "hashes:text"),
        ("Answer: 7", None, "answer_is"),
    ],
)
def test_the_rule_tells_how(text, gold, rule):
    assert grade(text, gold).rule == rule


@pytest.mark.parametrize(
    "text, gold, strict, flexible",
    [
        # By hand from the published filters: strict = first `#### number`, flexible = last
        # number-like run; then commas, dollar signs, all up to "#### " and one final dot are
        # dropped, and the strings must be equal.
        ("#### 72", "72", True, True),
        ("####72", "72", False, True),
        ("#### 72.", "72", True, True),
        ("#### 72.0", "72", False, False),
        ("#### $1,200.00", "1200", False, False),
        ("#### 1,200", "1200", True, True),
        ("#### 5\n#### 6", "5", True, False),
        ("#### 5\n#### 6", "6", False, True),
        ("$18.", "18", False, True),
        ("18 eggs at 2 dollars", "18", False, False),
        ("#### -3", "-3", True, True),
        ("#### \u22123", "-3", False, False),
        ("so 5 it is...", "5", False, False),
        ("nothing", "5", False, False),
        ("", "", False, False),
        ("#### 2,125", "2,125", True, True),
        ("10-15", "-15", False, True),
        ("[invalid]", "[INVALID]", True, True),
        ("x #### 7", "so 3+4\n#### 7", True, True),
    ],
)
def test_lm_eval_verdicts(text, gold, strict, flexible):
    assert (lm_eval_strict(text, gold), lm_eval_flexible(text, gold)) == (strict, flexible)
    assert grade(text, gold)[5:] == (strict, flexible)


@pytest.mark.parametrize("seed", range(3))
def test_every_generated_solution_grades_itself_and_no_neighbour(seed):
    stream = word_problems(seed, held_out=True)
    for problem in (next(stream) for _ in range(100)):
        found = grade(problem.solution, str(problem.answer))
        assert (found.verdict, found.lm_eval_strict, found.lm_eval_flexible) == (
            "correct",
            True,
            True,
        )
        assert problem.solution[found.start :] == str(problem.answer)
        for other in (
            problem.answer + 1,
            problem.answer * 10,
            problem.answer // 10,
            -problem.answer,
        ):
            assert (grade(problem.solution, str(other)).verdict == "correct") == (
                other == problem.answer
            )


def test_long_and_hostile_texts_take_linear_time():
    started = time.process_time()
    for piece in (
        "-",
        "1,",
        "#### ",
        "the answer is ",
        "\\boxed{",
        "1+",
        "a=",
        "\\frac{1",
        "$",
        "km ",
    ):
        grade("5 " + piece * (20_000 // len(piece)), "5")
    assert time.process_time() - started < 3  # seconds; 0.2 when linear, 8 when quadratic


@pytest.mark.parametrize(
    "text, value",
    [
        ("72", (72, 1)),
        (" 72 dollars ", (72, 1)),
        ("1/3", (1, 3)),
        ("-1.25", (-5, 4)),
        ("1e-2", (1, 100)),
        ("x=3", (3, 1)),
        ("3 x", None),
        ("12 and 13", None),
        ("", None),
        ("abc", None),
        ("1/0", None),
        ("(5)", (5, 1)),
        ("1,5", None),
    ],
)
def test_parse_value_is_exact_and_of_the_whole_text(text, value):
    found = parse_value(text)
    assert (None if found is None else found.value.as_integer_ratio()) == value


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("#### 0.3333333333333333", "1/3"),
        ("#### 100000000000000000001", "100000000000000000000"),
        ("#### 0.1000000000000000055511151231257827", "0.1"),
    ],
)
def test_numbers_that_floats_cannot_tell_apart_differ(text: str, gold: str) -> None:
    assert grade(text, gold).verdict == "wrong"
