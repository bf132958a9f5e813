"""Rules that hold for every run that is decoded block by block: how blocks follow each other, and
that nothing is said of a position that was not open.

Shapes: N problems, S steps, G generated positions.
"""

from __future__ import annotations

import numpy as np

from ..counts import count_text
from ..format.schema import CELL, VARIABLES, missing
from .conditions import Arrays, Conditions, Rule, canvas_before, open_positions, where

ALWAYS_THERE = "token"
"""The whole canvas, which has a value at every position."""


def _blocks_lie_inside(arrays: Arrays, run: Conditions) -> list[str]:
    """A step with a pass has a block of one position at least, within the canvas and no longer than
    the block length; a step without one has none."""
    start = arrays["open_start"]
    end = arrays["open_end"]
    is_performed = arrays["performed"] != 0
    none = (start == -1) & (end == -1)
    positions = arrays["token"].shape[2]
    inside = (start >= 0) & (start < end) & (end <= positions)
    faults = where("a block is open in a step without a forward pass", ~is_performed & ~none)
    faults += where(
        "open_start and open_end are no positions of the canvas", is_performed & ~inside
    )
    if run.block_length is None:
        return faults
    length = end - start
    too_long = is_performed & (length > run.block_length)
    whole = count_text(run.block_length, "open position")
    faults += where(f"more than {whole}", too_long)
    in_the_middle = is_performed & (start > 0) & (end < positions)
    too_short = in_the_middle & (length < run.block_length)
    return faults + where(f"fewer than {whole}", too_short)


def _blocks_follow_each_other(arrays: Arrays, run: Conditions) -> list[str]:
    """From one step to the next a block stays, or the one behind it is opened; the first block is
    that of the first position, but in a branch."""
    performed = arrays["performed"] != 0
    start = arrays["open_start"]
    end = arrays["open_end"]
    both = performed[:, 1:] & performed[:, :-1]
    stays = (start[:, 1:] == start[:, :-1]) & (end[:, 1:] == end[:, :-1])
    moves = start[:, 1:] == end[:, :-1]
    jumps = np.zeros(performed.shape, bool)
    jumps[:, 1:] = both & ~(stays | moves)
    faults = where("the open block is neither that of the step before nor the next", jumps)

    first = np.zeros(performed.shape, int)
    if "branch_step" in arrays:
        first = first + arrays["branch_step"][:, None]
    steps = np.arange(performed.shape[1])
    begins_late = performed & (steps == first) & (first == 0) & (start > 0)
    faults += where("the first block does not begin at position 0", begins_late)
    back = np.zeros(performed.shape, bool)
    back[:, 1:] = performed[:, 1:] & ~performed[:, :-1] & (steps > first)[:, 1:]
    return faults + where("a forward pass ran behind the problem's end", back)


def _nothing_outside(arrays: Arrays, run: Conditions) -> list[str]:
    """Positions that were not open have no value, and are neither committed nor revised."""
    outside = ~open_positions(arrays)
    faults = []
    for name, values in arrays.items():
        row = VARIABLES[name]
        if row.dims[:2] != CELL or row.made != "step" or name == ALWAYS_THERE:
            continue
        nothing = missing(values.dtype)
        has_value = ~np.isnan(values) if np.isnan(nothing) else values != nothing
        beyond = tuple(range(3, has_value.ndim))
        faults += where(
            f"{name} has a value where no block is open", has_value.any(axis=beyond) & outside
        )
    return faults


def _nothing_between_blocks(arrays: Arrays, run: Conditions) -> list[str]:
    """Steps of two blocks have no position in common, so nothing compares them."""
    start = arrays["open_start"]
    is_first = start >= 0
    is_first[:, 1:] &= start[:, 1:] != start[:, :-1]
    faults = []
    for name in ("kl", "cka_masked", "cka_committed"):
        compared = ~np.isnan(arrays[name])
        beyond = tuple(range(2, compared.ndim))
        wrong = compared.any(axis=beyond) & is_first
        faults += where(f"{name} has a value at the first step of a block", wrong)
    differs = start[:, :, None] != start[:, None, :]
    compared = ~np.isnan(arrays["cka"])
    return faults + where("cka has a value between steps of two blocks", compared & differs)


def _only_open_tokens_change(arrays: Arrays, run: Conditions) -> list[str]:
    if run.mask_id is None:
        return []
    changed = arrays["token"] != canvas_before(arrays, run.mask_id)
    return where("token changes where no block is open", changed & ~open_positions(arrays))


RULES_OF_BLOCKS: tuple[Rule, ...] = (
    _blocks_lie_inside,
    _blocks_follow_each_other,
    _nothing_outside,
    _nothing_between_blocks,
    _only_open_tokens_change,
)
