"""Standard errors that cover, drift that is seen, and too little data said to be so."""

from __future__ import annotations

import numpy as np
import pytest
from information_tasks import binary, normal, pairs

from diffengine.analysis.information.ksg1 import ksg1_nats
from diffengine.analysis.information.ross import ross_nats
from diffengine.analysis.information.targets import shortage
from diffengine.analysis.information.uncertainty import stability, subsampled_stderr


def test_the_standard_error_of_a_mean() -> None:
    """For a mean the answer is known: sd / sqrt(n)."""
    values = np.random.default_rng(0).normal(size=2000)
    found = subsampled_stderr(lambda rows: float(values[rows].mean()), 2000, repeats=40)
    assert found == pytest.approx(values.std() / np.sqrt(2000), rel=0.1)


@pytest.mark.parametrize("name", ["ksg1", "ross"])
def test_intervals_cover(name: str) -> None:
    covered, runs = 0, 60
    for seed in range(runs):
        rng = np.random.default_rng([3, seed])
        if name == "ksg1":
            x, y = (part[:, None] for part in normal(400, rng))
            truth, nats = 0.4133, lambda rows, x=x, y=y: ksg1_nats(x[rows], y[rows], 3)
        else:
            x, y = binary(400, rng)
            truth, nats = 0.3368, lambda rows, x=x, y=y: ross_nats(x[rows], y[rows], 3)
        stderr = subsampled_stderr(nats, 400, seed=seed)
        covered += abs(nats(np.arange(400)) - truth) < 1.96 * stderr
    assert covered / runs > 0.85


def test_too_many_dimensions_are_flagged() -> None:
    x, y = pairs(1000, np.random.default_rng(0), d=5)
    found = stability(lambda rows, k: ksg1_nats(x[rows], y[rows], k), 1000, repeats=2)
    assert found.limited and found.drift_n > 2 * found.stderr and found.value < 0.75 < 1.0217
    wide, codes = binary(1000, np.random.default_rng(0), noise=9)
    flat = stability(lambda rows, k: ross_nats(wide[rows], codes[rows], k), 1000, repeats=2)
    assert flat.by_k[0] == flat.value


def test_few_dimensions_are_not() -> None:
    flagged = 0
    for seed in range(10):
        x, codes = binary(1000, np.random.default_rng([1, seed]))
        flagged += stability(
            lambda rows, k, x=x, codes=codes: ross_nats(x[rows], codes[rows], k),
            1000,
            seed=seed,
            repeats=2,
        ).limited
    assert flagged <= 2


def test_splits_keep_problems_together() -> None:
    """Ten copies of each row are no more data: the error is that of a tenth of the rows."""
    values = np.repeat(np.random.default_rng(0).normal(size=200), 10)
    groups = np.repeat(np.arange(200), 10)

    def mean(rows: np.ndarray) -> float:
        return float(values[rows].mean())

    grouped = subsampled_stderr(mean, 2000, groups=groups, repeats=40)
    assert grouped == pytest.approx(values.std() / np.sqrt(200), rel=0.15)
    assert subsampled_stderr(mean, 2000, repeats=40) < 0.5 * grouped


def test_values_that_are_missing() -> None:
    assert np.isnan(subsampled_stderr(lambda rows: float("nan"), 100))
    assert subsampled_stderr(lambda rows: 1.0 if rows[0] % 2 else float("nan"), 100) == 0.0


@pytest.mark.parametrize("n, minority, reason", [
    (99, 40, "99 problems (at least 100; 1 more would suffice)"),
    (100, 19, "19 problems in the smallest class (at least 20; 1 more would suffice)"), (100, 20, ""),
    (200, 0, "all problems have the same outcome"),
])  # fmt: skip
def test_too_little_data(n: int, minority: int, reason: str) -> None:
    assert shortage(n, (np.arange(n) < minority).astype(int)) == reason
    assert shortage(n) == ("99 problems (at least 100; 1 more would suffice)" if n < 100 else "")
