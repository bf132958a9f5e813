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
from .trajectory import Shared, cka_of


class Opened:
    """Which generated positions were open at each step of one row: `first` [W], the first of each
    walked step, negative where the block begins with the prompt's tail.

    `read_offset` is the family's: with -1 a block's first position is read at the block's first
    step alone.
    """

    def __init__(
        self,
        walked: Sequence[int],
        opened: Mapping[int, int],
        *,
        length: int,
        gen_length: int,
        read_offset: int = 0,
    ) -> None:
        self.walked = list(walked)
        self.first = [opened[step] for step in self.walked]
        self.length = length
        self.gen_length = gen_length
        self.read_offset = read_offset
        # [W, K]; they follow from numbers of the host, so that nobody has to wait for the device.
        self._position = np.array(self.first, np.int64)[:, None] + np.arange(length)
        self._kept = (self._position >= 0) & (self._position < gen_length)
        self._cells: tuple[Tensor, Tensor, Tensor] | None = None

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
        whole = np.full((steps, self.length), -1)
        whole[self.walked] = np.where(self._kept, self._position, -1)
        return on_device(whole.ravel().tolist(), device).view(whole.shape)

    def shared(self, device: torch.device) -> Shared:
        """The steps of one block can be compared, over its positions that all of them read."""
        read = self._kept.copy()
        if self.read_offset < 0:
            _, number, counts = np.unique(self.first, return_inverse=True, return_counts=True)
            read[:, 0] &= counts[number] == 1
        block = on_device(self.first, device)
        counted = on_device(read.astype(np.int64).ravel().tolist(), device)
        return Shared(block, counted.view(read.shape).bool())

    def _pairs(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Steps, places and positions [M] of all that is kept."""
        if self._cells is None:
            numbers, places = self._kept.nonzero()
            steps = np.array(self.walked, np.int64)[numbers]
            positions = self._position[self._kept]
            self._cells = (
                on_device(steps.tolist(), device),
                on_device(places.tolist(), device),
                on_device(positions.tolist(), device),
            )
        return self._cells


def zero_where_unread(hidden: Tensor) -> Tensor:
    """Hidden states [S, K, D] for sums in which what nobody read has weight 0: NaN times 0 is
    NaN."""
    return torch.where(hidden.isnan(), 0, hidden)


def cka_of_blocks(
    geometry: LogitGeometry, hidden: Tensor, seen: Tensor, opened: Opened
) -> dict[str, Tensor]:
    """As `trajectory.cka_of` [S, S], [S], [S], between steps of one block, over its positions that
    all of them read; NaN between steps of different blocks, which have no position in common."""
    walked = on_device(opened.walked, hidden.device)
    return cka_of(geometry, hidden, seen, walked, opened.shared(hidden.device))
