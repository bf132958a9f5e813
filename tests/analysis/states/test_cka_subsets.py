"""CKA over position subsets, step by step pair: a slow twin in logits, and what a run without
hidden states says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from diffengine.analysis.states.cka_subsets import cka_subsets, of_problem


def hsic(k: np.ndarray, l: np.ndarray) -> float:
    """Song et al. 2012, eq. 5, written out."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (
        one @ k @ l @ one
    )
    return (np.trace(k @ l) + middle) / (n * (n - 3))


def twin(one: np.ndarray, other: np.ndarray) -> float:
    k, l = one @ one.T, other @ other.T
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def test_against_logits_pair_by_pair() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(4, 12, 5)).astype(np.float32)
    hidden += 2 * hidden[:1]
    hidden[2] = np.nan
    head, commit = (
        rng.normal(size=(30, 5)).astype(np.float32),
        np.array([0, 0, 0, 0, 0, 1, 3, 3, 4, 4, 4, 4]),
    )
    found = of_problem(hidden, np.arange(4)[:, None] <= commit, head)
    logits = hidden.astype(float) @ head.T.astype(float)
    for one in range(4):
        for other in range(4):
            late, early = max(one, other), min(one, other)
            for name, rows in (("masked", commit >= late), ("committed", commit < early)):
                if 2 in (one, other) or rows.sum() < 4:
                    assert np.isnan(found[name][one, other])
                else:
                    expected = twin(logits[one][rows], logits[other][rows])
                    np.testing.assert_allclose(found[name][one, other], expected, rtol=1e-4)


@pytest.mark.parametrize("unread", [False, True])
def test_positions_that_a_step_did_not_read_are_in_neither(unread: bool) -> None:
    """Of a run that is decoded block by block: the first two steps read 7 positions, the last two
    the other 5, of which steps 0 and 2 see all masked, 1 sees two and 3 one committed."""
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(4, 12, 5)).astype(np.float32) + 3
    hidden[1] += 2 * hidden[0]
    hidden[3] += 2 * hidden[2]
    hidden[:2, 7:] = hidden[2:, :7] = np.nan
    masked = np.isfinite(hidden[..., 0]) | unread
    masked[1, :2] = False
    masked[3, 7] = False
    head = rng.normal(size=(30, 5)).astype(np.float32)
    found = of_problem(hidden, masked, head)
    logits = hidden.astype(float) @ head.T.astype(float)
    first = twin(logits[0, 2:7], logits[1, 2:7])
    second = twin(logits[2, 8:], logits[3, 8:])
    np.testing.assert_allclose(found["masked"][0, 1], first, rtol=1e-4)
    np.testing.assert_allclose(found["masked"][3, 2], second, rtol=1e-4)
    assert np.isnan(found["masked"][:2, 2:]).all()
    assert np.isnan(found["committed"]).all()


def test_runs_with_and_without_hidden_states(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run = make_run(6, 8, 8)
    without = cka_subsets(run, steps=8)
    assert all(
        "--save-logits hidden" in one.status and one.values.shape == (8, 8)
        for one in without.values()
    )
    run.path = tmp_path
    rng = np.random.default_rng(1)
    run._columns["hidden"] = rng.normal(size=(6, 8, 8, 4)).astype(np.float32)
    with h5py.File(tmp_path / "head.h5", "w") as file:
        file["weight"] = rng.normal(size=(20, 4)).astype(np.float32)
    found = cka_subsets(run, steps=8)
    assert found["cka/matrix_masked"].ok and found["cka/matrix_masked"].n[0, 0] == 6
    np.testing.assert_allclose(found["cka/matrix_masked"].values[0, 0], 1, atol=1e-5)
    assert found["cka/matrix_committed"].n[0, 0] == 0 and found["cka/matrix_committed"].n[7, 7] > 0
