"""A branch with the parent's noise at which nothing was done is the parent's suffix: for every
policy, at every step, in every variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.engine.branching.branch import branch
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies import policies_for
from diffengine.engine.store import Run, open_run, verify_run
from diffengine.engine.store.format.schema import VARIABLES

OWN_OF_A_DECODING = {
    "problem_id", "index", "seconds", "n_forwards", "parent_id", "branch_step", "start_token",
    "block", "hidden_sum",
}  # fmt: skip

BY_POLICY: dict[str, list[dict[str, Any]]] = {
    "llada": [
        {"block_length": 4},
        {"block_length": 4, "temperature": 0.7, "seed": 3},
        {"block_length": 6, "remasking": "random"},
        {"block_length": 12, "steps": 4, "cfg_scale": 0.5},
        {"block_length": 12, "steps": 24},  # half of the steps commit nothing
        {"block_length": 4, "temperature": 0.7, "numerics": "reference"},
    ],
    "dream": [
        {"alg": "origin", "temperature": 0.7},
        {"alg": "origin"},
        {"alg": "entropy", "temperature": 0.3, "top_p": 0.9, "steps": 8},
        {"alg": "maskgit_plus", "alg_temp": 0.5},
        {"alg": "topk_margin", "numerics": "reference"},
    ],
    "rnd1": [{"temperature": 0.8, "top_k": 40, "steps": 7}],
    "threshold": [{"block_length": 6, "threshold": 0.3}, {"temperature": 0.7, "threshold": 0.2}],
    "klass": [
        {"block_length": 6, "history": 2, "confidence_threshold": 0.2, "kl_threshold": 2.0},
        {"block_length": 12, "history": 3, "confidence_threshold": 0.1, "kl_threshold": 5.0},
    ],
    "prophet": [{"block_length": 6, "answer_start": 0, "answer_length": 4}],
}
CASES = [
    (policy, more)
    for policy in policies_for(blocks=False)
    for more in BY_POLICY.get(policy, [{}, {"temperature": 0.7}])
]


def suffix(name: str, values: np.ndarray, step: int) -> np.ndarray:
    """A variable of one decoding from `step` on."""
    row = VARIABLES[name]
    if not row.of_trajectory:
        return values
    return values[step:, step:] if "other_step" in row.dims else values[step:]


def differing(parent: Run, branches: Run) -> list[str]:
    """The variables and branches that are not the parent's from their step on, bit by bit."""
    found = []
    for name in branches.variables:
        if name in OWN_OF_A_DECODING:
            continue
        theirs, ours = parent[name][...], branches[name][...]
        for row, (origin, step) in enumerate(
            zip(branches["parent_id"][...], branches["branch_step"][...], strict=True)
        ):
            expected = suffix(name, np.asarray(theirs[parent.row(str(origin))]), int(step))
            got = suffix(name, np.asarray(ours[row]), int(step))
            if not np.array_equal(expected, got, equal_nan=expected.dtype.kind == "f"):
                found.append(f"{name} of {branches.ids[row]}")
    return found


@pytest.mark.parametrize(("policy", "more"), CASES, ids=lambda part: str(part))
def test_nothing_done_is_the_stored_suffix(
    policy: str,
    more: dict[str, Any],
    random_model: MaskedDiffusionModel,
    parent_of: Callable[..., Run],
) -> None:
    with parent_of(policy, **more) as parent:
        steps = parent.sizes["step"]
        result = branch(
            parent, at=range(steps), samples=1, noise="parent", record="all", model=random_model
        )
        settled = 0
        for row in range(len(parent)):
            ran = np.flatnonzero(parent["performed"][row])
            settled += steps - 1 - int(ran[-1])
        with open_run(result.path) as branches:
            assert len(branches) == 3 * steps - settled
            assert differing(parent, branches) == []
            for row, step in enumerate(branches["branch_step"][...].tolist()):
                assert not branches["performed"][row][:step].any()
                assert np.isnan(branches["entropy"][row][:step]).all()
    assert verify_run(result.path).ok


def test_every_policy_of_the_table_is_tried() -> None:
    assert {policy for policy, _ in CASES} == set(policies_for(blocks=False))
