"""Ross on the score that a cross-fitted decoder gives each row: repairs the decoder's link, keeps
its reach.

By data processing I(score; Y) <= I(X; Y) for a score computed from x by a rule that did not see the
row's label. The rules of different folds are pooled, which mixes scores that are not quite on one
scale. For 49 noise columns beside one that tells it finds .31 of .34 nats (n = 1000), where Ross on
the columns finds .09.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .curve import LINEAR_SCORE, Curve, Point
from .decoding import FOLDS, decode
from .estimator import LABELS, Estimator
from .knn import Knn, over_jitter
from .ross import ceiling_nats, ross_nats, ross_of_part
from .sample import JITTER, NATS, Estimate, check_k, labelled, prepared
from .step_sample import StepSample


@dataclass(frozen=True)
class RossOofOptions:
    """As of `Knn` and of the decoder."""

    k: int = 3
    folds: int = FOLDS
    groups: np.ndarray | None = None
    jitter: float = JITTER
    draws: int | None = None


def ross_oof(x: np.ndarray, y: np.ndarray, options: RossOofOptions, *, seed: int = 0) -> Estimate:
    """I(out-of-fold score; y) in bits for x [n] or [n, d], labels y [n]."""
    sample = labelled(x, y)
    n, dimension = sample.x.shape
    check_k(options.k, n)
    groups = sample.of_kept(options.groups)
    decoded = decode(sample.x, sample.codes, seed=seed, folds=options.folds, groups=groups)

    def nats_of(score: np.ndarray) -> float:
        return ross_nats(score, sample.codes, options.k)

    knn = Knn(jitter=options.jitter, draws=options.draws)
    value, warnings = over_jitter(nats_of, (decoded.score(),), knn, seed)
    ceiling = ceiling_nats(sample.codes) / NATS
    warnings = (*sample.warnings, *warnings)
    return Estimate(value / NATS, n, options.k, dimension, ceiling, warnings)


def ross_oof_point(sample: StepSample) -> Point:
    """Ross on the out-of-fold score of many features; the standard error takes the fitted decoders
    as given."""
    score = prepared(sample.decoded.score(), sample.jitter(0))
    y = sample.y
    stability = sample.stability(lambda rows, k: ross_of_part(score[rows], y[rows], k))
    return Point(stability.value, stability.stderr, sample.linear_null, stability.limited)


ROSS_OOF = Estimator(
    ross_oof,
    method="Ross on that decoder's out-of-fold score",
    source="data processing",
    caution="as `decoder`, less so",
    targets=(LABELS,),
    options=RossOofOptions,
    curves=(
        Curve(
            "ross_oof",
            "I(correct; out-of-fold score of the state at the answer slot), Ross",
            features="state",
            point=ross_oof_point,
            tested_by=LINEAR_SCORE,
            order=6,
        ),
    ),
)
