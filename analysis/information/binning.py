"""Plug-in mutual information of binned values, with the bias of small cells corrected in one of two
ways.

I = H(X) + H(Y) - H(X, Y) over cells. Miller-Madow (Miller 1955) adds (K_x + K_y - K_xy - 1) / (2N),
K the occupied cells; it fails where labels are as many as half the rows (.18 nats for a truth of
0). The shuffle correction subtracts the mean of the same estimate over permutations of y.

Bins of equal frequency are for one column: with d columns there would be n_bins^d cells.
`edges="equal_width"` is the original suite's rule, over joint cells of all columns, as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...engine.store.counts import count_text
from .curve import Curve, Point
from .estimator import CONTINUOUS, LABELS, Estimator
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
from .step_sample import StepSample

EDGES = ("equal_frequency", "equal_width")
CORRECTIONS = ("shuffle", "miller_madow", "none")

SHUFFLES = 100
"""Permutations behind the shuffle correction."""

ROWS_PER_CELL = 5
"""Fewer rows for each cell than this make the plug-in value mostly bias."""


@dataclass(frozen=True)
class BinningOptions:
    """`n_bins` for each column, from 2; `edges` one of `EDGES`, `correction` one of `CORRECTIONS`.

    Raises ValueError for another value.
    """

    n_bins: int = 10
    edges: str = "equal_frequency"
    correction: str = "shuffle"

    def __post_init__(self) -> None:
        if self.n_bins < 2:
            raise ValueError(f"n_bins is {self.n_bins}; expected at least 2")
        if self.edges not in EDGES:
            raise ValueError(f"unknown edges {self.edges!r}; known: {', '.join(EDGES)}")
        if self.correction not in CORRECTIONS:
            known = ", ".join(CORRECTIONS)
            raise ValueError(f"unknown correction {self.correction!r}; known: {known}")


def binning(x: np.ndarray, y: np.ndarray, options: BinningOptions, *, seed: int = 0) -> Estimate:
    """I(x; y) in bits for x [n] (or [n, d] with equal_width), y labels or a continuous [n], which
    is binned likewise.

    `correction` "none" with `edges` "equal_width" and `n_bins` 10 is what the original suite
    computed, without its cut at 0.
    """
    wide = columns(x, "x")
    dimension = wide.shape[1]
    if dimension > 1 and options.edges != "equal_width":
        raise ValueError(
            f"binning takes one column of x, got {dimension}; use ross or decoder, or equal_width"
        )
    cells_x = cells(wide, options.n_bins, options.edges)
    if is_labels(y):
        cells_y = codes_of(y)
    else:
        cells_y = cells(columns(y, "y"), options.n_bins, options.edges)
        dimension += 1
    cells_x, cells_y = same_length(cells_x, cells_y)
    correction = _correction(options.correction, cells_x, cells_y, seed)
    nats = plug_in_nats(cells_x, cells_y) + correction
    ceiling = min(label_entropy(cells_x), label_entropy(cells_y))
    warnings = _warnings(cells_x, cells_y)
    return Estimate(nats / NATS, len(wide), options.n_bins, dimension, ceiling / NATS, warnings)


def cells(values: np.ndarray, n_bins: int, edges: str) -> np.ndarray:
    """[n] cell number of each row of `values` [n, d]; equal values share a cell; empty cells are
    not numbered."""
    codes = [_bins(column, n_bins, edges) for column in values.T]
    rows = np.stack(codes, axis=1)
    _, numbers = np.unique(rows, axis=0, return_inverse=True)
    return numbers.reshape(-1)


def plug_in_nats(x: np.ndarray, y: np.ndarray) -> float:
    """H(X) + H(Y) - H(X, Y) of two arrays of cell numbers [n], in nats."""
    return label_entropy(x) + label_entropy(y) - label_entropy(_joint(x, y))


def plug_in_many(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[B] the same in nats for one x [n] and B relabellings y [B, n], whose labels are few."""
    numbers = np.arange(int(x.max()) + 1)
    is_cell = (x[None, :] == numbers[:, None]).astype(np.float64)
    counts = []
    for label in range(int(y.max()) + 1):
        is_label = (y == label).astype(np.float64)
        counts.append(is_label @ is_cell.T)
    share = np.stack(counts, axis=1)  # [B, label, cell]
    share /= len(x)
    of_cells = _entropies(share.sum(axis=1))
    of_labels = _entropies(share.sum(axis=2))
    of_pairs = _entropies(share.reshape(len(y), -1))
    information: np.ndarray = of_cells + of_labels - of_pairs
    return information


def _joint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[n] numbers of the joint cells."""
    joint: np.ndarray = x * (int(y.max()) + 1) + y
    return joint


def _entropies(share: np.ndarray) -> np.ndarray:
    logarithm = np.log(np.where(share > 0, share, 1.0))
    entropy: np.ndarray = -(share * logarithm).sum(axis=-1)
    return entropy


def _bins(column: np.ndarray, n_bins: int, edges: str) -> np.ndarray:
    number = np.arange(1, n_bins)
    if edges == "equal_width":
        low = column.min()
        high = column.max()
        inner = low + (high - low) * number / n_bins
    else:
        inner = np.unique(np.quantile(column, number / n_bins))
    return np.searchsorted(inner, column, side="right")


def _correction(name: str, x: np.ndarray, y: np.ndarray, seed: int) -> float:
    """What is added to the plug-in value, in nats."""
    if name == "none":
        return 0.0
    if name == "miller_madow":
        k_x = len(np.unique(x))
        k_y = len(np.unique(y))
        k_xy = len(np.unique(_joint(x, y)))
        return (k_x + k_y - k_xy - 1) / (2 * len(x))
    rng = generator(seed, "shuffle")
    shuffled = [plug_in_nats(x, rng.permutation(y)) for _ in range(SHUFFLES)]
    return -float(np.mean(shuffled))


def _warnings(x: np.ndarray, y: np.ndarray) -> tuple[str, ...]:
    number = (int(x.max()) + 1) * (int(y.max()) + 1)
    if ROWS_PER_CELL * number <= len(x):
        return ()
    cells = count_text(number, "cell")
    rows = count_text(len(x), "row")
    return (f"{cells} for {rows}: the plug-in value is mostly bias",)


def binning_point(sample: StepSample) -> Point:
    """Bins of equal frequency of one feature x [n, 1], less the mean over the permutations."""
    cell = cells(sample.x, sample.n_bins, "equal_frequency")
    null = plug_in_many(cell, sample.permuted)
    stderr = sample.stderr(lambda rows: plug_in_nats(cell[rows], sample.y[rows]))
    return Point(float(null[0] - null[1:].mean()), stderr, null, False)


BINNING = Estimator(
    binning,
    method="plug-in over equal-frequency bins, less its mean over shuffles (`correction=` "
    '`miller_madow`, `none`; `edges="equal_width"` the original suite\'s)',
    source="Miller 1955",
    caution="more than one column",
    targets=(LABELS, CONTINUOUS),
    options=BinningOptions,
    curves=(
        Curve(
            "binning",
            "I(correct; log-probability of the answer slot), equal-frequency bins, "
            "shuffle-corrected",
            features="slot",
            point=binning_point,
            order=2,
        ),
    ),
)
