"""Gaussian-copula mutual information: ranks made normal, then the formula for Gaussians. Cheap,
never alone.

Ince et al. 2017 (Human Brain Mapping 38:1541). For labels I = H(X) - <H(X | y)>. It sees only what
a Gaussian dependence between monotone transforms would show: .03 nats of .41 for a swiss roll.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...engine.store.counts import count_text
from .curve import Curve, Point
from .estimator import CONTINUOUS, LABELS, Estimator
from .gaussian_copula import independent, joint_nats, labelled_many, labelled_nats
from .knn import Knn, over_jitter
from .sample import (
    JITTER,
    NATS,
    Estimate,
    constant_columns,
    is_labels,
    label_entropy,
    labelled,
    paired,
)
from .step_sample import StepSample


@dataclass(frozen=True)
class GcmiOptions:
    """`jitter` in standard deviations; `draws` of it (None: 5 where values are tied, else 1)."""

    jitter: float = JITTER
    draws: int | None = None


def gcmi(x: np.ndarray, y: np.ndarray, options: GcmiOptions, *, seed: int = 0) -> Estimate:
    """I(x; y) in bits for x [n] or [n, d] and y labels or continuous; exact for Gaussian copulas
    only.

    Raises ValueError where a covariance cannot be had: n, or the rows of a label, not above the
    number of columns.
    """
    if is_labels(y) and np.ndim(y) == 1:
        return _of_labels(x, y, options, seed)
    return _of_continuous(x, y, options, seed)


def _of_labels(x: np.ndarray, y: np.ndarray, options: GcmiOptions, seed: int) -> Estimate:
    sample = labelled(x, y)
    n, dimension = sample.x.shape
    ceiling = label_entropy(sample.codes) / NATS
    if constant_columns(sample.x).all():
        warnings = (*sample.warnings, "constant: 0 bits")
        return Estimate(0.0, n, 0, dimension, ceiling, warnings)
    _check_covariance(int(np.bincount(sample.codes).min()), dimension)

    def nats_of(scores: np.ndarray) -> float:
        return labelled_nats(independent(scores), sample.codes)

    value, warnings = over_jitter(nats_of, (sample.x,), _ranks(options), seed)
    return Estimate(value / NATS, n, 0, dimension, ceiling, (*sample.warnings, *warnings))


def _of_continuous(x: np.ndarray, y: np.ndarray, options: GcmiOptions, seed: int) -> Estimate:
    wide_x, wide_y = paired(x, y)
    n = len(wide_x)
    dimension = wide_x.shape[1] + wide_y.shape[1]
    ceiling = float("inf")
    if constant_columns(wide_x).all() or constant_columns(wide_y).all():
        return Estimate(0.0, n, 0, dimension, ceiling, ("constant: 0 bits",))
    _check_covariance(n, dimension)

    def nats_of(first: np.ndarray, second: np.ndarray) -> float:
        return joint_nats(independent(first), independent(second))

    value, warnings = over_jitter(nats_of, (wide_x, wide_y), _ranks(options), seed)
    return Estimate(value / NATS, n, 0, dimension, ceiling, warnings)


def _ranks(options: GcmiOptions) -> Knn:
    return Knn(scale="rank", jitter=options.jitter, draws=options.draws)


def _check_covariance(rows: int, dimension: int) -> None:
    if rows <= dimension + 1:
        raise ValueError(
            f"{count_text(rows, 'row')} (of the rarest label) cannot give a covariance of "
            f"{count_text(dimension, 'column')}; use ross"
        )


def gcmi_point(sample: StepSample) -> Point:
    """Gaussian copula of few features, tested by itself."""
    scores = independent(sample.scores)
    y = sample.y
    null = labelled_many(scores, sample.permuted)

    def nats_of(rows: np.ndarray) -> float:
        fewest = np.bincount(y[rows], minlength=2).min()
        if fewest <= scores.shape[1] + 1:
            return float("nan")
        return labelled_nats(scores[rows], y[rows])

    return Point(float(null[0]), sample.stderr(nats_of), null, False)


GCMI = Estimator(
    gcmi,
    method="Gaussian copula, bias-corrected",
    source="Ince et al. 2017",
    caution="anything not monotone: a lower bound",
    targets=(LABELS, CONTINUOUS),
    options=GcmiOptions,
    curves=(
        Curve(
            "gcmi",
            "I(correct; belief at the answer slot), Gaussian copula",
            features="belief",
            point=gcmi_point,
            order=3,
        ),
    ),
)
