"""Permutations, max-T and folds: exact by construction, and measured where there is nothing to
find."""

from __future__ import annotations

import numpy as np
import pytest
from information_tasks import binary

from diffengine.analysis.information.binning import plug_in_many
from diffengine.analysis.information.folds import folds_of, parts_of, permutations
from diffengine.analysis.information.significance import linear_many, max_t

STEPS, PROBLEMS, B = 128, 300, 99


def walk(rng: np.random.Generator, rho: float) -> np.ndarray:
    """[problem, step] normal values whose neighbouring steps correlate by `rho`."""
    noise = rng.normal(size=(STEPS, PROBLEMS))
    found = noise.copy()
    for step in range(1, STEPS):
        found[step] = rho * found[step - 1] + np.sqrt(1 - rho**2) * noise[step]
    return found.T


def plug_in_curve(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[relabelling, step] plug-in information of ten equal-frequency bins of x [problem, step]."""
    cells = np.argsort(np.argsort(x, axis=0), axis=0) * 10 // len(x)
    return np.stack([plug_in_many(cells[:, step], labels) for step in range(x.shape[1])], axis=1)


@pytest.mark.parametrize("rho", [0.0, 0.9, 0.99])
def test_false_positives_over_128_steps(rho: float) -> None:
    """At most 8 % of runs without any information may show a step with p <= .05; single steps would
    do so always."""
    runs, false, single = 300, 0, 0
    for run in range(runs):
        rng = np.random.default_rng([run, int(100 * rho)])
        y = rng.integers(0, 2, PROBLEMS)
        labels = np.concatenate([y[None], y[permutations(PROBLEMS, B, run)]])
        values = plug_in_curve(walk(rng, rho), labels)
        false += bool((max_t(values) <= 0.05).any())
        single += bool((((values[1:] >= values[0]).sum(axis=0) + 1) / (B + 1) <= 0.05).any())
    assert false / runs <= 0.08
    assert single / runs > 0.4


def test_max_t_by_hand() -> None:
    values = np.array([[3.0, 0.0], [1.0, 1.0], [2.0, -1.0], [0.0, 0.5]])
    scores = (values - values.mean(axis=0)) / values.std(axis=0)
    largest = scores[1:].max(axis=1)
    expected = [(1 + sum(largest >= scores[0, step])) / 4 for step in (0, 1)]
    np.testing.assert_allclose(max_t(values), expected)
    assert max_t(values)[0] == 0.25


def test_a_noisy_step_has_no_more_say_than_a_quiet_one() -> None:
    """Scaling or shifting one step's statistic changes no p-value; else the loudest step alone
    would set the bar."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(100, 4))
    values[0] += [0.0, 3.5, 2.0, 3.0]
    scaled = values * [1000.0, 1.0, 0.01, 7.0] + [5.0, 0.0, -1.0, 0.1]
    np.testing.assert_allclose(max_t(scaled), max_t(values))
    assert max_t(values)[1] <= 0.05 < max_t(values)[0]


def test_a_p_value_is_never_zero_nor_lost() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 6))
    values[0, 2] = 50.0
    values[:, 4] = np.nan
    values[:, 5] = 1.0
    p = max_t(values)
    assert p[2] == 1 / 200 and np.isnan(p[4]) and p[5] > 0.9
    assert (p[:4] >= 1 / 200).all() and np.isnan(max_t(np.full((5, 3), np.nan))).all()


def test_information_is_found_where_it_is() -> None:
    x = walk(np.random.default_rng(1), 0.9)
    y = (x[:, 64] + np.random.default_rng(2).normal(size=PROBLEMS) > 0).astype(int)
    labels = np.concatenate([y[None], y[permutations(PROBLEMS, 199, 0)]])
    p = max_t(plug_in_curve(x, labels))
    assert p[64] == 1 / 200 and p[:30].min() > 0.05


def test_samples_of_one_problem_move_together() -> None:
    groups = np.repeat(np.arange(60), np.repeat([1, 2, 4], 20))
    y = groups % 2
    for order in permutations(len(groups), 20, 0, groups):
        assert sorted(order) == list(range(len(groups)))
        moved = y[order]
        assert all(len(set(moved[groups == group])) == 1 for group in range(60))
        sizes = np.bincount(groups)
        np.testing.assert_array_equal(sizes[groups[order]], sizes[groups])
    for part in (
        parts_of(len(groups), 3, np.random.default_rng(0), groups),
        folds_of(y, groups, 5, np.random.default_rng(0)),
    ):
        assert all(len(set(part[groups == group])) == 1 for group in range(60))


def test_groups_matter() -> None:
    """Eight samples of each of 40 questions, nothing to find: only block permutations keep their
    promise."""
    rng, false = np.random.default_rng(0), {True: 0, False: 0}
    for run in range(60):
        groups = np.repeat(np.arange(40), 8)
        y = (rng.random(40) < 0.5).astype(int)[groups]
        x = (rng.normal(size=40)[groups] + 0.1 * rng.normal(size=320))[:, None]
        for blocks in false:
            order = permutations(320, 99, run, groups if blocks else None)
            false[blocks] += max_t(plug_in_curve(x, np.concatenate([y[None], y[order]])))[0] <= 0.05
    assert false[True] <= 8 and false[False] > 40


def test_folds_spread_the_labels() -> None:
    y = (np.arange(203) < 21).astype(int)
    fold = folds_of(y, None, 5, np.random.default_rng(0))
    assert np.ptp(np.bincount(fold)) <= 1 and np.ptp(np.bincount(fold[y == 1])) <= 2
    with pytest.raises(ValueError, match="groups has 3 entries for 203 rows"):
        folds_of(y, np.arange(3), 5, np.random.default_rng(0))


def test_permutations_follow_the_seed_and_are_all_different() -> None:
    first = permutations(50, 20, 3)
    np.testing.assert_array_equal(first, permutations(50, 20, 3))
    assert len(np.unique(first, axis=0)) == 20 and (first != permutations(50, 20, 4)).any()


def test_the_linear_score_is_refitted_for_each_target() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    x, y = binary(120, rng, noise=6)
    fold = folds_of(np.zeros(120), None, 5, rng)
    targets = np.stack([y, rng.permutation(y)])
    found = linear_many(x, targets, fold)
    for target, value in zip(targets, found, strict=True):
        explained = []
        for penalty in 10.0 ** np.arange(-2, 3):
            wrong = null = 0.0
            for number in range(5):
                held = fold == number
                z = (x - x[~held].mean(axis=0)) / x[~held].std(axis=0)
                score = (
                    Ridge(alpha=penalty * (~held).sum())
                    .fit(z[~held], target[~held])
                    .predict(z[held])
                )
                wrong += ((score - target[held]) ** 2).sum()
                null += ((target[held] - target[~held].mean()) ** 2).sum()
            explained.append(1 - wrong / null)
        assert value == pytest.approx(max(explained), abs=1e-9)
    assert found[0] > 0.2 > found[1]
