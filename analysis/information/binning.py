"""Plug-in mutual information of binned values, with the bias of small cells corrected in one of two
ways.

I = H(X) + H(Y) - H(X, Y) over cells. Miller-Madow (Miller 1955) adds (K_x + K_y - K_xy - 1) / (2N),
K the occupied cells; it fails where labels are as many as half the rows (.18 nats for a truth of
0). The shuffle correction subtracts the mean of the same estimate over permutations of y. Bins of
equal frequency are for one column: with d columns there would be n_bins^d cells.
`edges="equal_width"` is the seed's rule, over joint cells of all columns, as it was.
"""

from __future__ import annotations

import numpy as np

from .sample import (
    NATS,
    Estimate,
    codes_of,
    columns,
    generator,
    is_labels,
    label_entropy,
    same_length,
)

EDGES = ("equal_frequency", "equal_width")
CORRECTIONS = ("shuffle", "miller_madow", "none")
SHUFFLES = 100
"""Permutations behind the shuffle correction."""


def binning(
    x: np.ndarray,
    y: np.ndarray,
    *,
    seed: int = 0,
    n_bins: int = 10,
    edges: str = "equal_frequency",
    correction: str = "shuffle",
) -> Estimate:
    """I(x; y) in bits for x [n] (or [n, d] with equal_width), y labels or a continuous [n], which
    is binned likewise.

    `correction` "none" with `edges` "equal_width" and `n_bins` 10 is what the seed computed,
    without its cut at 0.
    """
    _check(n_bins, edges, correction)
    wide = columns(x, "x")
    if wide.shape[1] > 1 and edges != "equal_width":
        raise ValueError(
            f"binning takes one column of x, got {wide.shape[1]}; use ross or decoder, or "
            "equal_width"
        )
    cells_x = cells(wide, n_bins, edges)
    labels = is_labels(y)
    cells_x, cells_y = same_length(
        cells_x, codes_of(y) if labels else cells(columns(y, "y"), n_bins, edges)
    )
    plug_in = plug_in_nats(cells_x, cells_y)
    table = _table(cells_x, cells_y)
    value = plug_in + _correction(correction, cells_x, cells_y, seed)
    ceiling = min(label_entropy(cells_x), label_entropy(cells_y))
    dimension = wide.shape[1] + (0 if labels else 1)
    return Estimate(
        value / NATS, len(wide), n_bins, dimension, ceiling / NATS, _warnings(table, len(wide))
    )


def cells(values: np.ndarray, n_bins: int, edges: str) -> np.ndarray:
    """[n] cell number of each row of `values` [n, d]; equal values share a cell; empty cells are
    not numbered."""
    codes = [_bins(column, n_bins, edges) for column in values.T]
    return np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def plug_in_nats(x: np.ndarray, y: np.ndarray) -> float:
    """H(X) + H(Y) - H(X, Y) of two arrays of cell numbers [n], in nats."""
    joint = x * (int(y.max()) + 1) + y
    return label_entropy(x) + label_entropy(y) - label_entropy(joint)


def plug_in_many(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[B] the same in nats for one x [n] and B relabellings y [B, n], whose labels are few."""
    onto = (x[None, :] == np.arange(int(x.max()) + 1)[:, None]).astype(np.float64)
    joint = np.stack(
        [(y == label).astype(np.float64) @ onto.T for label in range(int(y.max()) + 1)], axis=1
    )
    joint /= len(x)
    return (
        _entropies(joint.sum(axis=1))
        + _entropies(joint.sum(axis=2))
        - _entropies(joint.reshape(len(y), -1))
    )


def _entropies(share: np.ndarray) -> np.ndarray:
    return -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=-1)


def _bins(column: np.ndarray, n_bins: int, edges: str) -> np.ndarray:
    if edges == "equal_width":
        low = column.min()
        high = column.max()
        inner = low + (high - low) * np.arange(1, n_bins) / n_bins
    else:
        inner = np.unique(np.quantile(column, np.arange(1, n_bins) / n_bins))
    return np.searchsorted(inner, column, side="right")


def _correction(name: str, x: np.ndarray, y: np.ndarray, seed: int) -> float:
    if name == "none":
        return 0.0
    if name == "miller_madow":
        occupied = (
            len(np.unique(x)),
            len(np.unique(y)),
            len(np.unique(x * (int(y.max()) + 1) + y)),
        )
        return (occupied[0] + occupied[1] - occupied[2] - 1) / (2 * len(x))
    rng = generator(seed, "shuffle")
    return -float(np.mean([plug_in_nats(x, rng.permutation(y)) for _ in range(SHUFFLES)]))


def _table(x: np.ndarray, y: np.ndarray) -> int:
    return (int(x.max()) + 1) * (int(y.max()) + 1)


def _warnings(cell_count: int, n: int) -> tuple[str, ...]:
    return (
        (f"{cell_count} cells for {n} rows: the plug-in value is mostly bias",)
        if 5 * cell_count > n
        else ()
    )


def _check(n_bins: int, edges: str, correction: str) -> None:
    if n_bins < 2:
        raise ValueError(f"n_bins is {n_bins}; expected at least 2")
    for name, value, known in (("edges", edges, EDGES), ("correction", correction, CORRECTIONS)):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
