"""Several samples of a problem, taken one at a time: layers of one sample of each problem.

An estimator of mutual information takes its rows for independent. Nearest neighbours are the worst
at what is not: samples of one problem lie beside each other and have one outcome, which it would
take for information. So it is given a layer at a time, one sample of each problem, as in a run of
one sample each; its value is the mean over the layers (within-cluster resampling, Hoffman, Sen and
Weinberg 2001, Biometrika 88, 1121; multiple outputation, Follmann, Proschan and Leifer 2003,
Biometrics 59, 420), here over fixed layers instead of random ones.

A permutation moves whole problems: the same one serves all layers, and the statistic that is tested
is the mean over them. The error is the root mean square of the layers' errors: an upper bound, for
a mean varies no more than its parts do on average, and reached where samples repeat each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .curve import Point

MOST_LAYERS = 4
"""Samples of a problem that are used: each costs as much as a run of one sample."""


def layers_of(problems: np.ndarray) -> np.ndarray:
    """[layer, problem] row numbers: which of the rows, whose problems have these numbers [row],
    stand for each problem in each layer.

    A problem with fewer rows than there are layers comes round again, so that each layer has every
    problem. Problems are in the order of their numbers.
    """
    order = np.argsort(problems, kind="stable")
    _, members = np.unique(problems, return_counts=True)
    first = np.cumsum(members) - members
    number = max(1, min(MOST_LAYERS, int(members.max(initial=1))))
    layers = [order[first + layer % members] for layer in range(number)]
    return np.stack(layers)


def mean_point(points: Sequence[Point]) -> Point:
    """The point of all layers from those of each; it is `limited` where one of them is."""
    if len(points) == 1:
        return points[0]
    squares = [point.stderr**2 for point in points]
    return Point(
        nats=float(np.mean([point.nats for point in points])),
        stderr=float(np.sqrt(np.mean(squares))),
        null=np.mean([point.null for point in points], axis=0),
        limited=any(point.limited for point in points),
    )
