"""What a step adds beyond the first: nothing where difficulty is all there is, found from where it
begins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import entr

from diffengine.analysis.information.conditional import Baseline
from diffengine.analysis.information.sample import NATS
from diffengine.analysis.information.significance import max_t
from diffengine.analysis.information.strata import score_statistics, strata_of, within

STEPS, BEGINS, B = 10, 5, 99


def trial(
    seed: int, n: int = 300, *, gain: float = 0.0, saturated: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(bits [step], p [step]). Difficulty is linear in the first step's features and shows at every
    step beside noise that wanders; from step `BEGINS` on the first feature also tells what `gain`
    times it adds to the log odds."""
    rng = np.random.default_rng([seed, n])
    difficulty, new = rng.normal(size=(2, n))
    y = (rng.random(n) < 1 / (1 + np.exp(-(1.5 * difficulty + 1.5 + gain * new)))).astype(int)
    first = np.concatenate([difficulty[:, None], rng.normal(size=(n, 7))], axis=1) @ rng.normal(
        size=(8, 8)
    )
    x = 1.5 * difficulty[None, :, None] + np.cumsum(0.6 * rng.normal(size=(STEPS, n, 3)), axis=0)
    x[BEGINS:, :, 0] += 2 * gain * new
    if saturated:
        x = np.minimum(x, 1.0)
    baseline = Baseline(np.concatenate([first, x[0]], axis=1), y, np.arange(n), number=B, seed=seed)
    points = [baseline.point(x[step]) for step in range(STEPS)]
    return np.array([p.nats for p in points]) / NATS, max_t(
        np.stack([p.null for p in points], axis=1)
    )


@pytest.mark.parametrize("saturated", [False, True])
def test_difficulty_alone_is_not_mistaken_for_information(saturated: bool) -> None:
    """At most 8 % of runs, in which every step tells the difficulty that decides the label, may
    show a step."""
    found = [trial(seed, saturated=saturated) for seed in range(60)]
    assert np.mean([(p <= 0.05).any() for _, p in found]) <= 0.08
    assert (np.abs(np.mean([bits for bits, _ in found], axis=0)) < 0.004).all()


def test_what_a_step_adds_is_found_from_where_it_begins() -> None:
    found = [trial(seed, gain=1.0) for seed in range(12)]
    assert np.mean([(p[BEGINS:] <= 0.05).any() for _, p in found]) >= 0.8
    assert np.mean([(p[:BEGINS] <= 0.05).any() for _, p in found]) <= 0.2
    bits = np.mean([bits for bits, _ in found], axis=0)
    assert (np.abs(bits[:BEGINS]) < 0.006).all() and (bits[BEGINS:] > 0.03).all()


def test_the_value_against_the_truth_where_it_is_known() -> None:
    """Log odds 1.5 w + 1.5 + u with u seen whole: I(u; y | w) by quadrature."""
    rng = np.random.default_rng(0)
    n = 6000
    w, u = rng.normal(size=(2, n))
    y = (rng.random(n) < 1 / (1 + np.exp(-(1.5 * w + 1.5 + u)))).astype(int)
    baseline = Baseline(
        np.stack([w, rng.normal(size=n)], axis=1), y, np.arange(n), number=20, seed=0
    )
    point = baseline.point(np.stack([u + w, w], axis=1))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    p = 1 / (1 + np.exp(-(1.5 * nodes[:, None] + 1.5 + nodes[None, :])))  # [w, u]
    truth = (
        weights @ (entr(p @ weights) + entr(1 - p @ weights))
        - weights @ (entr(p) + entr(1 - p)) @ weights
    )
    assert (
        abs(point.nats - truth) < 3 * point.stderr and 0.003 < point.stderr < 0.012 and truth > 0.06
    )


def test_the_score_statistic_against_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    x, strata = rng.normal(size=(60, 2)), np.repeat([0, 1, 2, 3], [25, 20, 14, 1])
    y = rng.integers(0, 2, 60)
    labels = np.stack([y, y[within(strata, 1, 0, np.arange(60))[0]]])
    for one, value in zip(labels, score_statistics(x, strata, labels), strict=True):
        u, v = np.zeros(2), np.zeros((2, 2))
        for stratum in range(3):
            rows = np.flatnonzero(strata == stratum)
            centred = x[rows] - x[rows].mean(axis=0)
            u += centred.T @ one[rows]
            share = one[rows].mean()
            v += centred.T @ centred * share * (1 - share) * len(rows) / (len(rows) - 1)
        assert value == pytest.approx(u @ np.linalg.solve(v, u) / 120)


def test_the_variance_is_that_of_the_permutations() -> None:
    """Mean of U' V^-1 U over permutations within strata is the number of columns."""
    rng = np.random.default_rng(2)
    x, strata, y = rng.normal(size=(90, 3)), np.repeat(np.arange(6), 15), rng.integers(0, 2, 90)
    labels = np.concatenate([y[None], y[within(strata, 4000, 0, np.arange(90))]])
    assert score_statistics(x, strata, labels)[1:].mean() * 180 == pytest.approx(3, rel=0.05)


def test_permutations_stay_within_strata_and_keep_samples_together() -> None:
    groups = np.repeat(np.arange(50), 4)
    score = np.random.default_rng(0).normal(size=200)
    strata = strata_of(score, groups)
    assert len(np.unique(strata)) == 2 and all(
        len(set(strata[groups == one])) == 1 for one in range(50)
    )
    mean = np.bincount(groups, weights=score) / 4
    assert mean[np.unique(groups[strata == 0])].max() < mean[np.unique(groups[strata == 1])].min()
    orders = within(strata, 10, 3, groups)
    for order in orders:
        assert sorted(order) == list(range(200)) and (strata[order] == strata).all()
        assert all(len(set(groups[order][groups == one])) == 1 for one in range(50))
    # Two strata of a size are not shuffled by the same permutation.
    alone = within(np.repeat([0, 1], 10), 20, 0, np.arange(20))
    assert (alone[:, :10] != alone[:, 10:] - 10).any(axis=1).all()
