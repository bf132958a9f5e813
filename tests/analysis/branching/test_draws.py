"""Reading branches: which draw belongs to which state, what counts as missing, and what is never
pooled."""

from __future__ import annotations

from typing import Any

import numpy as np
import toy
from toy import Toy

from diffengine.analysis.branching.branch_runs import SameLaw, by_law, samples_of
from diffengine.analysis.branching.draws import ABSENT, Draws, read_draws
from diffengine.engine.problems.read import Origin

TOYS = [Toy(seed) for seed in range(4)]
TEXTS = [each.greedy() for each in TOYS]
GOLDS = [toy.answer_of(text) for text in TEXTS[:3]] + [""]


def draws_of(parent: Any, *branches: Any) -> Draws:
    laws = by_law(list(branches))
    assert len(laws) == 1
    return read_draws(parent, laws[0])


def standard(**changes: Any) -> tuple[Any, Any]:
    return toy.parent_run(TOYS, TEXTS, GOLDS), toy.branch_run(TOYS, TEXTS, GOLDS, **changes)


def test_every_draw_lies_at_its_state() -> None:
    parent, branches = standard(samples=5)
    draws = draws_of(parent, branches)
    assert draws.steps.tolist() == [0, 1, 2, 3] and draws.label.shape == (4, 4, 5)
    answers = dict(zip(branches.ids, branches["extracted_answer"], strict=True))
    for row in range(4):
        own = toy.answer_of(TEXTS[row])
        known = {own: draws.final[row]}
        for place, step in enumerate((0, 1, 2)):
            for branch in range(5):
                answer = answers[f"p{row}@{step}.0#{branch}"]
                label = draws.label[row, place, branch]
                assert known.setdefault(answer, label) == label
                if row < 3:
                    assert draws.correct[row, place, branch] == (answer == own)
        assert len(set(known.values())) == len(known)
        assert (draws.label[row, 3] == draws.final[row]).all()
    assert np.isnan(draws.correct[3]).all() and draws.gold[3] == ABSENT
    assert (draws.gold[:3] == draws.final[:3]).all()
    assert draws.is_complete.all() and draws.missing == 0
    assert draws.is_certain.tolist() == [[False, False, False, True]] * 4


def test_a_missing_branch_leaves_its_state_out_and_no_other() -> None:
    parent, branches = standard(samples=5, lost=["p1@2.0#3", "p2@0.0#0"])
    draws = draws_of(parent, branches)
    expected = np.ones((4, 4), bool)
    expected[1, 2] = expected[2, 0] = False
    np.testing.assert_array_equal(draws.is_complete, expected)
    assert draws.missing == 2 and draws.label[1, 2, 3] == ABSENT
    assert draws.counts[1, 2].sum() == 4


def test_the_order_of_shards_does_not_matter() -> None:
    parent, branches = standard(samples=5)
    shuffled = toy.branch_run(TOYS, TEXTS, GOLDS, samples=5)
    order = np.random.default_rng(0).permutation(len(shuffled.ids))
    shuffled.ids = [shuffled.ids[place] for place in order]
    shuffled._columns = {name: column[order] for name, column in shuffled._columns.items()}
    one, other = draws_of(parent, branches), draws_of(parent, shuffled)
    for row in range(4):
        same_one = one.label[row].reshape(-1, 1) == one.label[row].reshape(1, -1)
        same_other = other.label[row].reshape(-1, 1) == other.label[row].reshape(1, -1)
        np.testing.assert_array_equal(same_one, same_other)


def test_a_parent_that_has_ended_has_its_own_answer_for_certain() -> None:
    """Its states from there on are final, and no branch was made of them."""
    performed = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]], np.uint8)
    parent = toy.parent_run(TOYS, TEXTS, GOLDS, performed=performed)
    whole = toy.branch_run(TOYS, TEXTS, GOLDS, samples=5)
    settled = {(1, 1), (1, 2), (2, 2)}
    branches = without(whole, settled)
    draws = draws_of(parent, branches)
    certain = np.zeros((4, 4), bool)
    certain[:, 3] = certain[1, 1:] = certain[2, 2:] = True
    np.testing.assert_array_equal(draws.is_certain, certain)
    assert draws.is_complete.all() and draws.missing == 0
    for row, place in settled:
        assert (draws.label[row, place] == draws.final[row]).all()
        assert (draws.correct[row, place] == 1).all()


def test_the_last_step_with_a_pass_is_not_settled_and_branches_that_are_there_count() -> None:
    """p2 makes steps 0 and 1: its state at 1 is open, and where it was not branched it is
    absent. States that were branched are drawn, whatever the parent did there."""
    performed = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]], np.uint8)
    parent = toy.parent_run(TOYS, TEXTS, GOLDS, performed=performed)
    some = without(toy.branch_run(TOYS, TEXTS, GOLDS, samples=5), {(2, 1), (2, 2)})
    draws = draws_of(parent, some)
    assert draws.is_complete[2].tolist() == [True, False, True, True]

    whole = toy.branch_run(TOYS, TEXTS, GOLDS, samples=5)
    branched = draws_of(parent, whole)
    assert not branched.is_certain[2, 2]
    expected = draws_of(toy.parent_run(TOYS, TEXTS, GOLDS), whole)
    np.testing.assert_array_equal(branched.label, expected.label)


def without(branches: Any, states: set[tuple[int, int]]) -> Any:
    """The branch run as if it had not been asked for these states (row, step)."""
    names = {(f"p{row}", step) for row, step in states}
    branches.problems = [
        problem
        for problem in branches.problems
        if (problem.origin.parent, problem.origin.step) not in names
    ]
    keep = [
        place
        for place, (name, step) in enumerate(
            zip(branches["parent_id"], branches["branch_step"], strict=True)
        )
        if (name, step) not in names
    ]
    branches.ids = [branches.ids[place] for place in keep]
    branches._columns = {name: column[keep] for name, column in branches._columns.items()}
    return branches


def test_a_problem_that_was_not_branched_is_not_decided() -> None:
    parent, whole = standard(samples=5)
    branches = without(whole, {(2, 0), (2, 1), (2, 2)})
    draws = draws_of(parent, branches)
    assert draws.is_asked.tolist() == [True, True, False, True]
    assert not draws.is_complete[2].any() and draws.missing == 0


def test_one_that_had_ended_everywhere_counts_only_if_all_others_were_branched() -> None:
    performed = np.ones((4, 3), np.uint8)
    performed[1, 1:] = 0
    parent = toy.parent_run(TOYS, TEXTS, GOLDS, performed=performed)
    branches = without(toy.branch_run(TOYS, TEXTS, GOLDS, at=(1, 2), samples=5), {(1, 1), (1, 2)})
    assert draws_of(parent, branches).is_asked.all()
    some = without(toy.branch_run(TOYS, TEXTS, GOLDS, at=(1, 2), samples=5),
                   {(1, 1), (1, 2), (0, 1), (0, 2)})  # fmt: skip
    assert draws_of(parent, some).is_asked.tolist() == [False, False, True, True]


def test_a_step_that_the_run_has_not_and_interventions_are_left_alone() -> None:
    parent, branches = standard(samples=3, at=(0, 2, 3))
    assert draws_of(parent, branches).steps.tolist() == [0, 2, 3]
    changed = toy.branch_run(TOYS, TEXTS, GOLDS, samples=3)
    changed.problems = [
        problem if problem.origin.step else intervened(problem) for problem in changed.problems
    ]
    changed._columns["intervention"] = np.where(changed["branch_step"] == 0, 1, 0)
    draws = draws_of(parent, changed)
    assert (draws.label[:, 0] == ABSENT).all() and draws.is_complete[:, 1:].all()
    assert not draws.is_planned[:, 0].any() and draws.missing == 0


def intervened(problem: Any) -> Any:
    from dataclasses import replace

    return replace(problem, origin=problem.origin._replace(intervention=1))


def test_branches_of_another_law_are_kept_apart() -> None:
    """Temperature, policy, model, R: each makes a law of its own. Seed and what is recorded do
    not."""
    base = toy.branch_run(TOYS, TEXTS, GOLDS, samples=4, name="a")
    for change in ({"temperature": 0.5}, {"policy": "dream"}, {"samples": 5}, {"top_p": 0.9}):
        other = toy.branch_run(TOYS, TEXTS, GOLDS, **{"samples": 4, "name": "b", **change})
        laws = by_law([base, other])
        assert [law.names for law in laws] == [["a"], ["b"]], change
    of_model = toy.branch_run(TOYS, TEXTS, GOLDS, samples=4, name="b")
    of_model.info["model"] = {"fingerprint": "another"}
    assert len(by_law([base, of_model])) == 2
    same = toy.branch_run(TOYS, TEXTS, GOLDS, samples=4, name="b", seed=7, record="all")
    assert [law.names for law in by_law([base, same])] == [["a", "b"]]


def test_branches_with_the_parents_noise_are_no_draws() -> None:
    assert by_law([toy.branch_run(TOYS, TEXTS, GOLDS, samples=1, noise="parent")]) == []


def test_draws_of_one_state_come_from_one_run_and_steps_from_several() -> None:
    parent = toy.parent_run(TOYS, TEXTS, GOLDS)
    first = toy.branch_run(TOYS, TEXTS, GOLDS, samples=4, at=(0, 1), name="a", lost=["p0@1.0#0"])
    second = toy.branch_run(TOYS, TEXTS, GOLDS, samples=4, at=(1, 2), name="b", seed=9)
    draws = read_draws(parent, SameLaw((first, second), 4))
    assert draws.steps.tolist() == [0, 1, 2, 3] and draws.is_complete.all()
    alone = read_draws(parent, SameLaw((second,), 4))
    # p0 at step 1 is whole in the second run alone; p1 is whole in both, and the first counts
    assert same_partition(draws.label[0, 1], alone.label[0, 0])
    of_first = read_draws(parent, SameLaw((first,), 4))
    assert same_partition(draws.label[1, 1], of_first.label[1, 1])


def test_a_step_that_was_never_asked_of_a_problem_is_not_missing() -> None:
    """Two commands: three steps of two problems, one step of all."""
    parent = toy.parent_run(TOYS, TEXTS, GOLDS)
    some = without(
        toy.branch_run(TOYS, TEXTS, GOLDS, samples=4, name="a"),
        {(row, step) for row in (2, 3) for step in (0, 1, 2)},
    )
    every = toy.branch_run(TOYS, TEXTS, GOLDS, samples=4, at=(1,), name="b", lost=["p3@1.0#0"])
    draws = read_draws(parent, SameLaw((some, every), 4))
    assert draws.is_planned.astype(int).tolist() == [[1, 1, 1, 0]] * 2 + [[0, 1, 0, 0]] * 2
    assert draws.missing == 1
    assert draws.is_complete[2].tolist() == [False, True, False, True]


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(((one[:, None] == one) == (other[:, None] == other)).all())


def test_r_is_what_half_of_the_states_were_asked_for() -> None:
    """A later command may have asked for more of one step: the first R of it are a draw too."""
    parent, branches = standard(samples=4)
    assert samples_of(branches) == 4
    more = toy.branch_run(TOYS, TEXTS, GOLDS, samples=9, at=(0,))
    branches.problems = [*branches.problems, *more.problems[:]]
    branches.problems = list({problem.id: problem for problem in branches.problems}.values())
    branches.info["branches"]["samples"] = 9
    assert samples_of(branches) == 4
    draws = draws_of(parent, branches)
    assert draws.samples == 4 and draws.is_complete.all()

    whole = toy.branch_run(TOYS, TEXTS, GOLDS, samples=5)
    first = read_draws(parent, SameLaw((whole,), 3))
    assert first.samples == 3 and first.is_complete.all()
    of_all = draws_of(parent, whole)
    assert same_partition(first.label[0, 0], of_all.label[0, 0, :3])

    few = toy.branch_run(TOYS, TEXTS, GOLDS, samples=2)
    assert samples_of(few) == 2
    few.problems = []
    assert samples_of(few) == 2


def test_texts_without_an_answer_are_a_class() -> None:
    parent, branches = standard(samples=4)
    branches._columns["extracted_answer"][[0, 2]] = ""
    branches._columns["verdict"][[0, 2]] = toy.UNEXTRACTED
    draws = draws_of(parent, branches)
    assert draws.unextracted[0] == draws.label[0, 0, 0] == draws.label[0, 0, 2] != draws.final[0]
    assert draws.unextracted[1] == ABSENT
    assert draws.correct[0, 0, 0] == 0


def test_samples_of_one_problem_are_its_group() -> None:
    parent = toy.parent_run(TOYS, TEXTS, GOLDS, groups=["p0", "p0", "p2", "p3"])
    draws = draws_of(parent, toy.branch_run(TOYS, TEXTS, GOLDS, samples=3))
    assert draws.groups.tolist() == ["p0", "p0", "p2", "p3"]
    del parent._columns["group_id"]  # as in runs made before schema 1.2
    draws = draws_of(parent, toy.branch_run(TOYS, TEXTS, GOLDS, samples=3))
    assert draws.groups.tolist() == ["p0", "p1", "p2", "p3"]


def test_origin_is_read_from_columns_and_never_from_ids() -> None:
    parent, branches = standard(samples=2)
    for place, problem in enumerate(branches.problems):
        assert isinstance(problem.origin, Origin)
        branches.ids[place] = f"x{place}"
    assert draws_of(parent, branches).is_complete.all()
