"""AUROC against all pairs, its error against DeLong's covariance by pairs and against repeated
sampling."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.findings.auroc import SIGNALS, auroc, auroc_trajectories


def twin(score: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """DeLong et al. 1988, eq. 2 to 6, by all pairs."""
    one, other = score[positive], score[~positive]
    psi = (one[:, None] > other) + 0.5 * (one[:, None] == other)
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    return float(psi.mean()), float(
        np.sqrt(v10.var(ddof=1) / len(one) + v01.var(ddof=1) / len(other))
    )


@pytest.mark.parametrize("ties", [False, True])
def test_against_pairs(ties: bool) -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(200) < 0.3
    score = rng.normal(size=200) + positive
    score = np.round(score) if ties else score
    found = auroc(score, positive)
    assert (found.area, found.stderr) == pytest.approx(twin(score, positive)) and found.n == 200


def test_the_error_is_that_of_repeated_sampling() -> None:
    rng = np.random.default_rng(2)
    positive = np.arange(150) < 50
    found = [auroc(rng.normal(size=150) + positive, positive) for _ in range(400)]
    spread = np.std([one.area for one in found])
    assert np.mean([one.stderr for one in found]) == pytest.approx(spread, rel=0.12)
    assert np.mean([one.area for one in found]) == pytest.approx(
        0.7602, abs=0.01
    )  # Phi(1 / sqrt 2)


def test_missing_scores_and_empty_classes() -> None:
    assert auroc(np.array([1.0, np.nan, 0.0]), np.array([True, True, False]))[:1] == (1.0,)
    assert np.isnan(auroc(np.ones(3), np.ones(3, bool)).area)
    assert np.isnan(auroc(np.array([1.0, 0.0]), np.array([True, False])).stderr)


def test_trajectories_say_insufficient_and_turn_the_sign() -> None:
    verdict = np.repeat([0, 1, 3], [60, 60, 10])
    metrics = {
        signal.metric: np.where(verdict == 1, 1.0, 0.0)[:, None] * signal.sign for signal in SIGNALS
    }
    found = auroc_trajectories(metrics, verdict)
    assert all(
        one.ok and one.values.tolist() == [1.0] and one.n.tolist() == [120]
        for one in found.values()
    )
    few = auroc_trajectories({name: values[50:] for name, values in metrics.items()}, verdict[50:])
    assert few["auroc/answer_margin"].status == (
        "insufficient: 70 graded problems (at least 100; 30 more would suffice), "
        "10 in the smaller class (at least 20; 10 more would suffice)"
    )
