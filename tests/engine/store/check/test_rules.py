"""Each rule about a trajectory holds for a true one and notices the single value that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from diffengine.engine.store.check.conditions import Conditions, conditions_of
from diffengine.engine.store.check.rules import value_faults
from diffengine.engine.store.format.elements import widen

Arrays = dict[str, np.ndarray]


def arrays_of(samples: SimpleNamespace, *, bf16: bool = False) -> tuple[Arrays, Conditions]:
    columns = {
        name: np.array(column, copy=True)
        for name, column in samples.columns(list(range(4)), bf16=bf16).items()
    }
    columns["topk_logit"] = widen(columns["topk_logit"]) if bf16 else columns["topk_logit"]
    return columns, Conditions(samples.mask_id, False, False, False, bf16)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_true_trajectory_passes(samples: SimpleNamespace, bf16: bool) -> None:
    arrays, conditions = arrays_of(samples, bf16=bf16)
    assert value_faults(arrays, conditions) == []


def spoil(name: str, place: tuple[int, ...], value: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][place] = value

    return change


def uncommit(arrays: Arrays) -> None:
    position = int(np.flatnonzero(arrays["committed"][0, 0])[0])
    arrays["token"][0, 3, position] = 60


def recommit(arrays: Arrays) -> None:
    position = int(np.flatnonzero(arrays["committed"][0, 0])[0])
    arrays["token"][0, 3, position] += 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (uncommit, "token changes after it was committed"),
        (recommit, "token changes after it was committed"),
        (spoil("token", (0, -1, 2), 60), "still masked after the last step"),
        (
            lambda arrays: arrays["committed"].__setitem__((1, 2), 1 - arrays["committed"][1, 2]),
            "committed disagrees",
        ),
        (spoil("n_masked", (2, 3), 17), "n_masked disagrees"),
        (spoil("logprob", (0, 1, 2), 0.1), "logprob is above 0"),
        (spoil("answer_logprob", (0, 1, 2, 0), 0.1), "answer_logprob is above 0"),
        (spoil("null_answer_logprob", (0, 2, 0), 0.1), "null_answer_logprob is above 0"),
        (spoil("entropy", (0, 1, 2), -0.01), "entropy is below 0"),
        (spoil("kl", (0, 1, 2), -0.01), "kl is below 0"),
        (spoil("margin", (0, 1, 2), -1e-6), "margin is below 0"),
        (spoil("entropy", (3, 5, 5), np.nan), "entropy is missing"),
        (spoil("performed", (3, 5), 2), "performed is neither"),
        (spoil("verdict", (3,), 9), "verdict has no meaning"),
        (spoil("prediction", (3, 5, 5), 59), "prediction is not the first"),
        (spoil("logsumexp", (3, 5, 5), 99.0), "not the largest logit"),
    ],
)
def test_one_wrong_value_is_noticed(
    samples: SimpleNamespace, change: Callable[[Arrays], None], message: str
) -> None:
    arrays, conditions = arrays_of(samples)
    if "prediction" in message:
        arrays["topk_id"][3, 5, 5, 0] = 1
    change(arrays)
    assert any(message in fault for fault in value_faults(arrays, conditions))


def test_skipped_steps_have_no_statistics(samples: SimpleNamespace) -> None:
    """Nor commits: those of the step are made in the next one here."""
    arrays, conditions = arrays_of(samples)
    arrays["performed"][0, 2] = 0
    arrays["committed"][0, 3] |= arrays["committed"][0, 2]
    arrays["committed"][0, 2] = 0
    arrays["token"][0, 2] = arrays["token"][0, 1]
    arrays["n_masked"][0, 3] = (arrays["token"][0, 2] == samples.mask_id).sum()
    for name in ("logprob", "entropy", "logsumexp", "margin", "kl", "topk_logit", "answer_logprob"):
        arrays[name][0, 2] = np.nan
    arrays["topk_id"][0, 2] = arrays["prediction"][0, 2] = -1
    assert value_faults(arrays, conditions) == []


def test_masked_only_runs_may_lack_committed_positions(samples: SimpleNamespace) -> None:
    arrays, conditions = arrays_of(samples)
    before = np.concatenate([np.full_like(arrays["token"][:, :1], 60), arrays["token"][:, :-1]], 1)
    for name in ("logprob", "entropy", "logsumexp"):
        arrays[name][before != 60] = np.nan
    assert any("missing" in fault for fault in value_faults(arrays, conditions))
    assert value_faults(arrays, conditions._replace(masked_only=True)) == []


@pytest.mark.parametrize("first", [60, 63])
def test_what_may_not_be_predicted_may_have_the_largest_logit(
    samples: SimpleNamespace, first: int
) -> None:
    """The mask token and padding rows of the head stay in topk_id, but are never the prediction."""
    arrays, conditions = arrays_of(samples)
    arrays["topk_id"][0, 0, 0] = [first, *arrays["topk_id"][0, 0, 0, :-1]]
    arrays["topk_logit"][0, 0, 0] = [99.0, *arrays["topk_logit"][0, 0, 0, :-1]]
    assert value_faults(arrays, conditions._replace(n_candidates=63)) == []
    assert value_faults(arrays, conditions._replace(mask_id=None, n_candidates=64)) != []


def test_tied_logits_may_come_in_any_order(samples: SimpleNamespace) -> None:
    arrays, conditions = arrays_of(samples)
    arrays["topk_logit"][0, 0, 0, 1] = arrays["topk_logit"][0, 0, 0, 0]
    arrays["topk_id"][0, 0, 0, :2] = arrays["topk_id"][0, 0, 0, 1::-1]
    assert value_faults(arrays, conditions) == []


def test_the_reference_may_commit_the_mask_token(samples: SimpleNamespace) -> None:
    arrays, conditions = arrays_of(samples)
    step, position = np.argwhere(arrays["committed"][0])[-1]
    arrays["token"][0, step:, position] = 60
    arrays["n_masked"][0] = [6 - at for at in range(6)]
    assert value_faults(arrays, conditions)
    assert value_faults(arrays, conditions._replace(reference_numerics=True)) == []


def test_facts_come_from_run_json() -> None:
    info = {
        "config": {"numerics": "reference", "record": "masked", "logits_eos_inf": True},
        "model": {"mask_token_id": 5},
    }
    assert conditions_of(info, bfloat16=True) == Conditions(5, True, True, True, True)
    assert conditions_of({}, bfloat16=False) == Conditions(None, False, False, False, False)


def test_a_free_schedule_may_end_with_masks_left() -> None:
    assert conditions_of({"schedule": "free"}, bfloat16=False).may_leave_masks
    assert not conditions_of({"schedule": "fixed"}, bfloat16=False).may_leave_masks


def test_nothing_commits_in_a_step_without_a_forward_pass(samples: SimpleNamespace) -> None:
    arrays, run = arrays_of(samples)
    step = int(np.flatnonzero(arrays["committed"][1].any(-1))[0])
    arrays["performed"][1, step] = 0
    assert any(
        fault.startswith("committed in a step without a forward pass at 1 place")
        for fault in value_faults(arrays, run)
    )


def test_a_policy_from_outside_need_not_fill_the_canvas(samples: SimpleNamespace) -> None:
    arrays, run = arrays_of(samples)
    unfilled = arrays["committed"][:, -1].argmax(-1)
    rows = np.arange(len(unfilled))
    arrays["token"][rows, -1, unfilled] = samples.mask_id
    arrays["committed"][rows, -1, unfilled] = 0
    (fault,) = value_faults(arrays, run)
    assert fault.startswith("token is still masked after the last step")
    info = {"plugins": [{"kind": "policy", "name": "somebodys:Policy"}]}
    assert conditions_of(info, bfloat16=False).may_leave_masks
    assert value_faults(arrays, run._replace(may_leave_masks=True)) == []
