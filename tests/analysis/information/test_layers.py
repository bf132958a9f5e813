"""Several samples of a problem and mutual information: nothing is found where there is nothing,
though samples of one problem lie beside each other; permutations and folds keep problems whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sampled_runs import run_of, telling_columns

from diffengine.analysis.information import estimate
from diffengine.analysis.information.beyond_first_step import beyond_first_step
from diffengine.analysis.information.curve import Point
from diffengine.analysis.information.layers import MOST_LAYERS, layers_of, mean_point
from diffengine.analysis.information.over_steps import mutual_information
from diffengine.analysis.information.targets import targets_of

PROBLEMS, SAMPLES, STEPS, WIDTH = 120, 4, 3, 6


def test_layers_hold_one_row_of_each_problem() -> None:
    assert layers_of(np.array([3, 1, 3, 7, 3, 1])).tolist() == [
        [1, 0, 3],
        [5, 2, 3],
        [1, 4, 3],  # problem 1 has two rows, and comes round again
    ]
    assert layers_of(np.arange(5)).tolist() == [[0, 1, 2, 3, 4]]
    assert layers_of(np.zeros(9, int)).tolist() == [[0], [1], [2], [3]] and MOST_LAYERS == 4
    assert layers_of(np.zeros(0, int)).shape == (1, 0)


def test_the_point_of_several_layers() -> None:
    first = Point(0.1, 0.03, np.array([0.1, 0.5]), False)
    second = Point(0.3, 0.04, np.array([0.3, 0.1]), True)
    found = mean_point([first, second])
    assert (found.nats, found.stderr) == pytest.approx((0.2, (0.0025 / 2) ** 0.5))
    np.testing.assert_allclose(found.null, [0.2, 0.3])
    assert found.limited and mean_point([first]) is first


def alike_columns(make_columns: Callable[..., Any], seed: int) -> dict[str, np.ndarray]:
    """Problems that differ much and whose samples hardly do, each with an outcome that was drawn
    without looking at it: features know which problem a row is of, and nothing of its outcome."""
    rng = np.random.default_rng(seed)
    rows = PROBLEMS * SAMPLES
    columns = telling_columns(make_columns(rows, STEPS, 4))
    columns["verdict"] = np.repeat(rng.integers(0, 2, PROBLEMS), SAMPLES).astype(np.uint8)

    def of_problem(*shape: int) -> np.ndarray:
        own = np.repeat(rng.normal(size=(PROBLEMS, *shape)), SAMPLES, axis=0)
        return own + 0.01 * rng.normal(size=own.shape)

    level = of_problem(STEPS, 1)
    narrow = {name: np.exp(0.3 * level) for name in ("entropy", "margin", "logit_std")}
    narrow |= {"logprob": -np.exp(of_problem(STEPS, 1)), "logsumexp": level, "logit_mean": level}
    for name, values in narrow.items():
        columns[name] = np.broadcast_to(values, (rows, STEPS, 4)).astype(np.float32)
    columns["state_answer"] = of_problem(STEPS, WIDTH).astype(np.float32)
    columns["committed"] = np.zeros_like(columns["committed"])
    columns["committed"][:, -1] = 1
    columns["answer_start"] = np.full(rows, 3, np.int32)
    columns["answer_end"] = np.full(rows, 4, np.int32)
    return columns


def in_groups(columns: dict[str, np.ndarray], fake_run: type) -> Any:
    rows = PROBLEMS * SAMPLES
    groups = [f"p{row // SAMPLES:03d}" for row in range(rows)]
    return run_of(fake_run, columns, groups, [row % SAMPLES for row in range(rows)])


def test_no_information_is_found_where_there_is_none(
    make_columns: Callable[..., Any], fake_run: type
) -> None:
    """Taken for problems of their own, the same rows have .6 bits and more, significant at every
    step: neighbours are of one problem, and folds hold what they were to predict. In groups none of
    six estimators finds any, at 5 % for the six together."""
    columns = alike_columns(make_columns, seed=0)
    found = mutual_information(in_groups(columns, fake_run), permutations=199).quantities
    rows = PROBLEMS * SAMPLES
    apart = run_of(fake_run, columns, [f"p{row}" for row in range(rows)], [0] * rows)
    leaking = mutual_information(apart, permutations=79).quantities
    for name in ("ross", "ross_summary"):
        assert (leaking[f"mi/{name}"].values > 0.6).all()
        assert (leaking[f"mi_p/{name}"].values == 1 / 80).all()
    for name in ("ross", "ross_summary", "binning", "gcmi", "decoder", "ross_oof"):
        quantity = found[f"mi/{name}"]
        assert (quantity.n == PROBLEMS).all() and quantity.ok
        assert (np.abs(quantity.values) < 4 * quantity.stderr + 0.02).all()
        assert (found[f"mi_p/{name}"].values > 0.05 / 6).all()


def test_a_decoder_that_sees_other_samples_of_a_problem_leaks() -> None:
    """Each problem has a direction of its own in many columns, so that a decoder that has seen one
    sample of it knows the others' outcome."""
    rng = np.random.default_rng(1)
    y = np.repeat(rng.integers(0, 2, 100), 4)
    x = np.repeat(rng.normal(size=(100, 300)), 4, axis=0) + 0.1 * rng.normal(size=(400, 300))
    problems = np.repeat(np.arange(100), 4)
    leaking = estimate("decoder", x, y).bits
    whole = estimate("decoder", x, y, groups=problems).bits
    assert leaking > 0.5 and whole < 0.05


def test_chance_alone_is_significant_as_often_as_it_should_be(
    make_columns: Callable[..., Any], fake_run: type
) -> None:
    """p-values of 12 runs without information: with whole problems permuted they are spread out."""
    p_values = []
    for seed in range(12):
        run = in_groups(alike_columns(make_columns, seed=100 + seed), fake_run)
        found = mutual_information(run, permutations=39).quantities
        p_values.append(float(found["mi_p/gcmi"].values.min()))
    assert np.mean(p_values) > 0.3 and sum(p <= 0.05 for p in p_values) <= 3


def test_a_targets_problems(make_columns: Callable[..., Any], fake_run: type) -> None:
    columns = alike_columns(make_columns, seed=0)
    columns["verdict"][:6] = 2  # the first problem has no answer, the second in two samples
    target = targets_of(in_groups(columns, fake_run))["correct"]
    assert target.layers.shape == (4, PROBLEMS - 1)
    assert target.rows[target.layers[:, 0]].tolist() == [6, 7, 6, 7]
    assert target.first_rows[:2].tolist() == [6, 8]


def test_beyond_the_first_step_is_of_one_sample_each(
    make_columns: Callable[..., Any], fake_run: type
) -> None:
    columns = telling_columns(make_columns(PROBLEMS * 2, 4, 4))
    columns["answer_start"], columns["answer_end"] = (
        np.full(PROBLEMS * 2, 3, np.int32),
        np.full(PROBLEMS * 2, 4, np.int32),
    )
    columns["verdict"] = np.random.default_rng(0).integers(0, 2, PROBLEMS * 2).astype(np.uint8)
    groups = [f"p{row // 2}" for row in range(PROBLEMS * 2)]
    both = beyond_first_step(run_of(fake_run, columns, groups, [0, 1] * PROBLEMS))
    firsts = {k: v if k == "block" else v[::2] for k, v in columns.items()}
    once = beyond_first_step(run_of(fake_run, firsts, groups[::2], [0] * PROBLEMS))
    for name, quantity in once.quantities.items():
        np.testing.assert_array_equal(both.quantities[name].values, quantity.values)
        np.testing.assert_array_equal(both.quantities[name].n, quantity.n)
