"""One step of each curve of information over steps: value, standard error, drift, and values under
permutations of y.

All in nats here. What a curve is made of: `analysis/information/over_steps.py`. Knows nothing of
runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .binning import cells, plug_in_many, plug_in_nats
from .decoder import decode
from .folds import folds_of
from .gcmi import independent, labelled_many, labelled_nats
from .ksg1 import ksg1, ksg1_nats
from .ridge import axes_of, gcv, linear
from .ross import ross, ross_nats
from .sample import NATS, generator, prepared
from .significance import PENALTIES, linear_many, ross_many
from .uncertainty import stability, subsampled_stderr

FOLDS = 5
REPEATS = 3


class Setting(NamedTuple):
    """`y` [n] as observed, `permuted` [1 + B, n] that and its permutations, `groups` and `rows` of
    the run [n]."""

    y: np.ndarray
    permuted: np.ndarray
    groups: np.ndarray
    rows: np.ndarray
    seed: int
    k: int = 3
    n_bins: int = 10


class Point(NamedTuple):
    """One step: estimate and standard error in nats, `null` [1 + B] the statistic that is tested,
    observed first."""

    nats: float
    stderr: float
    null: np.ndarray
    limited: bool


def ross_points(x: np.ndarray, setting: Setting) -> tuple[Point]:
    """Ross on normal scores of few features x [n, d]; tested by itself, at one draw of the
    jitter."""
    scores = prepared(x, generator(setting.seed, "jitter", 0), scale="rank")
    value = ross(x, setting.y, seed=setting.seed, k=setting.k, scale="rank").bits * NATS
    known = stability(
        lambda rows, k: _ross_of(scores[rows], setting.y[rows], k),
        len(x),
        k=setting.k,
        **_how(setting),
    )
    return (
        Point(value, known.stderr, ross_many(scores, setting.permuted, setting.k), known.limited),
    )


def binning_points(x: np.ndarray, setting: Setting) -> tuple[Point]:
    """Bins of equal frequency of one feature x [n, 1], less the mean over the permutations."""
    cell = cells(x, setting.n_bins, "equal_frequency")
    null = plug_in_many(cell, setting.permuted)
    stderr = subsampled_stderr(
        lambda rows: plug_in_nats(cell[rows], setting.y[rows]), len(x), **_how(setting)
    )
    return (Point(float(null[0] - null[1:].mean()), stderr, null, False),)


def gcmi_points(x: np.ndarray, setting: Setting) -> tuple[Point]:
    """Gaussian copula of few features x [n, d], tested by itself."""
    scores = independent(prepared(x, generator(setting.seed, "jitter", 0), scale="rank"))
    null = labelled_many(scores, setting.permuted)

    def part(rows: np.ndarray) -> float:
        few = np.bincount(setting.y[rows], minlength=2).min() <= scores.shape[1] + 1
        return float("nan") if few else labelled_nats(scores[rows], setting.y[rows])

    stderr = subsampled_stderr(part, len(x), **_how(setting))
    return (Point(float(null[0]), stderr, null, False),)


def decoder_points(x: np.ndarray, setting: Setting) -> tuple[Point, Point]:
    """(decoder bound, Ross on its out-of-fold score) of many features x [n, d].

    Both are tested by the cross-fitted linear score refitted for every permutation, which the two
    could not be. The standard errors take the fitted decoders as given.
    """
    found = decode(x, setting.y, seed=setting.seed, folds=FOLDS, groups=setting.groups)
    gain = found.gain(setting.y)
    fold = folds_of(np.zeros(len(x)), setting.groups, FOLDS, generator(setting.seed, "test folds"))
    null = linear_many(x, setting.permuted, fold)
    score = prepared(found.score(), generator(setting.seed, "jitter", 0))
    known = stability(
        lambda rows, k: _ross_of(score[rows], setting.y[rows], k),
        len(x),
        k=setting.k,
        **_how(setting),
    )
    bound = Point(float(gain.mean()), clustered_stderr(gain, setting.groups), null, False)
    return bound, Point(known.value, known.stderr, null, known.limited)


def ksg1_points(x: np.ndarray, setting: Setting) -> tuple[Point]:
    """KSG-1 between a continuous y and its prediction from many features x [n, d] by ridge, out of
    fold.

    Tested by the cross-fitted linear score; the standard error takes the fitted predictions as
    given.
    """
    fold = folds_of(setting.y, setting.groups, FOLDS, generator(setting.seed, "folds"))
    score = _predicted(x, setting.y, fold)
    value = ksg1(score, setting.y, seed=setting.seed, k=setting.k).bits * NATS
    columns = [
        prepared(part[:, None], generator(setting.seed, "jitter", number))
        for number, part in enumerate((score, setting.y))
    ]
    known = stability(
        lambda rows, k: ksg1_nats(columns[0][rows], columns[1][rows], k),
        len(x),
        k=setting.k,
        **_how(setting),
    )
    test_fold = folds_of(
        np.zeros(len(x)), setting.groups, FOLDS, generator(setting.seed, "test folds")
    )
    return (Point(value, known.stderr, linear_many(x, setting.permuted, test_fold), known.limited),)


def _how(setting: Setting) -> dict[str, Any]:
    return {"seed": setting.seed, "groups": setting.groups, "repeats": REPEATS}


def _predicted(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    score = np.empty(len(x))
    for number in range(int(fold.max()) + 1):
        held = fold == number
        axes = axes_of(x[~held])
        train = axes.of(x[~held])
        penalty = gcv(axes, train, y[~held], PENALTIES * len(train))
        score[held] = linear(axes, train, y[~held, None], axes.of(x[held]), np.array([penalty]))[
            0, :, 0
        ]
    return score


def _ross_of(x: np.ndarray, codes: np.ndarray, k: int) -> float:
    """Ross on part of the rows; NaN where a label has fewer than k + 1 of them."""
    members = np.bincount(codes)
    return (
        float("nan")
        if members[members > 0].min() <= k or (members > 0).sum() < 2
        else ross_nats(x, codes, k)
    )


def clustered_stderr(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard error of the mean of `values` [n] whose rows of one group are not independent."""
    n = len(values)
    group = np.unique(groups, return_inverse=True)[1].reshape(-1)
    sums = np.bincount(group, weights=values - values.mean())
    return (
        float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / n)
        if len(sums) > 1
        else float("nan")
    )
