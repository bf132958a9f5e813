"""The k largest logits of each row, largest first, equal ones by id: a stable sort, or on a CPU a
short cut to it.

torch.topk leaves the order of equal logits open and takes 5 microseconds a row at V = 560. The
short cut: the k-th largest of L lane maxima is a bound that at least k logits reach and few more,
so those few are sorted. A row whose logits are all equal is sorted whole. Shapes: N rows, V
vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LANES = 64
"""At least; and four times k, so that two of the k largest seldom meet in a lane."""


def largest(x: Tensor, k: int) -> Tensor:
    """Ids [N, k] (int64) of the k <= V largest of each row of x [N, V]; a NaN counts as the
    largest, as in sorting."""
    lanes = _lanes(k)
    if _has_short_cut(x, lanes):
        ids = _by_bound(x, k, lanes)
        return torch.from_numpy(ids)
    ordered = x.sort(dim=-1, descending=True, stable=True)
    return ordered.indices[:, :k]


def _lanes(k: int) -> int:
    """A multiple of LANES, at least four times k."""
    multiples = -(-4 * k // LANES)
    return max(1, multiples) * LANES


def _has_short_cut(x: Tensor, lanes: int) -> bool:
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    if len(x) == 0 or x.shape[1] < 2 * lanes:
        return False
    return fits(x)


def fits(x: Tensor) -> bool:
    """Whether a row, the 33 bits of a signed rank and a column go into 63 bits, and no row holds a
    NaN."""
    n, vocabulary = x.shape
    bits = n.bit_length() + 33 + vocabulary.bit_length()
    if bits > 63:
        return False
    peak = x.amax()
    return not bool(peak.isnan())


def _by_bound(x: Tensor, k: int, lanes: int) -> NDArray[np.int64]:
    n, vocabulary = x.shape
    depth = vocabulary // lanes
    whole = x[:, : depth * lanes]
    maxima = whole.view(n, depth, lanes).amax(1)
    ascending = np.sort(maxima.numpy(), axis=-1)
    bound = ascending[:, lanes - k, None]

    rows = x.numpy()
    reached = np.flatnonzero(rows >= bound)
    starts_of_rows = np.arange(n + 1) * vocabulary
    ends = np.searchsorted(reached, starts_of_rows)
    counts = np.diff(ends)
    row = np.repeat(np.arange(n), counts)
    column = reached - row * vocabulary

    # A float's bits order like integers once those of negative ones are turned round; + 0.0 makes
    # -0.0 equal to 0.0.
    values = rows.reshape(-1)[reached] + np.float32(0.0)
    bits = values.view(np.int32)
    turned = (bits >> 31) & 0x7FFFFFFF
    rank = (bits ^ turned).astype(np.int64)

    width = vocabulary.bit_length()
    row_and_rank = (row << 32) - rank
    keys = (row_and_rank << width) | column
    # Row after row, so almost sorted already.
    keys = np.sort(keys, kind="stable")

    first_k = ends[:-1, None] + np.arange(k)
    column_bits = (1 << width) - 1
    ids: NDArray[np.int64] = keys[first_k] & column_bits
    return ids
