"""Which tokens of a packed batch are written and read from pass to pass, and which must ask in the
last layer for that.

The generated tokens are the last of their rows; where a family's predictions stand one position
before their token, the read ones are shifted against the written ones. Shapes: N tokens asked for,
R read, W written.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...kernels.matrix_product import safe_rows
from ...kernels.transfer import on_device
from ..store.counts import count_text
from .attention import Packing, PartPacking
from .flops import network_flops

TILE = 32
"""Torch's attention on a CPU takes this many queries at a time, or a multiple."""

FEW = 3
"""So few queries in the last tile go through another matrix product, whose last bits differ: one
on Intel's processors, up to three on AMD's (measured with oneMKL 2024.2)."""


@dataclass
class Kept:
    """What `network` keeps from pass to pass over the same rows; the last pass put `renewed` tokens
    through the first layer's projections.

    `rope` is of all tokens, `rope_asked` [N, ...] of those that the last layer asks for, and
    `rope_written` [W, ...] of those that change; `states` [T, D] enter the first layer, which makes
    `first` of them.
    """

    network: Any = None
    stock_rope: Any = None
    rope: Any = None
    rope_asked: Any = None
    rope_written: Any = None
    states: Any = None
    first: Any = None
    renewed: int = 0


@dataclass(frozen=True)
class Reads:
    """Which packed tokens are `written` [W] and `read` [R]; the written alone may differ from pass
    to pass.

    `each` tokens are read of each row. `asked` [N] go through the whole last layer: the last
    `counts[i]` of the `lengths[i]` tokens of row i. `among` [R] finds the read ones among them.
    """

    written: Tensor
    read: Tensor
    each: int
    asked: Tensor
    among: Tensor
    packing: PartPacking
    lengths: list[int]
    counts: list[int]
    kept: Kept = field(default_factory=Kept)

    def flops(self, config: Any) -> int:
        """FLOPs of all layers over all tokens, padding not counted; `config` is transformers'."""
        return network_flops(config, self.lengths)


def reads_of(
    lengths: list[int], packing: Packing, *, rows: int, each: int, offset: int = 0
) -> Reads:
    """The last `each` tokens of the first `rows` rows are written, and each is read `offset` (0 or
    less) positions from it; `packing` is of rows with these lengths.

    Raises ValueError where a row has no token to read at.
    """
    tail = each - offset
    shortest = min(lengths[:rows])
    if shortest < tail:
        raise ValueError(
            f"a row of {count_text(shortest, 'token')}, {each} of them generated, whose "
            f"predictions are read {-offset} before them; expected a prompt of at least "
            f"{count_text(tail - each, 'token')}"
        )
    counts = _counts(lengths, rows=rows, tail=tail)
    device = packing.offsets.device
    ends = _ends(lengths)
    asked: list[int] = []
    for end, count in zip(ends, counts, strict=True):
        asked += range(end - count, end)
    among = _last(_ends(counts)[:rows], each, shift=offset)

    return Reads(
        written=on_device(_last(ends[:rows], each), device),
        read=on_device(_last(ends[:rows], each, shift=offset), device),
        each=each,
        asked=on_device(asked, device),
        among=on_device(among, device),
        packing=_part_packing(lengths, counts, packing),
        lengths=lengths[:rows],
        counts=counts[:rows],
    )


def _ends(lengths: Iterable[int]) -> list[int]:
    return list(itertools.accumulate(lengths))


def _last(ends: list[int], count: int, *, shift: int = 0) -> list[int]:
    """Of each row the last `count` tokens, all moved by `shift`."""
    tokens: list[int] = []
    for end in ends:
        tokens += range(end - count + shift, end + shift)
    return tokens


def _counts(lengths: list[int], *, rows: int, tail: int) -> list[int]:
    """How many tokens of each row ask in the last layer, so that its last `tail` can be read; none
    of the rows behind the first `rows`."""
    counts = [_asked(length, tail) for length in lengths[:rows]]
    if sum(counts) < safe_rows():
        return lengths
    return counts + [0] * (len(lengths) - rows)


def _asked(length: int, tail: int) -> int:
    """The last `tail` tokens of a row, or more where the last bits depend on their number."""
    if 0 < length % TILE <= FEW:
        return length
    in_last_tile = tail % TILE
    if 0 < in_last_tile <= FEW:
        tail += FEW + 1 - in_last_tile
    return min(tail, length)


def _part_packing(lengths: list[int], counts: list[int], packing: Packing) -> PartPacking:
    """Boundaries of the asking tokens beside those of all, in groups of like rows."""
    ends = _ends(counts)
    offsets = on_device([0, *ends], packing.offsets.device, torch.int32)

    keys = []
    queries = []
    start = 0
    start_asked = 0
    for (length, count), alike in itertools.groupby(zip(lengths, counts, strict=True)):
        rows = len(list(alike))
        if count:
            keys.append((start, rows, length))
            queries.append((start_asked, rows, count))
        start += rows * length
        start_asked += rows * count

    return PartPacking(
        packing._replace(groups=tuple(keys)), Packing(offsets, tuple(queries), max(counts))
    )
