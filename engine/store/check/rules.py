"""Whether the values of one shard can be true: rules that hold for every trajectory, whatever the
model.

Each rule gets the shard's arrays and the conditions of the run, and names what it finds wrong.
"""

from __future__ import annotations

import numpy as np

from ..format.schema import VARIABLES
from .block_rules import RULES_OF_BLOCKS
from .conditions import (
    Arrays,
    Conditions,
    Rule,
    canvas_before,
    open_positions,
    read_positions,
    where,
)


def value_faults(arrays: Arrays, run: Conditions) -> list[str]:
    """Everything that the rules find wrong in a shard's arrays; empty if nothing."""
    rules = RULES if "token" in arrays else RULES_OF_ANSWERS
    if "open_start" in arrays:
        rules += RULES_OF_BLOCKS
    return [fault for rule in rules for fault in rule(arrays, run)]


def _canvas_only_fills(arrays: Arrays, run: Conditions) -> list[str]:
    if run.mask_id is None:
        return []
    token = arrays["token"]
    before = canvas_before(arrays, run.mask_id)
    changed = (before != run.mask_id) & (token != before)
    if "revised" in arrays:
        changed &= arrays["revised"] == 0
    faults = where("token changes after it was committed", changed)
    if not (run.reference_numerics or run.may_leave_masks):
        faults += where("token is still masked after the last step", token[:, -1] == run.mask_id)
    return faults


def _final_canvas_keeps_the_start(arrays: Arrays, run: Conditions) -> list[str]:
    if run.mask_id is None:
        return []
    start = arrays["start_token"]
    final = arrays["final_token"]
    changed = (start != run.mask_id) & (final != start)
    faults = where("final_token is not the token that the branch began with", changed)
    if not (run.reference_numerics or run.may_leave_masks):
        faults += where("final_token is still masked", final == run.mask_id)
    return faults


def _commits_match(arrays: Arrays, run: Conditions) -> list[str]:
    if run.mask_id is None or run.reference_numerics:
        return []  # the reference may commit the mask token itself
    token = arrays["token"]
    before = canvas_before(arrays, run.mask_id)
    changed = token != before
    committed = arrays["committed"] != 0
    if "revised" not in arrays:
        return where("committed disagrees with the change of token", committed != changed)
    was_masked = before == run.mask_id
    revised = arrays["revised"] != 0
    faults = where(
        "committed disagrees with the change of token", committed != changed & was_masked
    )
    return faults + where(
        "revised disagrees with the change of token", revised != changed & ~was_masked
    )


def _mask_counts(arrays: Arrays, run: Conditions) -> list[str]:
    if run.mask_id is None:
        return []
    masked = canvas_before(arrays, run.mask_id) == run.mask_id
    if "open_start" in arrays:
        masked &= open_positions(arrays)
    wrong = (arrays["performed"] != 0) & (arrays["n_masked"] != masked.sum(-1))
    return where("n_masked disagrees with token", wrong)


def _no_commit_without_a_pass(arrays: Arrays, run: Conditions) -> list[str]:
    is_performed = arrays["performed"] != 0
    committed = arrays["committed"].any(-1)
    if "revised" in arrays:
        committed |= arrays["revised"].any(-1)
    return where("committed in a step without a forward pass", committed & ~is_performed)


def _bounds(arrays: Arrays, run: Conditions) -> list[str]:
    faults = []
    for name, values in arrays.items():
        bounds = VARIABLES[name].bounds
        if bounds is not None:
            below = values < bounds.lowest - bounds.slack
            above = values > bounds.highest + bounds.slack
            faults += where(f"{name} is below {bounds.lowest:g}", below)
            faults += where(f"{name} is above {bounds.highest:g}", above)
    return faults


def _flags_have_a_meaning(arrays: Arrays, run: Conditions) -> list[str]:
    faults = []
    for name, values in arrays.items():
        row = VARIABLES[name]
        if row.flags:
            faults += where(f"{name} has no meaning", values >= len(row.flags))
        elif row.dtype == "uint8":
            faults += where(f"{name} is neither 0 nor 1", values > 1)
    return faults


def _recorded_where_promised(arrays: Arrays, run: Conditions) -> list[str]:
    """Statistics are NaN only in steps that ran no forward, at positions that were not open, or at
    committed positions of a `record masked` run."""
    expected = read_positions(arrays, run)
    if run.masked_only:
        if run.mask_id is None:
            return []
        expected = expected & (canvas_before(arrays, run.mask_id) == run.mask_id)
    faults = []
    for name, values in arrays.items():
        if VARIABLES[name].promised:
            absent = expected & np.isnan(values)
            faults += where(f"{name} is missing where a forward ran", absent)
    return faults


def _top_is_prediction(arrays: Arrays, run: Conditions) -> list[str]:
    """The first of the top k is the prediction, unless it may not be predicted or is tied with
    it."""
    if "topk_id" not in arrays or run.eos_banned:
        return []
    top = arrays["topk_id"]
    logit = arrays["topk_logit"]
    prediction = arrays["prediction"]
    recorded = ~np.isnan(arrays["logprob"]) & (top[..., 0] >= 0) & (prediction >= 0)
    predictable = (top[..., 0] != run.mask_id) & (top[..., 0] < run.n_candidates)
    differs = recorded & predictable & (top[..., 0] != prediction)
    tied = ((top == prediction[..., None]) & (logit == logit[..., :1])).any(-1)
    all_alike = logit[..., 0] == logit[..., -1]
    return where("prediction is not the first of topk_id", differs & ~tied & ~all_alike)


def _logit_of_prediction(arrays: Arrays, run: Conditions) -> list[str]:
    """logsumexp + logprob is the logit of the prediction, to the rounding of the stored logit."""
    if "topk_id" not in arrays:
        return []
    logit = arrays["topk_logit"][..., 0]
    own = np.asarray(arrays["logsumexp"] + arrays["logprob"])
    slack = 1e-3 + np.abs(logit) * (2.0**-8 if run.bfloat16 else 1e-5)
    same = (arrays["topk_id"][..., 0] == arrays["prediction"]) & np.isfinite(logit)
    wrong = same & (np.abs(own - logit) > slack)
    return where("logsumexp + logprob is not the largest logit", wrong)


RULES: tuple[Rule, ...] = (
    _canvas_only_fills,
    _commits_match,
    _mask_counts,
    _no_commit_without_a_pass,
    _bounds,
    _flags_have_a_meaning,
    _recorded_where_promised,
    _top_is_prediction,
    _logit_of_prediction,
)

RULES_OF_ANSWERS: tuple[Rule, ...] = (_final_canvas_keeps_the_start, _bounds, _flags_have_a_meaning)
"""Those of a shard that holds no trajectories."""
