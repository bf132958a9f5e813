"""What a finished problem's hidden trajectory becomes: CKA between its steps, pooled states, on
request all logits.

Taken a few steps at a time, so that a problem that leaves needs a bounded working set beside its
own trajectory, whatever its length; a row's values do not depend on how many steps are taken
together. Shapes: S steps, W steps with a forward pass, G
positions, D features, V vocabulary.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...kernels.geometry import LogitGeometry, cka_matrix, debiased_cka
from ...kernels.matrix_product import safe_rows
from ...kernels.transfer import host_array

WORKING_ELEMENTS = 1 << 24
"""Elements of a working tensor: 64 MiB in float32, 4096 rows of LLaDA-8B's hidden states."""


def steps_at_once(steps: int, *, positions: int, width: int) -> list[slice]:
    """Consecutive ranges of steps whose `positions` x `width` values are at most
    `WORKING_ELEMENTS`, sized evenly.

    No range is so short that a matrix product over its rows would sum in another order
    (`kernels.matrix_product`), and none is less than a step.
    """
    elements = steps * positions * width
    parts_for_memory = math.ceil(elements / WORKING_ELEMENTS)
    fewest_steps = math.ceil(safe_rows() / max(1, positions))
    most_parts = steps // fewest_steps
    parts = max(1, min(parts_for_memory, most_parts))

    ranges = []
    start = 0
    for part in range(1, parts + 1):
        end = steps * part // parts
        ranges.append(slice(start, end))
        start = end
    return ranges


class Shared(NamedTuple):
    """Which walked steps can be compared, and over what: those with one number in `block` [W], over
    their `positions` [W, G], which are the same for all of them."""

    block: Tensor
    positions: Tensor


def cka_of(
    geometry: LogitGeometry,
    hidden: Tensor,
    seen: Tensor,
    walked: Tensor,
    shared: Shared | None = None,
) -> dict[str, Tensor]:
    """Debiased CKA of the logits at `hidden` [S, G, D] between the steps `walked` [W]; NaN
    elsewhere.

    `cka` [S, S]; `cka_masked` and `cka_committed` [S] compare a step with the walked one before it,
    over positions that both have `seen` [S, G] masked, and that neither has. Without `shared` all
    steps are compared, over all positions.
    """
    steps, positions = seen.shape
    matrix = hidden.new_full((steps, steps), float("nan"), dtype=torch.float32)
    masked = matrix.new_full((steps,), float("nan"))
    committed = matrix.new_full((steps,), float("nan"))

    grams = _grams(geometry, hidden, walked)
    similarity = cka_matrix(grams, None if shared is None else shared.positions)
    if shared is not None:
        alike = shared.block[:, None] == shared.block[None, :]
        similarity = torch.where(alike, similarity, torch.nan)
    matrix[walked[:, None], walked[None, :]] = similarity

    before = walked[:-1]
    after = walked[1:]
    for part in steps_at_once(len(after), positions=positions, width=positions):
        steps_now = after[part]
        now = grams[1:][part]
        past = grams[:-1][part]
        was_masked = seen[before[part]]
        is_masked = seen[steps_now]
        counted = torch.ones_like(is_masked)
        if shared is not None:
            alike = shared.block[1:][part] == shared.block[:-1][part]
            counted = shared.positions[1:][part] & alike[:, None]
        masked[steps_now] = debiased_cka(now, past, was_masked & is_masked & counted)
        committed[steps_now] = debiased_cka(now, past, ~was_masked & ~is_masked & counted)
    return {"cka": matrix, "cka_masked": masked, "cka_committed": committed}


def _grams(geometry: LogitGeometry, hidden: Tensor, walked: Tensor) -> Tensor:
    _, positions, width = hidden.shape
    grams = hidden.new_empty((len(walked), positions, positions), dtype=torch.float32)
    for part in steps_at_once(len(walked), positions=positions, width=width):
        grams[part] = geometry.centred_grams(hidden[walked[part]])
    return grams


def masked_states(hidden: Tensor, seen: Tensor) -> Tensor:
    """Hidden states [S, D] (float32) averaged over the positions `seen` [S, G] masked; NaN at a
    step without any."""
    steps, positions, width = hidden.shape
    states = hidden.new_empty((steps, width), dtype=torch.float32)
    weight = seen.float() / seen.sum(-1, keepdim=True)  # 0 / 0: no masked position, NaN
    for part in steps_at_once(steps, positions=positions, width=width):
        states[part] = torch.einsum("sg,sgd->sd", weight[part], hidden[part].float())
    return states


def answer_states(hidden: Tensor, answer: tuple[int, int]) -> Tensor:
    """Hidden states [S, D] (float32) averaged over the positions `answer` (start, end); NaN without
    one (start -1)."""
    start, end = answer
    if start < 0:
        return torch.full_like(hidden[:, 0], float("nan"), dtype=torch.float32)
    return hidden[:, start:end].float().mean(1)


def all_logits(hidden: Tensor, weight: Tensor) -> np.ndarray:
    """Logits [S, G, V] on the host, as the store takes them, of hidden [S, G, D] and head `weight`
    [V, D].

    Waits for each part's copy before it makes the next, so that one part at most lies on the
    device.
    """
    steps, positions, _ = hidden.shape
    parts = steps_at_once(steps, positions=positions, width=len(weight))
    whole: np.ndarray | None = None
    for part in parts:
        values = host_array(hidden[part] @ weight.T)
        if whole is None:
            whole = np.empty((steps, positions, len(weight)), values.dtype)
        whole[part] = values
    assert whole is not None
    return whole
