"""Whether the values of one shard can be true: rules that hold for every trajectory, whatever the
model.

Each rule gets the shard's arrays and the run's facts and names what it finds wrong. Knows nothing
of files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..format.schema import VARIABLES


class Facts(NamedTuple):
    """What the rules need to know of the run. `mask_id` is None where the model has none recorded.

    Ids from `n_candidates` on are padding rows of the head, which are never predicted.
    """

    mask_id: int | None
    reference_numerics: bool
    masked_only: bool
    eos_banned: bool
    bfloat16: bool
    n_candidates: float = np.inf


Arrays = Mapping[str, np.ndarray]
Rule = Callable[[Arrays, Facts], list[str]]


def facts_of(info: Mapping[str, Any], *, bfloat16: bool) -> Facts:
    """The facts from run.json; what it does not say makes rules weaker, never wrong."""
    config = info.get("config") or {}
    model = info.get("model") or {}
    mask = model.get("mask_token_id")
    return Facts(
        mask_id=None if mask is None else int(mask),
        reference_numerics=config.get("numerics") == "reference",
        masked_only=config.get("record") == "masked",
        eos_banned=bool(config.get("logits_eos_inf")),
        bfloat16=bfloat16,
        n_candidates=float(model.get("n_candidates") or np.inf),
    )


def value_faults(arrays: Arrays, facts: Facts) -> list[str]:
    """Everything that the rules find wrong in a shard's arrays; empty if nothing."""
    return [fault for rule in RULES for fault in rule(arrays, facts)]


def _canvas_before(token: np.ndarray, mask_id: int) -> np.ndarray:
    before = np.full_like(token, mask_id)
    before[:, 1:] = token[:, :-1]
    return before


def _canvas_only_fills(arrays: Arrays, facts: Facts) -> list[str]:
    if facts.mask_id is None:
        return []
    token = arrays["token"]
    before = _canvas_before(token, facts.mask_id)
    faults = _where(
        "token changes after it was committed", (before != facts.mask_id) & (token != before)
    )
    if not facts.reference_numerics:
        faults += _where("token is still masked after the last step", token[:, -1] == facts.mask_id)
    return faults


def _commits_match(arrays: Arrays, facts: Facts) -> list[str]:
    if facts.mask_id is None or facts.reference_numerics:
        return []  # the reference may commit the mask token itself
    token = arrays["token"]
    changed = token != _canvas_before(token, facts.mask_id)
    return _where(
        "committed disagrees with the change of token", (arrays["committed"] != 0) != changed
    )


def _mask_counts(arrays: Arrays, facts: Facts) -> list[str]:
    if facts.mask_id is None:
        return []
    count = (_canvas_before(arrays["token"], facts.mask_id) == facts.mask_id).sum(-1)
    return _where(
        "n_masked disagrees with token", (arrays["performed"] != 0) & (arrays["n_masked"] != count)
    )


def _bounds(arrays: Arrays, facts: Facts) -> list[str]:
    faults = []
    for name, values in arrays.items():
        bounds = VARIABLES[name].bounds
        if bounds is not None:
            below = values < bounds.lowest - bounds.slack
            above = values > bounds.highest + bounds.slack
            faults += _where(f"{name} is below {bounds.lowest:g}", below)
            faults += _where(f"{name} is above {bounds.highest:g}", above)
    return faults


def _flags_have_a_meaning(arrays: Arrays, facts: Facts) -> list[str]:
    faults = []
    for name, values in arrays.items():
        row = VARIABLES[name]
        if row.flags:
            faults += _where(f"{name} has no meaning", values >= len(row.flags))
        elif row.dtype == "uint8":
            faults += _where(f"{name} is neither 0 nor 1", values > 1)
    return faults


def _recorded_where_promised(arrays: Arrays, facts: Facts) -> list[str]:
    """Statistics are NaN only in steps that ran no forward, or at committed positions of a `record
    masked` run."""
    expected = np.broadcast_to((arrays["performed"] != 0)[..., None], arrays["token"].shape)
    if facts.masked_only:
        if facts.mask_id is None:
            return []
        expected = expected & (_canvas_before(arrays["token"], facts.mask_id) == facts.mask_id)
    faults = []
    for name, values in arrays.items():
        if VARIABLES[name].promised:
            absent = expected & np.isnan(values)
            faults += _where(f"{name} is missing where a forward ran", absent)
    return faults


def _top_is_prediction(arrays: Arrays, facts: Facts) -> list[str]:
    """The first of the top k is the prediction, unless it may not be predicted or is tied with
    it."""
    if "topk_id" not in arrays or facts.eos_banned:
        return []
    top = arrays["topk_id"]
    logit = arrays["topk_logit"]
    prediction = arrays["prediction"]
    recorded = ~np.isnan(arrays["logprob"]) & (top[..., 0] >= 0) & (prediction >= 0)
    predictable = (top[..., 0] != facts.mask_id) & (top[..., 0] < facts.n_candidates)
    differs = recorded & predictable & (top[..., 0] != prediction)
    tied = ((top == prediction[..., None]) & (logit == logit[..., :1])).any(-1)
    return _where(
        "prediction is not the first of topk_id",
        differs & ~tied & (logit[..., 0] != logit[..., -1]),
    )


def _logit_of_prediction(arrays: Arrays, facts: Facts) -> list[str]:
    """logsumexp + logprob is the logit of the prediction, to the rounding of the stored logit."""
    if "topk_id" not in arrays:
        return []
    logit = arrays["topk_logit"][..., 0]
    own = np.asarray(arrays["logsumexp"] + arrays["logprob"])
    slack = 1e-3 + np.abs(logit) * (2.0**-8 if facts.bfloat16 else 1e-5)
    same = (arrays["topk_id"][..., 0] == arrays["prediction"]) & np.isfinite(logit)
    return _where(
        "logsumexp + logprob is not the largest logit", same & (np.abs(own - logit) > slack)
    )


def _where(what: str, wrong: np.ndarray) -> list[str]:
    """The fault with the number of places and the first of them as [problem row, step, position],
    if there is any."""
    if not wrong.any():
        return []
    first = [int(place) for place in np.argwhere(wrong)[0]]
    return [f"{what} at {int(wrong.sum())} places, first at {first}"]


RULES: tuple[Rule, ...] = (
    _canvas_only_fills,
    _commits_match,
    _mask_counts,
    _bounds,
    _flags_have_a_meaning,
    _recorded_where_promised,
    _top_is_prediction,
    _logit_of_prediction,
)
