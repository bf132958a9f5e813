"""From what was seen of open blocks to the whole row: which step and place of a trajectory that is
kept block by block belongs to which generated position.

Shapes: S steps, W steps with a pass, K places of a block, G generated positions, M pairs of a step
and a place that are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...kernels.geometry import LogitGeometry
from ...kernels.transfer import on_device
from ..store.format.schema import missing
from .trajectory import cka_of


class Opened:
    """Which generated positions were open at each step of one row: `first` [W], the first of each
    walked step, negative where the block begins with the prompt's tail."""

    def __init__(
        self, walked: Sequence[int], opened: Mapping[int, int], *, length: int, gen_length: int
    ) -> None:
        self.walked = list(walked)
        self.first = [opened[step] for step in self.walked]
        self.length = length
        self.gen_length = gen_length

    def bounds(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """The first open position at each step [S], and the one behind the last; -1 without a
        pass."""
        start = np.full(steps, -1, np.int32)
        end = np.full(steps, -1, np.int32)
        start[self.walked] = np.maximum(self.first, 0)
        end[self.walked] = np.minimum(np.add(self.first, self.length), self.gen_length)
        return start, end

    def unfolded(self, values: Tensor) -> Tensor:
        """Values [S, K, ...] of open blocks as [S, G, ...], missing where nothing was open."""
        steps, places, positions = self._pairs(values.device)
        shape = (len(values), self.gen_length, *values.shape[2:])
        full = values.new_full(shape, missing(values.dtype))
        full[steps, positions] = values[steps, places]
        return full

    def canvases(self, token: np.ndarray, start: np.ndarray) -> np.ndarray:
        """The whole canvas [S, G] after each step, of the open blocks' tokens [S, K] and the canvas
        [G] that the first step saw; steps without a pass have that of the step before."""
        canvas = start.astype(np.int32)
        whole = np.empty((len(token), self.gen_length), np.int32)
        first = dict(zip(self.walked, self.first, strict=True))
        for step in range(len(token)):
            if step in first:
                begin = max(first[step], 0)
                end = min(first[step] + self.length, self.gen_length)
                canvas[begin:end] = token[step, begin - first[step] : end - first[step]]
            whole[step] = canvas
        return whole

    def positions(self, steps: int, device: torch.device) -> Tensor:
        """The generated position [S, K] of each place; -1 without a pass."""
        first = np.full(steps, -self.length, np.int64)
        first[self.walked] = self.first
        whole = first[:, None] + np.arange(self.length)
        whole[(whole < 0) | (whole >= self.gen_length)] = -1
        return torch.from_numpy(whole).to(device, non_blocking=True)

    def _pairs(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Steps, places and positions [M] of all that is kept."""
        steps: list[int] = []
        places: list[int] = []
        positions: list[int] = []
        for step, first in zip(self.walked, self.first, strict=True):
            kept = range(max(-first, 0), min(self.length, self.gen_length - first))
            steps += [step] * len(kept)
            places += kept
            positions += [first + place for place in kept]
        return on_device(steps, device), on_device(places, device), on_device(positions, device)


def cka_of_blocks(
    geometry: LogitGeometry, hidden: Tensor, seen: Tensor, opened: Opened
) -> dict[str, Tensor]:
    """As `trajectory.cka_of` [S, S], [S], [S], between steps of one block, over its positions that
    all of them read; NaN between steps of different blocks, which have no position in common."""
    steps = len(hidden)
    matrix = hidden.new_full((steps, steps), float("nan"), dtype=torch.float32)
    of_steps = {
        name: matrix.new_full((steps,), float("nan")) for name in ("cka_masked", "cka_committed")
    }
    kept = opened.positions(steps, hidden.device) >= 0
    read = kept & ~hidden[..., 0].isnan()
    for first in sorted(set(opened.first)):
        walked = [s for s, f in zip(opened.walked, opened.first, strict=True) if f == first]
        at = on_device(walked, hidden.device)
        # Of all its steps, so the number of them is known without asking the device for it.
        common = read[at].all(0)
        block = _block_cka(geometry, hidden[at], seen[at], common)
        matrix[at[:, None], at[None, :]] = block["cka"]
        for name, values in of_steps.items():
            values[at] = block[name]
    return {"cka": matrix, **of_steps}


def _block_cka(
    geometry: LogitGeometry, hidden: Tensor, seen: Tensor, common: Tensor
) -> dict[str, Tensor]:
    places = common.nonzero().squeeze(-1)
    every = torch.arange(len(hidden), device=hidden.device)
    return cka_of(geometry, hidden[:, places], seen[:, places], every)
