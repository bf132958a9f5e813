"""Entropy estimators against worked numbers, a slow twin, and their exact expectation: the sum over
every outcome that R draws can have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from diffengine.analysis.branching.entropy import (
    ESTIMATORS,
    chao_shen,
    count_classes,
    entropies,
    miller_madow,
    most_bits,
    plug_in,
)

LAWS = (
    (1.0,),
    (0.5, 0.5),
    (0.9, 0.1),
    (0.99, 0.01),
    (1 / 3, 1 / 3, 1 / 3),
    (0.25, 0.25, 0.25, 0.25),
    (0.7, 0.1, 0.1, 0.1),
    (0.97, 0.01, 0.01, 0.01),
    (0.4, 0.3, 0.2, 0.1),
)
AT_16 = {"plug_in": 0.16, "miller_madow": 0.066, "chao_shen": 0.075}
"""Bits of bias that docs/analysis.md says are not exceeded at R = 16 with up to 4 classes."""


def outcomes(draws: int, classes: int) -> Iterator[tuple[int, ...]]:
    if classes == 1:
        yield (draws,)
        return
    for first in range(draws + 1):
        for rest in outcomes(draws - first, classes - 1):
            yield (first, *rest)


def expectation(law: Sequence[float], draws: int) -> dict[str, float]:
    """Of each estimator, over the multinomial law."""
    every = list(outcomes(draws, len(law)))
    chances = []
    for counts in every:
        ways = math.factorial(draws)
        chance = 1.0
        for count, p in zip(counts, law, strict=True):
            ways //= math.factorial(count)
            chance *= p**count
        chances.append(ways * chance)
    assert sum(chances) == pytest.approx(1, abs=1e-12)
    values = entropies(np.array(every))
    return {name: float(np.dot(chances, getattr(values, name))) for name in ESTIMATORS}


def truth(law: Sequence[float]) -> float:
    return -sum(p * math.log2(p) for p in law)


def twin(counts: Sequence[int]) -> dict[str, float]:
    """The formulas as they are printed, class by class."""
    seen = [count for count in counts if count]
    r = sum(seen)
    raw = -sum(count / r * math.log2(count / r) for count in seen)
    once = sum(count == 1 for count in seen)
    coverage = 1 - (r - 1 if once == r else once) / r
    adjusted = 0.0
    for count in seen:
        q = coverage * count / r
        adjusted -= q * math.log2(q) / (1 - (1 - q) ** r)
    return {
        "plug_in": raw,
        "miller_madow": raw + (len(seen) - 1) / (2 * r) / math.log(2),
        "chao_shen": adjusted,
    }


def test_worked_numbers() -> None:
    counts = np.array([2, 1, 1, 0])
    assert float(plug_in(counts)) == pytest.approx(1.5)
    assert float(miller_madow(counts)) == pytest.approx(1.5 + 2 / (8 * math.log(2)))
    # coverage 1/2: shares .25, .125, .125; seen with 1 - .75^4 = .68359, 1 - .875^4 = .41382
    expected = 0.25 * 2 / 0.68359375 + 2 * 0.125 * 3 / 0.413818359375
    assert float(chao_shen(counts)) == pytest.approx(expected)


def test_certainty_is_nothing_and_no_draw_is_no_value() -> None:
    for name, value in entropies(np.array([[16, 0], [0, 0]]))._asdict().items():
        assert value[0] == 0 and not np.signbit(value[0]), name
        assert np.isnan(value[1]), name


@pytest.mark.parametrize("draws", [2, 5, 16])
def test_draws_that_all_differ(draws: int) -> None:
    """The plug-in is at its most; Chao and Shen's coverage is 1 / R, not 0."""
    counts = np.ones(draws, int)
    assert float(plug_in(counts)) == pytest.approx(math.log2(draws)) == most_bits(draws)
    q = 1 / draws**2
    expected = -draws * q * math.log2(q) / (1 - (1 - q) ** draws)
    assert float(chao_shen(counts)) == pytest.approx(expected)
    assert expected > math.log2(draws)


def test_the_slow_twin_agrees() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts = rng.multinomial(rng.integers(1, 40), rng.dirichlet(np.full(7, 0.4)))
        values = entropies(counts)
        for name, expected in twin(counts.tolist()).items():
            assert float(getattr(values, name)) == pytest.approx(expected, abs=1e-12), name


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("draws", [2, 4, 8, 16])
def test_bias_is_within_its_bounds(law: tuple[float, ...], draws: int) -> None:
    """Paninski 2003, proposition 1, for the plug-in; Miller and Madow's correction on top of it is
    at most (K - 1) / (2 R ln 2)."""
    means = expectation(law, draws)
    lowest = -math.log2(1 + (len(law) - 1) / draws)
    plug_in_bias = means["plug_in"] - truth(law)
    assert lowest - 1e-12 <= plug_in_bias <= 1e-12

    correction = (len(law) - 1) / (2 * draws * math.log(2))
    bias = means["miller_madow"] - truth(law)
    assert plug_in_bias - 1e-12 <= bias <= plug_in_bias + correction + 1e-12
    if draws == 16:
        for name, most in AT_16.items():
            assert abs(means[name] - truth(law)) <= most, name


def test_counting() -> None:
    labels = np.array([[[0, 2, 2], [1, -1, 1]], [[-1, -1, -1], [2, 0, 1]]])
    expected = [[[1, 0, 2], [0, 2, 0]], [[0, 0, 0], [1, 1, 1]]]
    np.testing.assert_array_equal(count_classes(labels, 3), expected)
    assert count_classes(np.zeros((0, 2, 4), int), 3).shape == (0, 2, 3)
