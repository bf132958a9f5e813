"""Whether the values of one shard can be true: rules that hold for every trajectory, whatever the
model.

Each rule gets the shard's arrays and the conditions of the run, and names what it finds wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..counts import count_text
from ..format.schema import VARIABLES


class Conditions(NamedTuple):
    """What the rules need to know of the run. `mask_id` is None where the model has none recorded;
    `may_leave_masks`: its policy need not fill the canvas.

    Ids from `n_candidates` on are padding rows of the head, which are never predicted.
    """

    mask_id: int | None
    reference_numerics: bool
    masked_only: bool
    eos_banned: bool
    bfloat16: bool
    n_candidates: float = np.inf
    may_leave_masks: bool = False


Arrays = Mapping[str, np.ndarray]
Rule = Callable[[Arrays, Conditions], list[str]]


def conditions_of(info: Mapping[str, Any], *, bfloat16: bool) -> Conditions:
    """The conditions from run.json; what it does not say makes rules weaker, never wrong."""
    config = info.get("config") or {}
    model = info.get("model") or {}
    mask = model.get("mask_token_id")
    plugins = info.get("plugins") or []
    return Conditions(
        mask_id=None if mask is None else int(mask),
        reference_numerics=config.get("numerics") == "reference",
        masked_only=config.get("record") == "masked",
        eos_banned=bool(config.get("logits_eos_inf")),
        bfloat16=bfloat16,
        n_candidates=float(model.get("n_candidates") or np.inf),
        may_leave_masks=info.get("schedule") == "free"
        or any(plugin.get("kind") == "policy" for plugin in plugins),
    )


def value_faults(arrays: Arrays, run: Conditions) -> list[str]:
    """Everything that the rules find wrong in a shard's arrays; empty if nothing."""
    rules = RULES if "token" in arrays else RULES_OF_ANSWERS
    return [fault for rule in rules for fault in rule(arrays, run)]


def _canvas_before(arrays: Arrays, mask_id: int) -> np.ndarray:
    """What each step saw [problem, step, position]. A branch begins with a canvas of its own."""
    token = arrays["token"]
    before = np.full_like(token, mask_id)
    if "start_token" in arrays:
        before[:, 0] = arrays["start_token"]
    before[:, 1:] = token[:, :-1]
    return before


def _canvas_only_fills(arrays: Arrays, run: Conditions) -> list[str]:
    if run.mask_id is None:
        return []
    token = arrays["token"]
    before = _canvas_before(arrays, run.mask_id)
    changed = (before != run.mask_id) & (token != before)
    faults = _where("token changes after it was committed", changed)
    if not (run.reference_numerics or run.may_leave_masks):
        faults += _where("token is still masked after the last step", token[:, -1] == run.mask_id)
    return faults


def _final_canvas_keeps_the_start(arrays: Arrays, run: Conditions) -> list[str]:
    if run.mask_id is None:
        return []
    start = arrays["start_token"]
    final = arrays["final_token"]
    changed = (start != run.mask_id) & (final != start)
    faults = _where("final_token is not the token that the branch began with", changed)
    if not (run.reference_numerics or run.may_leave_masks):
        faults += _where("final_token is still masked", final == run.mask_id)
    return faults


def _commits_match(arrays: Arrays, run: Conditions) -> list[str]:
    if run.mask_id is None or run.reference_numerics:
        return []  # the reference may commit the mask token itself
    token = arrays["token"]
    changed = token != _canvas_before(arrays, run.mask_id)
    committed = arrays["committed"] != 0
    return _where("committed disagrees with the change of token", committed != changed)


def _mask_counts(arrays: Arrays, run: Conditions) -> list[str]:
    if run.mask_id is None:
        return []
    masked = _canvas_before(arrays, run.mask_id) == run.mask_id
    wrong = (arrays["performed"] != 0) & (arrays["n_masked"] != masked.sum(-1))
    return _where("n_masked disagrees with token", wrong)


def _no_commit_without_a_pass(arrays: Arrays, run: Conditions) -> list[str]:
    is_performed = arrays["performed"] != 0
    committed = arrays["committed"].any(-1)
    return _where("committed in a step without a forward pass", committed & ~is_performed)


def _bounds(arrays: Arrays, run: Conditions) -> list[str]:
    faults = []
    for name, values in arrays.items():
        bounds = VARIABLES[name].bounds
        if bounds is not None:
            below = values < bounds.lowest - bounds.slack
            above = values > bounds.highest + bounds.slack
            faults += _where(f"{name} is below {bounds.lowest:g}", below)
            faults += _where(f"{name} is above {bounds.highest:g}", above)
    return faults


def _flags_have_a_meaning(arrays: Arrays, run: Conditions) -> list[str]:
    faults = []
    for name, values in arrays.items():
        row = VARIABLES[name]
        if row.flags:
            faults += _where(f"{name} has no meaning", values >= len(row.flags))
        elif row.dtype == "uint8":
            faults += _where(f"{name} is neither 0 nor 1", values > 1)
    return faults


def _recorded_where_promised(arrays: Arrays, run: Conditions) -> list[str]:
    """Statistics are NaN only in steps that ran no forward, or at committed positions of a `record
    masked` run."""
    expected = np.broadcast_to((arrays["performed"] != 0)[..., None], arrays["token"].shape)
    if run.masked_only:
        if run.mask_id is None:
            return []
        expected = expected & (_canvas_before(arrays, run.mask_id) == run.mask_id)
    faults = []
    for name, values in arrays.items():
        if VARIABLES[name].promised:
            absent = expected & np.isnan(values)
            faults += _where(f"{name} is missing where a forward ran", absent)
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
    return _where("prediction is not the first of topk_id", differs & ~tied & ~all_alike)


def _logit_of_prediction(arrays: Arrays, run: Conditions) -> list[str]:
    """logsumexp + logprob is the logit of the prediction, to the rounding of the stored logit."""
    if "topk_id" not in arrays:
        return []
    logit = arrays["topk_logit"][..., 0]
    own = np.asarray(arrays["logsumexp"] + arrays["logprob"])
    slack = 1e-3 + np.abs(logit) * (2.0**-8 if run.bfloat16 else 1e-5)
    same = (arrays["topk_id"][..., 0] == arrays["prediction"]) & np.isfinite(logit)
    wrong = same & (np.abs(own - logit) > slack)
    return _where("logsumexp + logprob is not the largest logit", wrong)


def _where(what: str, wrong: np.ndarray) -> list[str]:
    """The fault with the number of places and the first of them as [problem row, step, position],
    if there is any."""
    if not wrong.any():
        return []
    first = [int(place) for place in np.argwhere(wrong)[0]]
    return [f"{what} at {count_text(int(wrong.sum()), 'place')}, first at {first}"]


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
