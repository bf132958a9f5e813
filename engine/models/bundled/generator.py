"""Word problems in endless supply, each with its worked solution: what the bundled model is trained
and tested on.

A problem belongs to one of five families and takes one, two or three steps of arithmetic. The text
of the question decides whether it is held out (`is_held_out`): one question in sixteen, by a hash,
so that *every* seed yields problems that the training never saw, and no list has to be kept.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

NAMES = (
    "Ann Ben Cara Dan Ella Finn Grace Hugo Iris Jack Kate Leo Mia Noah Olga Paul Rosa Sam Tina Zoe"
).split()
THINGS = (
    "rocks pens books apples stamps cards shells coins marbles stickers cookies flowers".split()
)
BOXES = "boxes bags baskets drawers jars".split()
SHOPPING = "book pen cup hat cake lamp ball kite toy map".split()
HELD_OUT_SHARE = 16
STEP_WEIGHTS = (0.3, 0.4, 0.3)


class WordProblem(NamedTuple):
    """A question, its worked solution (one equation a line, then `#### answer`) and the number of
    steps."""

    question: str
    solution: str
    answer: int
    n_steps: int


class _Working:
    """The running equation lines of one problem."""

    def __init__(self, value: int, unit: str) -> None:
        self.value = value
        self.unit = unit
        self.lines = list[str]()

    def apply(self, sign: str, operand: int, before: int | None = None) -> None:
        if before is None:
            before = self.value
        self.value = {"+": before + operand, "-": before - operand, "*": before * operand}[sign]
        self.lines.append(f"{before}{sign}{operand}={self.value} {self.unit}.")


def _story(rng: random.Random, n: int) -> tuple[str, _Working]:
    name = rng.choice(NAMES)
    thing = rng.choice(THINGS)
    work = _Working(rng.randint(2, 25), thing)
    text = f"{name} has {work.value} {thing}."
    for _ in range(n):
        loses = work.value > 3 and rng.random() < 0.4
        amount = rng.randint(2, min(25, work.value - 1) if loses else 25)
        verb = rng.choice(["loses", "gives away", "sells"] if loses else ["finds", "buys", "gets"])
        text += f" {name} {verb} {amount} {thing}."
        work.apply("-" if loses else "+", amount)
    return f"{text} How many {thing} does {name} have now?", work


def _boxes(rng: random.Random, n: int) -> tuple[str, _Working]:
    box = rng.choice(BOXES)
    thing = rng.choice(THINGS)
    count = rng.randint(2, 9)
    each = rng.randint(2, 9)
    work = _Working(0, thing)
    work.apply("*", each, before=count)
    text = f"There are {count} {box} with {each} {thing} in each."
    if n >= 2:
        more = rng.randint(2, 25)
        text += f" There are {more} more {thing} on the table."
        work.apply("+", more)
    if n >= 3:
        gone = rng.randint(2, min(25, work.value - 1))
        text += f" Then {gone} {thing} are taken away."
        work.apply("-", gone)
    return f"{text} How many {thing} are there?", work


def _shopping(rng: random.Random, n: int) -> tuple[str, _Working]:
    name = rng.choice(NAMES)
    (first, second) = rng.sample(SHOPPING, 2)
    price = rng.randint(2, 9)
    count = rng.randint(2, 9)
    work = _Working(0, "dollars")
    work.apply("*", price, before=count)
    text = f"A {first} costs {price} dollars. {name} buys {count} of them."
    if n >= 2:
        extra = rng.randint(2, 25)
        text += f" {name} also buys a {second} for {extra} dollars."
        work.apply("+", extra)
    if n >= 3:
        coupon = rng.randint(2, min(25, work.value - 1))
        text += f" A coupon takes off {coupon} dollars."
        work.apply("-", coupon)
    return f"{text} How many dollars does {name} pay?", work


def _compare(rng: random.Random, n: int) -> tuple[str, _Working]:
    (first, second) = rng.sample(NAMES, 2)
    thing = rng.choice(THINGS)
    have = rng.randint(2, 25)
    gap = rng.randint(2, 25)
    work = _Working(have, thing)
    work.apply("+", gap)
    text = f"{first} has {have} {thing}. {second} has {gap} more than {first}."
    if n == 1:
        return f"{text} How many {thing} does {second} have?", work
    work.apply("+", have)
    if n == 2:
        return f"{text} How many {thing} do they have together?", work
    gone = rng.randint(2, min(25, work.value - 1))
    work.apply("-", gone)
    return f"{text} Together they lose {gone} {thing}. How many {thing} do they have left?", work


def _daily(rng: random.Random, n: int) -> tuple[str, _Working]:
    name = rng.choice(NAMES)
    thing = rng.choice(THINGS)
    each = rng.randint(2, 9)
    days = rng.randint(2, 9)
    work = _Working(0, thing)
    work.apply("*", days, before=each)
    text = f"{name} collects {each} {thing} a day for {days} days."
    if n >= 2:
        gone = rng.randint(2, min(25, work.value - 1))
        text += f" {name} then gives away {gone} of the {thing}."
        work.apply("-", gone)
    if n >= 3:
        more = rng.randint(2, 25)
        text += f" On Sunday {name} finds {more} more."
        work.apply("+", more)
    return f"{text} How many {thing} does {name} have?", work


# The running total is the only family whose third step is not fixed by the first two, so it weighs
# double.
FAMILIES: tuple[Callable[[random.Random, int], tuple[str, _Working]], ...] = (
    _story,
    _story,
    _boxes,
    _shopping,
    _compare,
    _daily,
)


def word_problem(rng: random.Random) -> WordProblem:
    """One problem drawn from `rng`: the family uniform over `FAMILIES`, the number of steps by
    `STEP_WEIGHTS`."""
    n_steps = rng.choices((1, 2, 3), STEP_WEIGHTS)[0]
    question, work = rng.choice(FAMILIES)(rng, n_steps)
    solution = "\n".join([*work.lines, f"#### {work.value}"])
    return WordProblem(question, solution, work.value, n_steps)


def is_held_out(question: str) -> bool:
    """Whether the question belongs to the sixteenth that no training run ever sees, decided by its
    text alone."""
    return hashlib.blake2b(question.encode(), digest_size=4).digest()[0] % HELD_OUT_SHARE == 0


def word_problems(seed: int | str, *, held_out: bool) -> Iterator[WordProblem]:
    """An endless stream of problems from one side of the split.

    Held-out streams never repeat a question; training streams may, as sampling with replacement
    would.
    """
    rng = random.Random(seed)
    seen = set[str]()
    while True:
        problem = word_problem(rng)
        if is_held_out(problem.question) != held_out:
            continue
        if held_out:
            if problem.question in seen:
                continue
            seen.add(problem.question)
        yield problem
