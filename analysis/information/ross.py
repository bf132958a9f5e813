"""Ross: mutual information of continuous features and a label.

Ross 2014 (PLoS ONE 9(2): e87357), eq. 1 of its method. d_i is the distance to the k_i-th neighbour
of the same label, k_i = min(k, N_y - 1), and m_i the number of points of the whole sample as near
as that, the k_i-th neighbour included and the point itself not (without ties the same as those
strictly nearer with the point itself):

    I = psi(N) - <psi(N_y)> + <psi(k_i)> - <psi(m_i)>
"""

from __future__ import annotations

import numpy as np

from .curve import Curve, Point
from .estimator import LABELS, Estimator
from .knn import Knn, over_jitter
from .neighbors import distances_to, nearest
from .range_counts import count_within
from .sample import NATS, Estimate, check_k, constant_columns, labelled
from .significance import ross_many
from .step_sample import StepSample


def ross(x: np.ndarray, y: np.ndarray, options: Knn, *, seed: int = 0) -> Estimate:
    """I(x; y) in bits for x [n] or [n, d] and labels y [n]. Labels that occur once are dropped and
    reported."""
    sample = labelled(x, y)
    n, dimension = sample.x.shape
    k = options.k
    check_k(k, n)
    ceiling = ceiling_nats(sample.codes) / NATS
    if constant_columns(sample.x).all():
        warnings = (*sample.warnings, "x constant: 0 bits")
        return Estimate(0.0, n, k, dimension, ceiling, warnings)

    def nats_of(scaled: np.ndarray) -> float:
        return ross_nats(scaled, sample.codes, k, options.backend)

    value, warnings = over_jitter(nats_of, (sample.x,), options, seed)
    return Estimate(value / NATS, n, k, dimension, ceiling, (*sample.warnings, *warnings))


def ross_nats(x: np.ndarray, codes: np.ndarray, k: int, backend: str = "auto") -> float:
    """The formula above on prepared columns x [n, d] and codes [n], each occurring at least twice,
    in nats."""
    from scipy.special import digamma

    members = np.bincount(codes)
    radius = np.empty(len(x))
    for code in range(len(members)):
        rows = np.flatnonzero(codes == code)
        of_label = x[rows]
        neighbours = nearest(of_label, min(k, len(rows) - 1), backend=backend)
        radius[rows] = distances_to(of_label, neighbours)[:, -1]
    nearer = count_within(x, radius, backend=backend) + 1
    k_of = np.minimum(k, members - 1)[codes]
    terms = digamma(k_of) - digamma(members[codes]) - digamma(nearer)
    return float(digamma(len(x)) + np.mean(terms))


def ross_of_part(x: np.ndarray, codes: np.ndarray, k: int) -> float:
    """Ross in nats on part of the rows; NaN where a label has fewer than k + 1 of them or there is
    only one."""
    members = np.bincount(codes)
    members = members[members > 0]
    if members.min() <= k or len(members) < 2:
        return float("nan")
    return ross_nats(x, codes, k)


def ceiling_nats(codes: np.ndarray) -> float:
    """The value when every label keeps to itself (m_i = k_i): psi(N) - <psi(N_y)>, in nats."""
    from scipy.special import digamma

    members = np.bincount(codes)
    return float(digamma(len(codes)) - np.mean(digamma(members[codes])))


def ross_point(sample: StepSample) -> Point:
    """Ross on normal scores of few features; tested by itself, at one draw of the jitter."""
    x = sample.scores
    y = sample.y
    value = ross(sample.x, y, Knn(k=sample.k, scale="rank"), seed=sample.seed).nats
    stability = sample.stability(lambda rows, k: ross_of_part(x[rows], y[rows], k))
    null = ross_many(x, sample.permuted, sample.k)
    return Point(value, stability.stderr, null, stability.limited)


ROSS = Estimator(
    ross,
    method="k-NN, continuous x, labels y",
    source="Ross 2014",
    caution="above some 5 columns: too low; of 50 it finds a fourth",
    targets=(LABELS,),
    options=Knn,
    curves=(
        Curve(
            "ross",
            "I(correct; belief at the answer slot), Ross",
            features="belief",
            point=ross_point,
            order=1,
        ),
        Curve(
            "ross_summary",
            "I(correct; mean, std, max of the logits and mean entropy), Ross",
            features="summary",
            point=ross_point,
            order=4,
        ),
    ),
)
