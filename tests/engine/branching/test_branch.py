"""Branches as a run of their own: what they begin with, how they are drawn, resumed and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.engine.branching.branch import branch
from diffengine.engine.branching.plan import BranchPlan, plan_branches
from diffengine.engine.branching.request import BranchRequest, default_grid
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.options import ConfigError
from diffengine.engine.problems.read import Problem
from diffengine.engine.runs.execution import Execution
from diffengine.engine.runs.run import RunResult
from diffengine.engine.signals import Stop
from diffengine.engine.store import Run, open_run, verify_run
from diffengine.engine.store.format.schema import VARIABLES
from diffengine.engine.store.read.run import stored_problems

OF_A_STEP = [row.name for row in VARIABLES.values() if row.statistic is not None]


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        ("llada", {"block_length": 4}),
        ("dream", {"alg": "origin"}),
        ("threshold", {"block_length": 6, "threshold": 0.3}),
        ("klass", {"block_length": 6, "confidence_threshold": 0.2, "kl_threshold": 2.0}),
    ],
)
def test_a_fresh_branch_sees_the_parents_state_and_what_the_parent_saw_there(
    policy: str,
    more: dict[str, Any],
    random_model: MaskedDiffusionModel,
    parent_of: Callable[..., Run],
) -> None:
    """Noise decides what commits, not what the model says of a canvas: at its first step every
    statistic is the parent's, bit by bit, KL to the step before included."""
    mask = random_model.token_ids.mask
    with parent_of(policy, **more) as parent:
        result = branch(parent, at=[0, 3, 5], samples=3, record="all", model=random_model)
        with open_run(result.path) as branches:
            assert len(branches) > 18
            for row in range(len(branches)):
                step = int(branches["branch_step"][row])
                theirs = parent.row(str(branches["parent_id"][row]))
                canvas = parent["token"][theirs][step - 1] if step else np.full(12, mask)
                np.testing.assert_array_equal(branches["start_token"][row], canvas)
                first = int(np.flatnonzero(branches["performed"][row])[0])
                if parent["performed"][theirs][first] and first == step:
                    for name in OF_A_STEP:
                        ours = branches[name][row][step]
                        np.testing.assert_array_equal(ours, parent[name][theirs][step], name)
                final = branches["token"][row][-1]
                assert (final != mask).all()
                kept = canvas != mask
                np.testing.assert_array_equal(final[kept], canvas[kept])
    assert verify_run(result.path).ok


def test_branches_of_a_state_differ_and_do_not_depend_on_their_mates(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    with parent_of(temperature=1.0) as parent:
        alone = branch(parent, at=[4], samples=2, ids=["b"], model=random_model)
        with open_run(alone.path) as branches:
            texts = dict(zip(branches.ids, branches["generated_text"][...], strict=True))
        assert len(set(texts.values())) == 2
        small = Execution(token_budget=40, refill=False)
        more = branch(parent, at=[0, 4, 7], samples=4, model=random_model, execution=small)
        assert more.path == alone.path and more.done == 34 and more.resumed == 2
        with open_run(more.path) as branches:
            assert branches.info["branches"]["at"] == [0, 4, 7]
            assert branches.info["branches"]["samples"] == 4
            every = dict(zip(branches.ids, branches["final_token"][...], strict=True))
        # The same from nothing, in one batch and in another order of lengths.
        again = branch(parent, at=[4], samples=4, record="masked", model=random_model)
        with open_run(again.path) as branches:
            assert again.path != more.path and len(branches) == 12
            for name, tokens in zip(branches.ids, branches["token"][...], strict=True):
                np.testing.assert_array_equal(tokens[-1], every[name])


def test_a_greedy_parent_has_branches_at_temperature_one(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    with parent_of() as parent:
        drawn = plan_branches(BranchRequest(parent.path, model=random_model))
        assert drawn.plan.config.as_dict()["temperature"] == 1.0 and drawn.samples == 16
        again = plan_branches(BranchRequest(parent.path, samples=1, model=random_model))
        assert again.plan.config.as_dict()["temperature"] == 0.0 and again.noise == "parent"
        with pytest.raises(ConfigError, match="temperature is 0 and samples 4"):
            branch(parent, samples=4, temperature=0.0, model=random_model)


def test_the_cost_is_what_is_made(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    said: list[BranchPlan] = []
    with parent_of(cfg_scale=0.5) as parent:
        result = branch(
            parent, at=[0, 4, 11, 12], samples=2, model=random_model, on_plan=said.append
        )
        with open_run(result.path) as branches:
            made = int(branches["n_forwards"][...].sum())
    cost = said[0].cost
    assert made == cost.forwards == 2 * 2 * 3 * (12 + 8 + 1)
    assert (cost.branches, cost.decodings, cost.settled) == (18, 3, 3)
    assert cost.times_parent == pytest.approx(made / (2 * 3 * 12))


def test_under_a_free_schedule_the_cost_is_the_parents_and_one_pass_for_each_mask_more(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    said: list[BranchPlan] = []
    with parent_of("threshold", threshold=0.2) as parent:
        ran = [int(np.flatnonzero(p)[-1]) + 1 for p in parent["performed"][...]]
        last = max(ran)
        result = branch(parent, at=last, do="remask 2:5", model=random_model, on_plan=said.append)
        with open_run(result.path) as branches:
            made = int(branches["n_forwards"][...].sum())
        whole = plan_branches(BranchRequest(parent.path, at=[0], samples=1, model=random_model))
    assert said[0].cost.as_parent and said[0].cost.forwards == 3 * 3 and 3 <= made <= 9
    assert whole.cost.forwards == sum(ran)


def test_the_cost_is_of_what_is_not_there_yet(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    said: list[BranchPlan] = []
    with parent_of() as parent:
        branch(parent, at=4, samples=2, model=random_model)
        branch(parent, at=[4, 8], samples=3, model=random_model, on_plan=said.append)
        again = plan_branches(BranchRequest(parent.path, at=[4, 8], samples=3, model=random_model))
    cost = said[0].cost
    assert (cost.branches, cost.there, cost.decodings) == (12, 6, 3)
    assert cost.forwards == 3 * (1 * 8 + 3 * 4)
    assert (again.cost.branches, again.cost.there, again.cost.forwards) == (0, 18, 0)


def test_the_default_grid_costs_four_and_a_half_parents_a_sample() -> None:
    assert default_grid(48) == [0, 6, 12, 18, 24, 30, 36, 42]
    assert sum(48 - step for step in default_grid(48)) == 4.5 * 48
    assert default_grid(3) == [0, 1, 2]


def test_an_ended_row_that_is_masked_again_goes_on(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    """Its last step walked again leaves no mask, which would end a row of a free schedule."""
    mask = random_model.token_ids.mask
    with parent_of("threshold", threshold=0.2) as parent:
        ends = [int(np.flatnonzero(p)[-1]) + 1 for p in parent["performed"][...]]
        assert max(ends) < 12
        result = branch(parent, at=[max(ends)], do="remask 2:5", record="all", model=random_model)
        assert result.done == 3
        with open_run(result.path) as branches:
            assert ((branches["start_token"][...] == mask).sum(1) == 3).all()
            assert (branches["token"][:, -1] != mask).all()
    assert verify_run(result.path).ok


def test_interrupted_branches_go_on_to_the_same(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    few = Execution(token_budget=80, shard_problems=4)
    with parent_of() as parent:
        planned = plan_branches(
            BranchRequest(parent.path, samples=4, model=random_model, execution=few)
        )
        place = planned.plan.out

        def stop_early(progress: Any) -> None:
            if progress.done >= 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            branch(parent, samples=4, model=random_model, execution=few, on_progress=stop_early)
        with open_run(place) as branches:
            assert 0 < len(branches) < 96
        result = branch(parent, samples=4, model=random_model, execution=few)
        assert result.done + result.resumed == 96 and result.resumed > 0
        whole = plan_branches(
            BranchRequest(parent.path, samples=4, record="masked", model=random_model)
        )
        uninterrupted = branch(parent, samples=4, record="masked", model=random_model)
        assert uninterrupted.path == whole.plan.out
        with open_run(place) as some, open_run(uninterrupted.path) as other:
            assert some.ids == other.ids
            for name in ("generated_text", "extracted_answer", "verdict", "start_token"):
                np.testing.assert_array_equal(some[name][...], other[name][...])
    assert verify_run(place).ok


def test_coordinates_are_columns(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    with parent_of() as parent:
        result = branch(
            parent, at=[2, 6], samples=2, do=["remask 0:12", "set 4 7"], model=random_model
        )
        with open_run(result.path) as branches:
            assert branches.info["branches"]["interventions"] == [
                "nothing", "remask 0:12", 'set 4 "7"',
            ]  # fmt: skip
            columns = ["parent_id", "branch_step", "intervention", "branch"]
            table = list(zip(*(branches[name][...].tolist() for name in columns), strict=True))
            assert len(set(table)) == len(table) == 36
            assert sorted({row[2] for row in table}) == [0, 1, 2]
            assert branches["group_id"][...].tolist() == branches["parent_id"][...].tolist()
            xarray = pytest.importorskip("xarray")
            data = branches.to_xarray()
            assert isinstance(data, xarray.Dataset)
        problems = stored_problems(result.path)
        assert [tuple(p.origin or ()) for p in problems] == table
        assert all(isinstance(p, Problem) and p.question for p in problems)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"at": [13]}, "at names step 13; the run has steps 0 to 11, and 12 is its final canvas"),
        ({"at": [-1]}, "at names step -1"),
        ({"at": []}, "at is empty"),
        ({"samples": 0}, "samples is 0; it must be at least 1"),
        ({"noise": "loud"}, "noise is 'loud'; use one of fresh, parent"),
        ({"noise": "parent", "samples": 2}, "all branches of a state would be equal"),
        ({"steps": 3}, "steps cannot differ from the parent run's"),
        ({"ids": ["z", "a", "y"]}, "ids: y, z not stored in"),
        ({"samples": 1, "seed": 2}, "which is that of the parent's seed"),
        ({"do": "remove 3"}, "got 'remove'; expected one of nothing, remask"),
        ({"do": "patch 3 layer 9 from step 0"}, "has no layer 9"),
        ({"record": "some"}, "record is 'some'"),
    ],
)
def test_what_cannot_be_is_refused(
    asked: dict[str, Any],
    sentence: str,
    random_model: MaskedDiffusionModel,
    parent_of: Callable[..., Run],
) -> None:
    with parent_of() as parent:
        before = sorted(path.name for path in parent.path.iterdir())
        with pytest.raises(ConfigError) as error:
            branch(parent, model=random_model, **asked)
        assert sentence in str(error.value)
        assert sorted(path.name for path in parent.path.iterdir()) == before


def test_runs_without_states_are_refused(
    random_model: MaskedDiffusionModel,
    bundled_model: MaskedDiffusionModel,
    parent_of: Callable[..., Run],
) -> None:
    with parent_of(record="answers") as parent:
        with pytest.raises(ConfigError, match="keeps answers alone"):
            branch(parent, model=random_model)
    with open_run(parent.path) as parent:
        assert verify_run(parent.path).ok and "token" not in parent


def test_another_model_and_a_branch_of_a_branch_are_refused(
    random_model: MaskedDiffusionModel,
    bundled_model: MaskedDiffusionModel,
    parent_of: Callable[..., Run],
) -> None:
    with parent_of() as parent:
        with pytest.raises(ConfigError, match="is not the model of"):
            branch(parent, model=bundled_model)
        result: RunResult = branch(parent, at=3, samples=1, record="all", model=random_model)
        with pytest.raises(ConfigError, match="is a branch run itself; branch from the run above"):
            branch(result.path, model=random_model)


def test_final_states_have_nothing_to_decode(
    random_model: MaskedDiffusionModel, parent_of: Callable[..., Run]
) -> None:
    with parent_of() as parent:
        result = branch(parent, at=12, model=random_model)
        assert result.done == 0 and not (Path(parent.path) / "branches").exists()
    assert not Stop().interrupted
