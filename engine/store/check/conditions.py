"""What the rules about a shard's values stand on: the conditions of the run, what each step saw,
and which positions it read.

Shapes: N problems, S steps, G generated positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..counts import count_text


class Conditions(NamedTuple):
    """What the rules need to know of the run. `mask_id` is None where the model has none recorded;
    `may_leave_masks`: its policy need not fill the canvas. `block_length` is None where the run
    names none; `is_shifted`: what is said of a position is read one place before it.

    Ids from `n_candidates` on are padding rows of the head, which are never predicted.
    """

    mask_id: int | None
    reference_numerics: bool
    masked_only: bool
    eos_banned: bool
    bfloat16: bool
    n_candidates: float = np.inf
    may_leave_masks: bool = False
    block_length: int | None = None
    is_shifted: bool = False


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
        block_length=int(config.get("block_length") or 0) or None,
        is_shifted=bool(model.get("read_offset")),
    )


def canvas_before(arrays: Arrays, mask_id: int) -> np.ndarray:
    """What each step saw [problem, step, position]. A branch begins with a canvas of its own."""
    token = arrays["token"]
    before = np.full_like(token, mask_id)
    if "start_token" in arrays:
        before[:, 0] = arrays["start_token"]
    before[:, 1:] = token[:, :-1]
    return before


def open_positions(arrays: Arrays) -> np.ndarray:
    """[N, S, G] bool: which positions were open, of a run that is decoded block by block."""
    positions = np.arange(arrays["token"].shape[2])
    start = arrays["open_start"][..., None]
    end = arrays["open_end"][..., None]
    return np.asarray((start >= 0) & (positions >= start) & (positions < end))


def read_positions(arrays: Arrays, run: Conditions) -> np.ndarray:
    """[N, S, G] bool: the positions whose statistics a step must have, however little is recorded:
    all, of a run of blocks the open ones.

    Where predictions stand one place before their token, a block's first one is read with the
    block before, which only the first pass of a block brings.
    """
    performed = (arrays["performed"] != 0)[..., None]
    if "open_start" not in arrays:
        everywhere: np.ndarray = np.broadcast_to(performed, arrays["token"].shape)
        return everywhere
    read: np.ndarray = open_positions(arrays) & performed
    if run.is_shifted:
        start = arrays["open_start"]
        is_later_pass = start[:, 1:] == start[:, :-1]
        is_first = np.arange(read.shape[2]) == start[:, 1:, None]
        read[:, 1:] &= ~(is_first & is_later_pass[..., None])
    return np.asarray(read)


def where(what: str, wrong: np.ndarray) -> list[str]:
    """The fault with the number of places and the first of them as [problem row, step, position],
    if there is any."""
    if not wrong.any():
        return []
    first = [int(place) for place in np.argwhere(wrong)[0]]
    return [f"{what} at {count_text(int(wrong.sum()), 'place')}, first at {first}"]
