"""KSG-1: mutual information of continuous variables from k-th neighbour distances.

Kraskov, Stoegbauer, Grassberger 2004 (arXiv:cond-mat/0305641), eq. 8. With eps_i the joint distance
to the k-th neighbour and n_x(i) the number of others with |x_j - x_i| < eps_i, strictly,

    I = psi(k) + psi(N) - <psi(n_x + 1) + psi(n_y + 1)>,

maximum norm throughout.
"""

from __future__ import annotations

import numpy as np

from .curve import LINEAR_SCORE, Curve, Point
from .estimator import CONTINUOUS, Estimator
from .folds import folds_of
from .knn import Knn, continuous
from .neighbors import distances_to, nearest
from .range_counts import count_within
from .ridge import axes_of, gcv, linear
from .sample import Estimate, generator, prepared
from .significance import PENALTIES
from .step_sample import FOLDS, StepSample


def ksg1(x: np.ndarray, y: np.ndarray, options: Knn, *, seed: int = 0) -> Estimate:
    """I(x; y) in bits for continuous x [n] or [n, d], y [n] or [n, e]; ties are broken by jitter
    and reported."""
    return continuous(ksg1_nats, x, y, options, seed)


def ksg1_nats(x: np.ndarray, y: np.ndarray, k: int, backend: str = "auto") -> float:
    """Eq. 8 on prepared columns x [n, d], y [n, e], in nats."""
    from scipy.special import digamma

    joint = np.concatenate([x, y], axis=1)
    neighbours = nearest(joint, k, backend=backend)
    eps = distances_to(joint, neighbours)[:, -1]
    n_x = count_within(x, eps, backend=backend)
    n_y = count_within(y, eps, backend=backend)
    spread = np.mean(digamma(n_x + 1) + digamma(n_y + 1))
    return float(digamma(k) + digamma(len(x)) - spread)


def size_point(sample: StepSample) -> Point:
    """KSG-1 between a continuous y and its out-of-fold prediction from many features x [n, d].

    The standard error takes the fitted predictions as given.
    """
    rng = generator(sample.seed, "folds")
    fold = folds_of(sample.y, sample.groups, FOLDS, rng)
    score = predicted(sample.x, sample.y, fold)
    value = ksg1(score, sample.y, Knn(k=sample.k), seed=sample.seed).nats
    x = prepared(score[:, None], sample.jitter(0))
    y = prepared(sample.y[:, None], sample.jitter(1))
    stability = sample.stability(lambda rows, k: ksg1_nats(x[rows], y[rows], k))
    return Point(value, stability.stderr, sample.linear_null, stability.limited)


def predicted(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """[n] ridge predictions of y [n] from x [n, d], each from the other folds, the penalty by
    generalised cross-validation."""
    score = np.empty(len(x))
    for number in range(int(fold.max()) + 1):
        held = fold == number
        kept = ~held
        axes = axes_of(x[kept])
        train = axes.of(x[kept])
        test = axes.of(x[held])
        penalty = gcv(axes, train, y[kept], PENALTIES * len(train))
        predictions = linear(axes, train, y[kept, None], test, np.array([penalty]))
        score[held] = predictions[0, :, 0]
    return score


KSG1 = Estimator(
    ksg1,
    method="k-NN, both continuous, one radius",
    source="Kraskov et al. 2004, eq. 8",
    caution="joint dimension above 4: too low; never above psi(n) - psi(k)",
    targets=(CONTINUOUS,),
    options=Knn,
    curves=(
        Curve(
            "ksg1",
            "I(log size of the gold answer; its out-of-fold prediction from the state at the "
            "slot), KSG-1",
            features="state",
            target="size",
            point=size_point,
            tested_by=LINEAR_SCORE,
            on_dashboard=False,
            order=7,
        ),
    ),
)
