"""The grammar of `--do`: what each form means, how it is written again, and what is said of a text
that is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from diffengine.engine.branching.actions import (
    Action,
    Forbid,
    Force,
    PatchStates,
    Put,
    Remask,
    RemaskLeast,
    RemaskRandom,
    Resample,
    SwapAnswer,
)
from diffengine.engine.branching.grammar import FORMS, READERS
from diffengine.engine.branching.interventions import (
    NOTHING,
    Intervention,
    check_interventions,
    parse_interventions,
)
from diffengine.engine.branching.where import Where
from diffengine.engine.options import ConfigError

ANSWER = Where("answer")
COMMITTED = Where("committed")
FIVE = Where("", 5, 6)
SPAN = Where("", 3, 7)

READ: list[tuple[str, list[Action], str]] = [
    ("remask answer", [Remask(ANSWER)], "remask answer"),
    ("  remask\t5 ", [Remask(FIVE)], "remask 5"),
    ("remask 3:7", [Remask(SPAN)], "remask 3:7"),
    ("remask 5:6", [Remask(FIVE)], "remask 5"),
    ("remask committed", [Remask(COMMITTED)], "remask committed"),
    ("remask least 4", [RemaskLeast(4)], "remask least 4"),
    ("remask random 10", [RemaskRandom(10)], "remask random 10"),
    ("set 5 7", [Put(FIVE, "7")], 'set 5 "7"'),
    ("set 3:7  Ann has 5  ", [Put(SPAN, "Ann has 5")], 'set 3:7 "Ann has 5"'),
    ('set 3:7 " 7; or \\"8\\" "', [Put(SPAN, ' 7; or "8" ')], 'set 3:7 " 7; or \\"8\\" "'),
    ("set answer Äpfel", [Put(ANSWER, "Äpfel")], 'set answer "Äpfel"'),
    ("resample 5", [Resample(FIVE)], "resample 5"),
    ("swap answer", [SwapAnswer()], "swap answer"),
    ("swap answer from p17", [SwapAnswer("p17")], 'swap answer from "p17"'),
    ('swap answer from "a b"', [SwapAnswer("a b")], 'swap answer from "a b"'),
    ("force answer 12", [Force(ANSWER, "12")], 'force answer "12"'),
    ("forbid 3:7 the answer", [Forbid(SPAN, "the answer")], 'forbid 3:7 "the answer"'),
    (
        "patch 5 layer 2 from step 9",
        [PatchStates(FIVE, 2, step=9)],
        "patch 5 layer 2 from step 9",
    ),
    (
        "patch answer layer 0 from run runs/x",
        [PatchStates(ANSWER, 0, run="runs/x")],
        'patch answer layer 0 from run "runs/x"',
    ),
    (
        'patch 5 layer 1 from run "a b" problem p3 step 4',
        [PatchStates(FIVE, 1, step=4, run="a b", problem="p3")],
        'patch 5 layer 1 from run "a b" problem "p3" step 4',
    ),
    (
        "patch 5 layer 1 from run x problem p3",
        [PatchStates(FIVE, 1, run="x", problem="p3")],
        'patch 5 layer 1 from run "x" problem "p3"',
    ),
    (
        "patch 5 layer 1 from run x step 0",
        [PatchStates(FIVE, 1, step=0, run="x")],
        'patch 5 layer 1 from run "x" step 0',
    ),
    (
        "remask 5; force 5 7 ;remask least 2",
        [Remask(FIVE), Force(FIVE, "7"), RemaskLeast(2)],
        'remask 5; force 5 "7"; remask least 2',
    ),
]


@pytest.mark.parametrize(("text", "actions", "written"), READ, ids=lambda part: str(part)[:40])
def test_what_is_read_and_written_again(text: str, actions: list[Action], written: str) -> None:
    nothing, intervention = parse_interventions([text], gen_length=12)
    assert nothing == NOTHING
    assert intervention == Intervention(tuple(actions))
    assert intervention.text == written
    assert parse_interventions([written], gen_length=12) == [nothing, intervention]


def test_nothing_stands_first_whether_it_is_said_or_not() -> None:
    for texts in ([], ["nothing"], ["remask 3", "nothing"]):
        interventions = parse_interventions(texts, gen_length=4)
        assert [i.text for i in interventions[:1]] == ["nothing"]
        assert [i.is_nothing for i in interventions] == [True] + [False] * (len(interventions) - 1)
    assert len(parse_interventions(["remask 3", "nothing"], gen_length=4)) == 2


def test_each_is_one_intervention_for_every_position() -> None:
    texts = [i.text for i in parse_interventions(["remask each"], gen_length=3)]
    assert texts == ["nothing", "remask 0", "remask 1", "remask 2"]
    joined = parse_interventions(["remask each; force each 7; remask least 1"], gen_length=2)
    assert [i.text for i in joined[1:]] == [
        'remask 0; force 0 "7"; remask least 1',
        'remask 1; force 1 "7"; remask least 1',
    ]


REFUSED = [
    ("", "got nothing more; expected an action"),
    ("remask 3;", "got nothing more; expected an action"),
    ("remsk 3", "got 'remsk'; expected one of nothing, remask, .*Did you mean 'remask'"),
    ("remask", "expected WHERE, least K or random K"),
    ("remask 12", "got '12' .*positions from 0 to 11"),
    ("remask 3:13", "got '3:13' .*positions from 0 to 11"),
    ("remask 3:3", "a span that is not empty"),
    ("remask 7:3", "a span that is not empty"),
    ("remask -1", "got '-1' for where to act; expected answer, committed, each"),
    ("remask 9999999999999999999999", "for where to act; expected answer"),
    ("remask 3 4", "got '4' behind 'remask 3'"),
    ("remask least", "got nothing more; expected K, a whole number from 1 to 12"),
    ("remask least 0", "got '0'; expected K, a whole number from 1 to 12"),
    ("remask random 13", "got '13'; expected K, a whole number from 1 to 12"),
    ("remask random 1.5", "got '1.5'; expected K"),
    ("remask random \u0663", "expected K"),
    ("set 3", "got nothing more; expected TEXT"),
    ('set 3 ""', "got nothing more; expected TEXT"),
    ('set 3 "7', "a double quote that nothing closes"),
    ('set 3 5"', "a double quote that nothing closes"),
    ('set 3 "7" 8', "is no JSON string"),
    ('set 3 "\\q"', "is no JSON string"),
    ("resample 3:5", "got '3:5'; expected one position, or each; `remask 3:5`"),
    ("resample answer", "got 'answer'; expected one position"),
    ("swap", "expected answer"),
    ("swap 3", "got '3'; expected answer"),
    ("swap answer with p1", "got 'with'; expected from"),
    ("swap answer from", "expected ID"),
    ("patch 3 from step 2", "got 'from'; expected layer"),
    ("patch 3 layer -1 from step 2", "got '-1'; expected L, a whole number from 0"),
    ("patch 3 layer 1 from 2", "got '2'; expected step or run"),
    ("patch 3 layer 1 from step x", "got 'x'; expected T, a whole number from 0"),
    ("patch 3 layer 1 from run", "expected PATH"),
    ("patch 3 layer 1 from run x problem", "expected ID"),
    ("patch 3 layer 1 from run x problem p 4", "got '4'; expected step"),
    ("patch 3 layer 1 from run x layer", "got 'layer'; expected problem or step"),
    ("nothing; remask 3", "`nothing` stands alone"),
    ("nothing at all", "got 'at all' behind 'nothing'"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_what_is_refused_and_what_is_said(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        parse_interventions([text], gen_length=12)
    assert str(error.value).startswith(f"--do {text!r}")


def test_an_intervention_that_comes_twice() -> None:
    for texts in (["remask 3", "remask 3:4"], ["remask each", "remask 3"]):
        with pytest.raises(ConfigError, match="'remask 3' comes twice"):
            parse_interventions(texts, gen_length=12)


def letters(text: str) -> Sequence[int]:
    """A tokenizer of one token for each letter; `#` is the mask."""
    return [0 if letter == "#" else ord(letter) for letter in text]


def checked(text: str, *, n_layers: int | None = 4, guided: bool = False) -> None:
    interventions = parse_interventions([text], gen_length=12)
    check_interventions(interventions, encode=letters, mask_id=0, n_layers=n_layers, guided=guided)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("set 3:7 abc", "the text is 3 tokens, .*expected 1 or 4"),
        ("force 5 ab", "the text is 2 tokens, .*expected 1, "),
        ("force each ab", "the text is 2 tokens, .*expected 1, "),
        ("set 3:5 a#", "holds the mask token; use `remask`"),
        ("forbid 5 #", "holds the mask token"),
        ("patch 3 layer 4 from step 1", "no layer 4; expected 0 to 3"),
    ],
)
def test_what_no_problem_gives_occasion_for(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        checked(text)


def test_a_text_that_the_tokenizer_makes_nothing_of() -> None:
    interventions = parse_interventions(['set 3 " "'], gen_length=12)
    with pytest.raises(ConfigError, match="the text has no tokens"):
        check_interventions(
            interventions, encode=lambda text: [], mask_id=0, n_layers=4, guided=False
        )


def test_layers_that_cannot_be_patched() -> None:
    with pytest.raises(ConfigError, match="cannot be patched"):
        checked("patch 3 layer 0 from step 1", n_layers=None)
    with pytest.raises(ConfigError, match="with guidance a row is two"):
        checked("patch 3 layer 0 from step 1", guided=True)


@pytest.mark.parametrize(
    "text",
    [
        "set 3:7 abcd",
        "set 3:7 a",
        "set answer abc",
        "forbid 5 abc",
        "force each a",
        "patch 3 layer 3 from step 1",
    ],
)
def test_what_some_problem_gives_occasion_for(text: str) -> None:
    checked(text)


def test_the_page_of_analyses_has_every_form_in_its_order() -> None:
    page = (Path(__file__).parents[3] / "docs" / "analysis.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    places = []
    for form in FORMS:
        row = f"| `{form.written}` | {form.does} |"
        assert row in rows
        places.append(rows.index(row))
    assert places == sorted(places)


def test_every_action_has_a_form() -> None:
    assert {form.written.split()[0] for form in FORMS} == set(READERS)
