"""Similarity of states over problems: invariances, slow twins, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group, spearmanr

from diffengine.analysis.states import similarity


@pytest.fixture
def states() -> np.ndarray:
    """[problem, step, feature]: step 1 is step 0 turned, stretched and moved; step 2 is
    unrelated."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(60, 5)) * [3, 2, 1, 1, 0.5]
    turned = 2.5 * first @ ortho_group.rvs(5, random_state=1) + 7
    return np.stack([first, turned, rng.normal(size=(60, 5))], axis=1)


def test_a_rotation_with_scale_and_shift_changes_nothing(states: np.ndarray) -> None:
    assert similarity.rsa(states)[0, 1] == pytest.approx(1)
    assert similarity.cka_states(states)[0, 1] == pytest.approx(1, abs=1e-6)
    assert similarity.procrustes(states[:, 0], states[:, 1]) == pytest.approx(1)


def test_unrelated_states(states: np.ndarray) -> None:
    assert (
        abs(similarity.rsa(states)[0, 2]) < 0.1 and abs(similarity.cka_states(states)[0, 2]) < 0.1
    )
    assert (
        0.1 < similarity.procrustes(states[:, 0], states[:, 2]) < 0.6
    )  # not 0: five directions can be turned to fit


def test_slow_twins(states: np.ndarray) -> None:
    one, other = (states[:, step] - states[:, step].mean(axis=0) for step in (0, 2))
    _, scale = orthogonal_procrustes(one / np.linalg.norm(one), other / np.linalg.norm(other))
    assert similarity.procrustes(states[:, 0], states[:, 2]) == pytest.approx(scale)
    pairs = [(a, b) for a in range(60) for b in range(a)]
    distances = [
        [np.linalg.norm(states[a, step] - states[b, step]) for a, b in pairs] for step in (0, 2)
    ]
    assert similarity.rsa(states)[0, 2] == pytest.approx(spearmanr(*distances).statistic)


def test_more_features_than_problems_is_reduced_exactly(states: np.ndarray) -> None:
    wide = np.random.default_rng(3).normal(size=(10, 2, 50))
    expected = similarity.procrustes(wide[:, 0], wide[:, 1])
    reduced = [similarity._reduced(wide[:, step]) for step in range(2)]
    assert reduced[0].shape == (10, 10)
    # each is turned by a rotation of its own, which Procrustes does not see
    assert similarity.procrustes(*reduced) <= 1
    np.testing.assert_allclose(
        np.linalg.norm(reduced[0][:, None] - reduced[0][None], axis=2),
        np.linalg.norm(wide[:, None, 0] - wide[None, :, 0], axis=2))  # fmt: skip
    assert similarity.procrustes(*reduced) == pytest.approx(expected)


def test_a_run(make_run: Callable[..., Any]) -> None:
    run = make_run(40, 8, 8)
    run["state_answer"][:5] = np.nan  # no answer
    run["state_masked"][:, 7] = np.nan  # nothing masked
    found = similarity.similarities(run, steps=8)
    assert found["rsa/answer_matrix"].n == 35 and found["rsa/masked_matrix"].n == 40
    assert (
        np.isnan(found["rsa/masked_matrix"].values[7]).all()
        and found["rsa/masked_to_final"].values[6] == 1
    )
    assert np.isfinite(found["procrustes/masked_consecutive"].values[1:7]).all()


def test_few_problems_and_no_states_are_insufficient(make_run: Callable[..., Any]) -> None:
    run = make_run(31, 8, 8)
    found = similarity.similarities(run, steps=8)
    assert all(one.status.startswith("insufficient: 31 problems") for one in found.values())
    del run._columns["state_answer"]
    assert similarity.similarities(run, steps=8)["rsa/answer_matrix"].n == 0
