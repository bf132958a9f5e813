"""Two runs with several samples a problem, compared sample by sample: what is independent are
problems."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from compared_runs import generations, one_a_step

from diffengine.analysis.compare.paired import paired_means, paired_shares, sign_flip_p
from diffengine.analysis.compare.standing import (
    ACCURACY,
    ACCURACY_CHANGE,
    FORWARDS,
    SAME_TEXT,
    TOKENS_PER_FORWARD,
    ratio_of_totals,
    standings,
)
from diffengine.analysis.groups import Groups

TIMES = 5


def outcomes(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = (rng.random(n) < 0.7).astype(float)
    second = np.where(rng.random(n) < 0.25, 1 - first, first)
    second[3] = np.nan
    return first, second


def test_samples_that_are_alike_say_what_one_says() -> None:
    first, second = outcomes()
    groups = Groups.of(np.repeat(np.arange(80), TIMES).tolist())
    once = paired_shares(first, second)
    found = paired_shares(first.repeat(TIMES), second.repeat(TIMES), groups)
    assert found[:5] == pytest.approx(once[:5])
    assert once.only_first is not None and found.only_first == TIMES * once.only_first
    means = paired_means(first.repeat(TIMES), 3 * second.repeat(TIMES), groups)
    assert means[:5] == pytest.approx(paired_means(first, 3 * second)[:5])


def test_with_one_sample_each_nothing_changes() -> None:
    first, second = outcomes()
    groups = Groups.of([str(row) for row in range(80)])
    assert paired_shares(first, second, groups) == paired_shares(first, second)
    assert paired_means(first, second, groups) == paired_means(first, second)


@pytest.mark.parametrize("changes", [[1, 1, -1], [3, -2, 1, 0, 2], [4, 4, 4, 4], [0, 0], [5]])
def test_the_test_is_an_enumeration_of_signs(changes: list[int]) -> None:
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, changes, strict=True)))
        for signs in product((-1, 1), repeat=len(changes))
    ]
    expected = np.mean([each >= abs(sum(changes)) for each in sums])
    assert sign_flip_p(np.array(changes)) == pytest.approx(expected)


def test_of_changes_of_one_size_it_is_mcnemars() -> None:
    changes = np.array([2] * 12 + [-2] * 5 + [0] * 30)
    expected = 2 * sum(comb(17, k) for k in range(6)) / 2**17
    assert sign_flip_p(changes) == pytest.approx(expected)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """60 problems of 6 samples, whose chance of being right falls by .1 on average in the second
    run, by much in some problems and by nothing in most."""
    rng = np.random.default_rng(2)
    groups = Groups.of(np.repeat(np.arange(60), 6).tolist())
    covered = narrow = 0
    for _ in range(400):
        chance = rng.uniform(0.5, 1.0, 60)
        lower = chance - np.where(rng.random(60) < 0.25, 0.4, 0.0)
        first, second = ((rng.random((6, 60)) < p).T.ravel().astype(float) for p in (chance, lower))
        found = paired_shares(first, second, groups)
        covered += found.low <= -0.1 <= found.high
        naive = paired_shares(first, second)
        narrow += naive.low <= -0.1 <= naive.high
        assert found.n == 60 and naive.n == 360
    assert covered >= 0.92 * 400 and narrow < covered


def test_a_ratio_of_totals() -> None:
    rng = np.random.default_rng(3)
    above, below = rng.uniform(1, 3, 40), rng.uniform(2, 4, 40)
    once = ratio_of_totals(above, below, label="", missing="")
    groups = Groups.of(np.repeat(np.arange(40), 3).tolist())
    found = ratio_of_totals(above.repeat(3), below.repeat(3), label="", missing="", groups=groups)
    assert found.n == once.n == 40
    assert (float(found.values), float(found.stderr)) == pytest.approx(
        (float(once.values), float(once.stderr))
    )


def test_standings_count_problems() -> None:
    tokens = [[1, 2], [3, 4], [5, 6]]
    keys = [f"{name}{end}" for name in "abc" for end in ("", "#1")]
    group_ids = tuple(name for name in "abc" for _ in range(2))
    doubled = [row for row in tokens for _ in range(2)]
    exact = one_a_step(doubled, keys=keys)._replace(group_ids=group_ids)
    fast = generations(
        "fast", [[1, 2], [1, 2], [3, 9], [3, 9], [5, 6], [5, 6]], [[0, 0]] * 6,
        keys=keys, verdict=[1, 1, 0, 0, 1, 1],
    )._replace(group_ids=group_ids)  # fmt: skip
    once = standings(
        [
            one_a_step(tokens, keys=list("abc")),
            generations("fast", [[1, 2], [3, 9], [5, 6]], [[0, 0]] * 3, keys=list("abc"),
                        verdict=[1, 0, 1]),
        ]
    )[1]  # fmt: skip
    found = standings([exact, fast])[1]
    for name in (TOKENS_PER_FORWARD, FORWARDS, ACCURACY, ACCURACY_CHANGE, SAME_TEXT):
        before, after = once.quantities[name], found.quantities[name]
        assert after.n == before.n == 3
        np.testing.assert_allclose(after.values, before.values)
        if before.interval is not None:
            np.testing.assert_allclose(after.interval, before.interval, atol=1e-12)
