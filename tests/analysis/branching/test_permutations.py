"""Pivotal steps and the test of I_t: how often they see what is not there, and whether they see
what is."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from diffengine.analysis.branching import permutations
from diffengine.analysis.branching.draws import Draws
from diffengine.analysis.branching.entropy import miller_madow
from diffengine.analysis.branching.permutations import drop_since_first, pivotal_steps


def draws_with(label: np.ndarray) -> Draws:
    """Draws [N, K, R] at steps 0, 8, 16, ...; the parent's own answer is class 0."""
    n, steps, _ = label.shape
    return Draws(
        steps=8 * np.arange(steps),
        label=label.astype(np.int32),
        final=np.zeros(n, np.int32),
        gold=np.full(n, -1, np.int32),
        correct=np.full(label.shape, np.nan),
        unextracted=np.full(n, -1, np.int32),
        is_certain=np.zeros((n, steps), bool),
        is_planned=np.ones((n, steps), bool),
        is_asked=np.ones(n, bool),
        groups=np.arange(n),
    )


def drawn(shares: np.ndarray, r: int, seed: int) -> np.ndarray:
    """[..., R] labels from `shares` [..., class]."""
    rng = np.random.default_rng(seed)
    cumulative = shares.cumsum(axis=-1)[..., None, :]
    u = rng.random((*shares.shape[:-1], r))[..., None]
    return np.asarray((u > cumulative[..., :-1]).sum(axis=-1))


@pytest.mark.parametrize("classes", [2, 6])
def test_where_no_state_differs_a_drop_is_called_in_5_percent_of_problems(classes: int) -> None:
    shares = np.random.default_rng(1).dirichlet(np.ones(classes), (400, 1)).repeat(6, axis=1)
    found = pivotal_steps(draws_with(drawn(shares, 16, seed=2)), seed=0)
    called = float((found.p <= 0.05).mean())
    assert called <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 400)


def test_a_large_drop_is_found_where_it_is() -> None:
    shares = np.full((50, 5, 4), 0.25)
    shares[:, 3:] = [0.97, 0.01, 0.01, 0.01]
    found = pivotal_steps(draws_with(drawn(shares, 16, seed=0)), seed=0)
    assert (found.step == 16).mean() > 0.95 and (found.until[found.step == 16] == 24).all()
    assert (found.p <= 0.05).mean() > 0.95
    assert 1.3 < np.median(found.drop) < 2.2
    assert found.p.min() == 1 / 200


def test_the_drop_is_the_largest_difference_of_neighbours() -> None:
    label = drawn(np.random.default_rng(3).dirichlet(np.ones(4), (20, 5)), 16, seed=4)
    draws = draws_with(label)
    found = pivotal_steps(draws, seed=0)
    entropy = miller_madow(draws.counts)
    for row in range(20):
        drops = [entropy[row, k] - entropy[row, k + 1] for k in range(4)]
        assert found.drop[row] == pytest.approx(max(drops))
        assert found.step[row] == 8 * int(np.argmax(drops)) == found.until[row] - 8


def test_one_pair_of_states_against_every_way_of_dealing() -> None:
    """4 draws a state: all 70 ways, each as likely."""
    label = np.array([[[0, 1, 2, 3], [0, 0, 0, 0]]])
    found = pivotal_steps(draws_with(label), seed=0)
    together = label[0].ravel()
    observed = drop_of(label[0, 0], label[0, 1])
    ways = []
    for hand in itertools.combinations(range(8), 4):
        rest = [place for place in range(8) if place not in hand]
        ways.append(drop_of(together[list(hand)], together[rest]) >= observed - 1e-9)
    exact = float(np.mean(ways))
    assert 0 < exact < 0.2
    error = np.sqrt(exact * (1 - exact) / permutations.PERMUTATIONS)
    assert found.p[0] == pytest.approx(exact, abs=4 * error + 1 / 200)


def drop_of(first: np.ndarray, second: np.ndarray) -> float:
    counts = [np.bincount(labels, minlength=4) for labels in (first, second)]
    return float(miller_madow(counts[0]) - miller_madow(counts[1]))


def test_the_largest_of_several_pairs_counts_as_such() -> None:
    """The same two states are less surprising when four more pairs were looked at."""
    label = np.array([[[0, 1, 1, 2, 0, 1], [0, 0, 0, 0, 0, 1]]])
    alone = pivotal_steps(draws_with(label), seed=0).p[0]
    rest = np.tile([[0, 1, 0, 1, 2, 2]], (4, 1))[None]
    rest = np.concatenate([rest[:, :, ::-1], label], axis=1)
    among = pivotal_steps(draws_with(rest), seed=0)
    assert among.step[0] == 8 * 4 and among.p[0] > alone


def test_incomplete_problems_have_no_pivotal_step() -> None:
    label = drawn(np.full((3, 3, 4), 0.25), 8, seed=0)
    label[1, 2, 0] = -1
    found = pivotal_steps(draws_with(label), seed=0)
    assert found.step[1] == found.until[1] == -1
    assert np.isnan(found.drop[1]) and np.isnan(found.p[1])
    assert np.isfinite(found.p[[0, 2]]).all()
    single = pivotal_steps(draws_with(label[:, :1]), seed=0)
    assert np.isnan(single.p).all()


def test_a_problem_has_its_own_noise() -> None:
    """What is said of a problem does not depend on those before it."""
    label = drawn(np.full((3, 4, 4), 0.25), 8, seed=5)
    whole = pivotal_steps(draws_with(label), seed=0)
    holed = label.copy()
    holed[0, 0, 0] = -1
    np.testing.assert_array_equal(whole.p[1:], pivotal_steps(draws_with(holed), seed=0).p[1:])


def test_problems_do_not_share_their_noise() -> None:
    """Or all of them would be called together, or none."""
    label = np.repeat(drawn(np.full((1, 3, 4), 0.25), 16, seed=1), 20, axis=0)
    found = pivotal_steps(draws_with(label), seed=0)
    assert len(set(found.p.tolist())) > 3 and len(set(found.drop.tolist())) == 1


def test_information_is_called_significant_in_5_percent_of_runs_without_any() -> None:
    called = 0
    for run in range(60):
        shares = np.random.default_rng(run).dirichlet(np.ones(4), (12, 1)).repeat(5, axis=1)
        found = drop_since_first(draws_with(drawn(shares, 8, seed=1000 + run)), seed=run)
        assert np.isnan(found.p[0]) and len(found.p) == 4
        called += bool(np.nanmin(found.p) <= 0.05)
    assert called <= 8  # of 60 by chance 3; 8 or more in 1 % of such tests


def test_a_real_fall_is_seen_and_the_control_is_0() -> None:
    shares = np.full((40, 4, 4), 0.25)
    shares[:, 2] = [0.7, 0.1, 0.1, 0.1]
    found = drop_since_first(draws_with(drawn(shares, 16, seed=0)), seed=0)
    assert found.p[2] == 1 / 200 and found.p[1] > 0.05
    assert (np.abs(found.mean[1:]) < 4 * found.error[1:]).all()


def test_samples_move_together() -> None:
    """Decodings of one problem are averaged before problems are: thirty in which H falls weigh as
    one, beside ten problems in which it rises."""
    shares = np.full((40, 3, 4), 0.25)
    shares[:30, 1] = [1, 0, 0, 0]
    shares[30:, 0] = [1, 0, 0, 0]
    draws = draws_with(drawn(shares, 16, seed=0))
    alone = drop_since_first(draws, seed=0)
    assert alone.p[1] == 1 / 200
    groups = np.array([*[0] * 30, *range(1, 11)])
    assert drop_since_first(replace(draws, groups=groups), seed=0).p[1] == 1
