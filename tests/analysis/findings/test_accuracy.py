"""Counts, accuracy and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.findings.accuracy import accuracy, count
from diffengine.analysis.shares import wilson
from diffengine.engine.store.format.verdicts import VERDICTS


def test_codes_are_those_of_the_schema() -> None:
    codes = {name: verdict.code for name, verdict in VERDICTS.items()}
    assert codes == {
        "wrong": 0,
        "correct": 1,
        "no_answer_extracted": 2,
        "no_gold_answer": 3,
        "ambiguous": 4,
    }
    assert list(codes.values()) == list(range(len(codes)))  # `verdict` is an index into its flags


def test_counts() -> None:
    counts = count(np.array([0, 1, 1, 2, 3, 3, 1], np.uint8))
    assert counts == (1, 3, 1, 2, 0) and counts.graded == 5
    found = accuracy(counts)
    assert float(found.values) == 0.6 and found.n == 5 and found.ok
    assert found.stderr is None and found.interval is not None
    assert tuple(found.interval) == pytest.approx(tuple(wilson(3, 5)))


def test_an_ambiguous_number_counts_as_not_correct() -> None:
    counts = count(np.array([0, 1, 4, 3], np.uint8))
    assert counts == (1, 1, 0, 1, 1) and counts.graded == 3
    assert float(accuracy(counts).values) == pytest.approx(1 / 3)


def test_nothing_to_grade() -> None:
    found = accuracy(count(np.array([3, 3])))
    assert np.isnan(found.values) and found.status == "insufficient: no problem has a gold answer"
    assert np.isnan(wilson(0, 0)).all()
