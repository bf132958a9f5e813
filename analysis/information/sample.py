"""What every estimator does with its arrays first: check, centre, scale, jitter; labels to codes,
singletons out.

The order matters. Values are centred in float64 before the jitter is added: at an offset of 1 a
jitter of 1e-10 is lost in float32, and at an offset of 1e6 nearly so in float64. Jitter comes
before ranks, which would otherwise recreate atoms.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...engine.store.counts import count_text

NATS = float(np.log(2.0))
"""Nats in a bit."""

JITTER = 1e-10
"""Standard deviation of the noise that breaks ties, in units of each column's standard deviation.
"""

TIED = 0.01
"""Share of repeated rows from which the result is averaged over several draws of the jitter."""

DRAWS = 5
"""How many draws that is."""

MOST_SINGLETONS = 0.05
"""Share of dropped rows above which the labels cannot be treated as classes."""

SCALES = ("std", "rank", "none")


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A generator of its own for each purpose. Never `default_rng(seed)`, nor `default_rng([seed,
    0])`, which is the same stream: data that somebody drew with that seed would be correlated with
    our jitter.
    """
    return np.random.default_rng([zlib.crc32(purpose.encode()), seed, *numbers])


class Estimate(NamedTuple):
    """One value of mutual information. Signed: an estimate may be negative, and is never cut off at
    0.

    `n` rows used; `k` neighbours, bins for `binning`, 0 where neither applies; `dimension` columns
    of x (and of y where that is continuous); `ceiling_bits` the largest value that the estimator
    can return for this sample.
    """

    bits: float
    n: int
    k: int
    dimension: int
    ceiling_bits: float
    warnings: tuple[str, ...] = ()

    @property
    def nats(self) -> float:
        """The value in nats."""
        return self.bits * NATS


class Labelled(NamedTuple):
    """`x` [n, d] float64, `codes` [n] 0, 1, ... without gaps, `kept` [rows given] bool, and the
    warnings."""

    x: np.ndarray
    codes: np.ndarray
    kept: np.ndarray
    warnings: tuple[str, ...]

    def of_kept(self, groups: np.ndarray | None) -> np.ndarray | None:
        """`groups` [rows given] of the rows that were kept, or None as it came."""
        if groups is None:
            return None
        of_kept: np.ndarray = np.asarray(groups)[self.kept]
        return of_kept


def columns(values: np.ndarray, name: str) -> np.ndarray:
    """`values` [n] or [n, d] as [n, d] float64. ValueError for another shape, no rows or columns,
    NaN or infinity."""
    given = np.asarray(values)
    if given.ndim not in (1, 2) or not given.size:
        raise ValueError(
            f"{name} has shape {given.shape}; expected [n] or [n, d] with at least one row and "
            "column"
        )
    if given.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {given.dtype}; expected numbers")
    wide = given.astype(np.float64).reshape(len(given), -1)
    is_finite = np.isfinite(wide).all(axis=1)
    if not is_finite.all():
        bad = int((~is_finite).sum())
        raise ValueError(
            f"{name} has NaN or infinity in {bad} of {count_text(len(wide), 'row')}; leave what "
            "has them out of x and y"
        )
    return wide


def paired(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as [n, d] float64. ValueError as `columns`, or if they differ in length."""
    return same_length(columns(x, "x"), columns(y, "y"))


def labelled(x: np.ndarray, y: np.ndarray) -> Labelled:
    """x as columns and y as codes, rows whose label occurs once left out and reported.

    Raises ValueError as `columns`; also if y is not [n], or is of floats that are not whole
    numbers.
    """
    wide, codes = same_length(columns(x, "x"), codes_of(y))
    members = np.bincount(codes)
    kept = members[codes] > 1
    dropped = int((~kept).sum())
    warnings = []
    if dropped:
        rows = count_text(len(codes), "row")
        warnings.append(f"{dropped} of {rows} dropped, of a label that occurs once")
    if dropped > MOST_SINGLETONS * len(codes):
        warnings.append("not estimable as classes: more than 5 % of the labels occur once")
    _, without_gaps = np.unique(codes[kept], return_inverse=True)
    return Labelled(wide[kept], without_gaps, kept, tuple(warnings))


def codes_of(y: np.ndarray) -> np.ndarray:
    """[n] labels as 0, 1, ... in sorted order. ValueError if y is not [n] or holds fractions, NaN
    or infinity."""
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"y has shape {labels.shape}; expected labels of shape [n]")
    if labels.dtype.kind == "f" and not _are_whole(labels):
        raise ValueError(
            "y holds fractions or NaN; this estimator needs labels (ksg1, ksg2, gao, gcmi do not)"
        )
    _, codes = np.unique(labels, return_inverse=True)
    return codes.reshape(-1)


def _are_whole(values: np.ndarray) -> bool:
    is_whole = np.isfinite(values) & (values == np.round(values))
    return bool(is_whole.all())


def is_labels(y: np.ndarray) -> bool:
    """Whether y is taken as labels where an estimator knows both: integers, booleans and text are,
    floats are not."""
    return np.asarray(y).dtype.kind not in "f"


def prepared(
    values: np.ndarray,
    rng: np.random.Generator,
    *,
    scale: str = "std",
    jitter: float = JITTER,
) -> np.ndarray:
    """`values` [n, d] centred, each column divided by its standard deviation, jittered, all in
    float64.

    `scale`: "std"; "rank" (normal scores, after the jitter); "none" (centred only). A constant
    column becomes jitter.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    unit = np.where(constant_columns(values), 1.0, spread)
    if scale == "none":
        scaled = centred
        noise = jitter * unit
    else:
        scaled = centred / unit
        noise = np.full_like(unit, jitter)
    scaled = scaled + rng.normal(size=scaled.shape) * noise
    return normal_scores(scaled) if scale == "rank" else scaled


def constant_columns(values: np.ndarray) -> np.ndarray:
    """[d] whether a column of `values` [n, d] has one value throughout."""
    is_constant: np.ndarray = values.min(axis=0) == values.max(axis=0)
    return is_constant


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Each column's ranks through the normal quantile: Phi^-1(rank / (n + 1)); equal values share
    their mean rank."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    rank = rankdata(values, axis=0)
    scores: np.ndarray = ndtri(rank / (len(values) + 1))
    return scores


def tied_share(values: np.ndarray) -> float:
    """Largest share, over columns of `values` [n, d], of entries that repeat another one."""
    shares = []
    for column in values.T:
        distinct = len(np.unique(column))
        shares.append(1.0 - distinct / len(column))
    return max(shares)


def over_draws(
    nats_of_draw: Callable[[np.random.Generator], float],
    tied: float,
    seed: int,
    draws: int | None,
) -> tuple[float, tuple[str, ...]]:
    """Mean of `nats_of_draw` over draws of the jitter, and the warning if there were ties.

    `tied`: share of tied values. `draws` None: 1, or 5 where values are tied.
    """
    is_tied = tied > TIED
    number = draws
    if number is None:
        number = DRAWS if is_tied else 1
    values = [nats_of_draw(generator(seed, "jitter", draw)) for draw in range(number)]
    warnings: tuple[str, ...] = ()
    if is_tied:
        share = f"{100 * tied:.0f} % of the values are tied"
        warnings = (f"{share}: mean over {number} draws of the jitter",)
    return float(np.mean(values)), warnings


def check_k(k: int, n: int) -> None:
    """ValueError unless 1 <= k < n."""
    if not 1 <= k < n:
        raise ValueError(f"k is {k}; with n = {n} rows it must be between 1 and {n - 1}")


def label_entropy(codes: np.ndarray) -> float:
    """Plug-in entropy of labels in nats."""
    share = np.bincount(codes) / len(codes)
    share = share[share > 0]
    entropy = -(share * np.log(share)).sum()
    return float(entropy) + 0.0  # no -0.0


def same_length(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as they are; ValueError if they differ in length."""
    if len(x) != len(y):
        raise ValueError(f"x has {count_text(len(x), 'row')} and y {len(y)}; they must be pairs")
    return x, y
