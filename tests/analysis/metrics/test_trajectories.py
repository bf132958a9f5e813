"""The pass over a run: rows in place, block size without influence, checks on what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.metrics import trajectories
from diffengine.analysis.metrics.trajectories import positions_missing, read_trajectories
from diffengine.analysis.registry import METRICS


def test_block_size_changes_nothing(
    make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(11, 6, 8, answer=[[1] * (1 + row % 3) for row in range(11)])
    whole = read_trajectories(run)
    monkeypatch.setattr(trajectories, "BLOCK_BYTES", 1)
    single = read_trajectories(run)
    for name in METRICS:
        np.testing.assert_array_equal(single.metrics[name], whole.metrics[name])
    for name, column in whole.columns.items():
        np.testing.assert_array_equal(single.columns[name], column)
    np.testing.assert_allclose(single.cka_matrix.mean, run["cka"].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        single.cka_matrix.stderr, run["cka"].std(axis=0, ddof=1) / 11**0.5, rtol=1e-5
    )


def test_blocks_are_bounded(make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run, sizes = make_run(9, 6, 8), []
    original = run.blocks

    def spy(names: Any, *, max_problems: int) -> Any:
        sizes.append(max_problems)
        return original(names, max_problems=max_problems)

    run.blocks = spy
    monkeypatch.setattr(trajectories, "BLOCK_BYTES", 3 * 4 * 6 * (8 * 4 + 6))
    read_trajectories(run)
    assert sizes == [3]


def test_columns(make_run: Callable[..., Any]) -> None:
    run = make_run(3, 8, 8, answer=[[4, 4], [], [3]])
    run["answer_start"][0], run["answer_start"][2], run["answer_end"][2] = 6, -1, -1
    columns = read_trajectories(run).columns
    assert columns["gold_length"].tolist() == [2, 0, 1] and columns["slot_status"].tolist() == [
        0,
        1,
        2,
    ]
    commits = run["committed"][0].argmax(axis=0)
    assert columns["answer_commit_step"].tolist() == [
        commits[6:8].max(),
        run["committed"][1].argmax(axis=0)[7],
        -1,
    ]
    assert columns["answer_token_id"].tolist() == [[4, 4], [-1, -1], [3, -1]]


def test_contradicting_masks_are_counted(make_run: Callable[..., Any]) -> None:
    run = make_run(5)
    assert read_trajectories(run).mismatched_masks == 0
    run["n_masked"][3, 2] += 1
    assert read_trajectories(run).mismatched_masks == 1


def test_no_problem(make_run: Callable[..., Any]) -> None:
    found = read_trajectories(make_run(0, 6, 8))
    assert all(
        values.shape == (0, 6) for values in found.metrics.values()
    ) and found.cka_matrix.n.shape == (6, 6)


def test_positions_missing(make_run: Callable[..., Any]) -> None:
    every, masked = METRICS.load("entropy/all"), METRICS.load("entropy/masked")
    assert not positions_missing(make_run(), every) and positions_missing(
        make_run(record="masked"), every
    )
    assert not positions_missing(make_run(record="masked"), masked)
