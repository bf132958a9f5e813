"""Counts, accuracy and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from diffengine.analysis.accuracy import accuracy, count, wilson
from diffengine.engine.store.schema import VERDICTS


def test_codes_are_those_of_the_schema() -> None:
    assert VERDICTS == ("wrong", "correct", "no_answer_extracted", "no_gold_answer", "ambiguous")


def test_counts() -> None:
    counts = count(np.array([0, 1, 1, 2, 3, 3, 1], np.uint8))
    assert counts == (1, 3, 1, 2, 0) and counts.graded == 5
    found = accuracy(counts)
    assert float(found.values) == 0.6 and found.n == 5 and found.ok
    assert found.stderr is not None and float(found.stderr) == pytest.approx((0.6 * 0.4 / 5) ** 0.5)


def test_an_ambiguous_number_counts_as_not_correct() -> None:
    counts = count(np.array([0, 1, 4, 3], np.uint8))
    assert counts == (1, 1, 0, 1, 1) and counts.graded == 3
    assert float(accuracy(counts).values) == pytest.approx(1 / 3)


def test_nothing_to_grade() -> None:
    found = accuracy(count(np.array([3, 3])))
    assert np.isnan(found.values) and found.status == "insufficient: no problem has a gold answer"
    assert np.isnan(wilson(0, 0)).all()


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (3, 10), (850, 1000)])
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
