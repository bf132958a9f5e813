"""A run whose one block is all positions is analysed as one that attends fully: the same numbers to
the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.information.features import narrow_features, states
from diffengine.analysis.results import Analysis

PROBLEMS, STEPS, POSITIONS = 130, 12, 12


@pytest.fixture(scope="module")
def runs(make_run: Callable[..., Any]) -> tuple[Any, Any]:
    def made(*, of_blocks: bool) -> Any:
        run = make_run(PROBLEMS, STEPS, POSITIONS, answer=[[5, 6]] * PROBLEMS)
        run._columns["answer_start"] -= 1
        run._columns["kl"][:, 0] = np.nan
        rng = np.random.default_rng(1)
        for name in ("logsumexp", "logit_mean", "logit_std"):
            values = rng.uniform(1, 9, (PROBLEMS, STEPS, POSITIONS))
            run._columns[name] = values.astype(np.float32)
        if of_blocks:
            shape = (PROBLEMS, STEPS)
            run._columns["open_start"] = np.zeros(shape, np.int32)
            run._columns["open_end"] = np.full(shape, POSITIONS, np.int32)
            run._columns["revised"] = np.zeros((*shape, POSITIONS), np.uint8)
            run.info["config"]["block_length"] = POSITIONS
        else:
            del run.info["config"]["block_length"]
        return run

    return made(of_blocks=False), made(of_blocks=True)


@pytest.fixture(scope="module")
def both(runs: tuple[Any, Any]) -> tuple[Analysis, Analysis]:
    return analyze_run(runs[0]), analyze_run(runs[1])


def test_the_same_numbers(both: tuple[Analysis, Analysis]) -> None:
    full, blocks = both
    in_block = "emergence/commit_order_in_block"
    for name, quantity in full.quantities.items():
        if name == in_block:
            continue
        other = blocks[name]
        assert other.status == quantity.status, name
        for part in ("values", "n", "stderr", "interval"):
            one, two = getattr(quantity, part), getattr(other, part)
            assert (one is None) == (two is None), name
            if one is not None:
                np.testing.assert_array_equal(np.asarray(two), np.asarray(one), err_msg=name)
    np.testing.assert_array_equal(
        blocks[in_block].values, full["emergence/commit_order"].values, strict=True
    )


def test_the_same_problems_and_curve(both: tuple[Analysis, Analysis]) -> None:
    full, blocks = both
    for name, column in full.problems.items():
        if name != "commit_order_in_block":
            np.testing.assert_array_equal(blocks.problems[name], column, err_msg=name)
    assert repr(blocks.s_curve) == repr(full.s_curve)
    assert repr(blocks.spikes) == repr(full.spikes)
    assert blocks.patterns == full.patterns


def test_the_same_features(runs: tuple[Any, Any]) -> None:
    full, blocks = (narrow_features(run) for run in runs)
    np.testing.assert_array_equal(blocks["belief"], full["belief"])
    np.testing.assert_allclose(blocks["summary"], full["summary"], rtol=1e-12)
    steps = np.arange(STEPS)
    for (_, one), (_, two) in zip(states(runs[0], steps), states(runs[1], steps), strict=True):
        np.testing.assert_array_equal(two, one)
