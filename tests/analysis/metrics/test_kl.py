"""KL groups partition the positions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffengine.analysis.metrics import kl as divergence
from diffengine.analysis.metrics.block import read_block

Columns = dict[str, np.ndarray]


def test_three_groups_by_hand(make_columns: Callable[..., Columns]) -> None:
    columns = make_columns(3, 8, 8)
    commit = read_block(columns).commit_step
    steps = np.arange(8)[None, :, None]
    columns["kl"] = np.where(
        steps <= commit[:, None], 1.0, np.where(steps == commit[:, None] + 1, 10.0, 0.25)
    ).astype(np.float32)
    columns["kl"][:, 0] = np.nan
    block = read_block(columns)
    assert (divergence.over_masked(block)[:, 1:] == 1.0).all()
    assert (divergence.over_just_committed(block)[:, 1:] == 10.0).all()
    committed = divergence.over_committed(block)
    assert (committed[:, 2:] == 0.25).all() and np.isnan(committed[:, :2]).all()
    for name in ("over_all", "over_masked", "over_just_committed"):
        assert np.isnan(getattr(divergence, name)(block)[:, 0]).all()


def test_all_is_the_mean_over_positions(make_columns: Callable[..., Columns]) -> None:
    columns = make_columns(3, 6, 6)
    np.testing.assert_allclose(
        divergence.over_all(read_block(columns)), columns["kl"].mean(axis=2), rtol=1e-6
    )


def test_across_a_step_that_was_not_performed(make_columns: Callable[..., Columns]) -> None:
    """With step 2 left out, what step 1 committed is `just committed` at step 3."""
    columns = make_columns(1, 4, 3)
    columns["committed"][:] = 0
    columns["committed"][0, 0, 0] = columns["committed"][0, 1, 1] = columns["committed"][
        0, 3, 2
    ] = 1
    columns["performed"][0, 2] = 0
    columns["kl"][0] = [[np.nan] * 3, [5, 1, 1], [np.nan] * 3, [0.5, 7, 2]]
    block = read_block(columns)
    assert divergence.over_just_committed(block)[0, 3] == 7
    assert (
        divergence.over_committed(block)[0, 3] == 0.5 and divergence.over_masked(block)[0, 3] == 2
    )
