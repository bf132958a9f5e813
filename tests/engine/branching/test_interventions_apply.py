"""What each action makes of a state, by hand on a canvas of eight positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from diffengine.engine.branching.interventions import (
    Changed,
    DoesNotApply,
    Donor,
    State,
    parse_interventions,
)
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import problem_key
from diffengine.engine.prompts.steering import Patch
from diffengine.kernels.noise import philox, uniform

MASK = 0
G = 8
FINAL = [11, 12, 13, 14, 15, 16, 17, 18]
ORDER = [6, 7, 2, 0, 1, 3, 5, 4]
"""Which position each step commits."""
LOGPROB = [-0.5, -0.1, -0.7, -0.1, -0.2, -0.3, -0.9, -0.4]
"""Of the prediction at each step's position."""


def letters(text: str) -> Sequence[int]:
    return [ord(letter) for letter in text]


def answers() -> Mapping[str, tuple[int, ...]]:
    return {
        "p": (17, 18),
        "same": (17, 18),
        "longer": (1, 2, 3),
        "one": (21, 22),
        "two": (31, 32),
    }


def state(step: int = 4, **changes: Any) -> State:
    """The state at `step` of a decoding that commits one position a step, by `ORDER`."""
    tokens = np.full((G, G), MASK, np.int32)
    committed = np.zeros((G, G), bool)
    logprob = np.full((G, G), -50.0)
    for at, position in enumerate(ORDER):
        tokens[at:, position] = FINAL[position]
        committed[at, position] = True
        logprob[at, position] = LOGPROB[at]
    token = tokens[step - 1] if step else np.full(G, MASK, np.int32)
    values: dict[str, Any] = {
        "problem": Problem("p", "2 + 2?", "4"),
        "step": step,
        "token": token,
        "mask_id": MASK,
        "seed": 7,
        "tokens": tokens,
        "committed": committed,
        "logprob": logprob,
        "answer": (6, 8),
        "encode": letters,
        "answers": answers,
    }
    return State(**values | changes)


def apply(text: str, at: State | None = None) -> Changed:
    given = at or state()
    before = given.token.copy()
    *_, intervention = parse_interventions([text], gen_length=G)
    changed = intervention.apply(given)
    assert np.array_equal(given.token, before), "the state itself was changed"
    return changed


def reason(text: str, at: State | None = None) -> str:
    with pytest.raises(DoesNotApply) as error:
        apply(text, at)
    return str(error.value)


def test_the_state_that_all_is_told_of() -> None:
    assert state().token.tolist() == [11, 0, 13, 0, 0, 0, 17, 18]
    assert state(0).token.tolist() == [0] * G
    assert state(8).token.tolist() == FINAL


def test_nothing() -> None:
    changed = apply("nothing")
    assert changed.token.tolist() == state().token.tolist()
    assert changed.positions == []
    assert not changed.constraints
    assert changed.patches == ()


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("remask answer", [6, 7]),
        ("remask 2", [2]),
        ("remask 0:4", [0, 2]),
        ("remask committed", [0, 2, 6, 7]),
        ("resample 6", [6]),
        # ORDER at steps 0 to 3, with -0.5, -0.1, -0.7, -0.1: the two likeliest are left, and of
        # equals the lowest position comes first.
        ("remask least 1", [2]),
        ("remask least 2", [2, 6]),
        ("remask least 3", [0, 2, 6]),
        ("remask 6; remask least 1", [2, 6]),
    ],
)
def test_masks_come_where_tokens_stood(text: str, positions: list[int]) -> None:
    changed = apply(text)
    expected = state().token.copy()
    expected[positions] = MASK
    assert changed.token.tolist() == expected.tolist()
    assert changed.positions == positions


def test_a_position_that_is_masked_is_not_among_the_least_sure() -> None:
    assert apply("remask 2; remask least 2").positions == [0, 2, 6]
    assert "fewer tokens are committed" in reason("remask 2; remask least 4")


def test_a_token_that_no_step_committed_has_no_sureness() -> None:
    given = state()
    given.token[1] = 99
    given.committed[:, 0] = False
    assert "fewer tokens are committed" in reason("remask least 4", given)
    assert apply("remask least 3", given).positions == [2, 6, 7]


def noise_of(step: int, seed: int) -> list[float]:
    """The noise of each position by Philox itself: counter (domain, position, step, problem)."""
    import torch

    values = []
    for position in range(G):
        counter = [0x8000_0002, position, step, problem_key("p")]
        words = philox(tuple(torch.tensor([word]) for word in counter), key=seed)  # type: ignore[arg-type]
        values.append(float(uniform(words[0])))
    return values


@pytest.mark.parametrize(("step", "seed"), [(4, 7), (5, 7), (4, 8), (7, 3)])
def test_random_positions_are_those_of_the_least_noise(step: int, seed: int) -> None:
    given = state(step, seed=seed)
    noise = noise_of(step, seed)
    held = [p for p in range(G) if given.token[p] != MASK]
    expected = sorted(sorted(held, key=lambda p: noise[p])[:3])
    assert apply("remask random 3", given).positions == expected


def test_random_positions_differ_between_seeds_steps_and_problems() -> None:
    drawn = set()
    for seed in range(4):
        for name in ("p", "q"):
            given = state(7, seed=seed, problem=Problem(name, "?", None))
            drawn.add(tuple(apply("remask random 2", given).positions))
    assert len(drawn) > 3


def test_tokens_of_a_text_are_put_whatever_stood_there() -> None:
    changed = apply("set 0:3 abc")
    assert changed.token.tolist() == [97, 98, 99, 0, 0, 0, 17, 18]
    assert changed.positions == [0, 1, 2]
    assert apply("set answer z").token[6:].tolist() == [122, 122]
    same = state()
    same.token[0] = 97
    assert apply("set 0:3 abc", same).positions == [1, 2]


def test_the_answer_of_another_problem() -> None:
    assert apply("swap answer from one").token.tolist() == [11, 0, 13, 0, 0, 0, 21, 22]
    assert apply("swap answer from one", state(0)).token.tolist() == [0] * 6 + [21, 22]
    chosen = apply("swap answer").token[6:].tolist()
    distance = {name: (problem_key(name) - problem_key("p")) % 2**32 for name in ("one", "two")}
    nearest = min(distance, key=distance.__getitem__)
    assert chosen == list(answers()[nearest])


def test_the_next_problem_on_the_circle_of_keys_that_has_another_answer() -> None:
    names = [f"q{number}" for number in range(60)]
    circle = sorted(names, key=lambda name: (problem_key(name) - problem_key("p")) % 2**32)
    # the nearest ones have the same answer, or one of another length
    given = dict.fromkeys(names, (21, 22)) | {circle[0]: (17, 18), circle[1]: (1, 2, 3)}
    given[circle[2]] = (31, 32)
    changed = apply("swap answer", state(answers=lambda: given))
    assert changed.token[6:].tolist() == [31, 32]


def test_forced_and_forbidden_tokens_are_of_masked_positions() -> None:
    changed = apply("force 0:4 abcd; forbid 3:6 xyz")
    assert changed.token.tolist() == state().token.tolist()
    assert changed.constraints.forced == {1: 98, 3: 100}
    assert changed.constraints.forbidden == {
        3: (120, 121, 122),
        4: (120, 121, 122),
        5: (120, 121, 122),
    }
    assert changed.positions == [1, 3, 4, 5]
    assert apply("forbid 1 ca; forbid 1 ba").constraints.forbidden == {1: (97, 98, 99)}
    assert apply("remask 6; force 6 a").constraints.forced == {6: 97}


def test_a_patch_from_another_step_and_from_another_run() -> None:
    changed = apply("patch answer layer 2 from step 8")
    assert changed.patches == (Patch(2, (6, 7), tuple(FINAL), None),)
    assert changed.positions == [6, 7]
    assert apply("patch 0 layer 2 from step 0").patches[0].token == (MASK,) * G

    asked = []

    def donor(path: str, problem_id: str, step: int) -> Donor:
        asked.append((path, problem_id, step))
        return Donor(range(G), [1, 2])

    given = state(donor=donor)
    changed = apply("patch 0:2 layer 1 from run x", given)
    assert changed.patches == (Patch(1, (0, 1), tuple(range(G)), (1, 2)),)
    apply("patch 0 layer 1 from run x problem q step 3", given)
    assert asked == [("x", "p", 4), ("x", "q", 3)]


REASONS = [
    ("remask answer", {"answer": None}, "no answer was extracted"),
    ("swap answer", {"answer": None}, "no answer was extracted"),
    ("remask 1", {}, "no token is held there"),
    ("resample 1", {}, "no token is held there"),
    ("remask committed", {"step": 0}, "nothing is committed"),
    ("remask least 5", {}, "fewer tokens are committed than are to be masked"),
    ("remask random 5", {}, "fewer tokens are committed than are to be masked"),
    ("remask least 1", {"logprob": None}, "the parent run kept no log-probabilities"),
    ("set answer abc", {}, "the text has another number of tokens than there are positions"),
    ("set 0 \x0b", {}, "the tokens are there already"),
    ("swap answer from p", {}, "the tokens are there already"),
    ("swap answer from longer", {}, "the two answers differ in their number of tokens"),
    ("swap answer from q", {}, "problem 'q' has no answer in the parent run"),
    ("swap answer", {"answer": (5, 6)}, "no other problem has another answer of as many tokens"),
    ("force 0 a", {}, "every position holds a token, and none commits again"),
    ("forbid answer a", {}, "every position holds a token, and none commits again"),
    ("forbid 1 ab; force 1 b", {}, "a token is forced that is forbidden there"),
    ("force 1 b; forbid 1 ab", {}, "a token is forced that is forbidden there"),
    ("patch 0 layer 1 from step 9", {}, "the donor has fewer steps"),
    ("patch 0 layer 1 from run x", {}, "states of another run cannot be read here"),
    (
        "patch 0 layer 1 from run x",
        {"donor": lambda path, problem_id, step: Donor([1], [2])},
        "the donor has another gen_length",
    ),
]


@pytest.mark.parametrize(("text", "changes", "said"), REASONS, ids=lambda part: str(part)[:30])
def test_where_there_is_no_occasion(text: str, changes: dict[str, Any], said: str) -> None:
    values = dict(changes)
    at = values.pop("step", 4)
    given = state(at, **values)
    if text.startswith("set 0 "):
        text = 'set 0 "\\u000b"'
        assert int(given.token[0]) == 11
    assert reason(text, given) == said


ACTED = [
    "nothing",
    "remask answer",
    "remask 0:4",
    "remask least 2",
    "remask random 2",
    "set 0:3 abc",
    "resample 6",
    "swap answer from one",
    "force 0:4 abcd",
    "forbid 3:6 xyz",
    "remask 6; force answer a",
    "force 0:4 a; remask 0",
    "force 0:8 a; set 3 b",
    "patch answer layer 2 from step 8",
    "patch committed layer 2 from step 8",
    "patch 1:3 layer 2 from step 8; remask 7; forbid 5 a",
]


@pytest.mark.parametrize("text", ACTED)
def test_where_it_acted_is_known_afterwards(text: str) -> None:
    given = state()
    changed = apply(text, given)
    *_, intervention = parse_interventions([text], gen_length=G)
    acted = intervention.positions(given.token, changed.token, mask_id=MASK, answer=given.answer)
    assert np.flatnonzero(acted).tolist() == changed.positions
