"""Each condition on its edge, by numbers that binary fractions hold exactly: strict or not, and what
commits where nothing is accepted."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from diffengine.engine.decoding.canvas import Canvas
from diffengine.engine.decoding.policy import Policy
from diffengine.kernels.head import Proposal
from diffengine.kernels.reference import LogitStats, logit_stats

sys.path.append(str(Path(__file__).parent))
from parallel_steps import MASK, VOCABULARY, canvas_of, policy_of

LN2 = math.log(2)
JUST_LESS = math.nextafter(0.5, 0)


def numbers(n: int, **bits: list[float]) -> LogitStats:
    """Statistics of `n` positions with these columns."""
    stats = logit_stats(torch.zeros(n, VOCABULARY))
    return stats._replace(**{name: torch.tensor(values) for name, values in bits.items()})


def commits(
    policy: Policy, confidence: list[float], canvas: Canvas | None = None, **bits: list[float]
) -> list[int]:
    """The positions of one row that commit; all of them are masked unless a canvas is given."""
    n = len(confidence)
    if canvas is None:
        canvas = canvas_of(torch.full((1, n), MASK))
    token = torch.arange(n)
    proposal = Proposal(token, torch.tensor(confidence))
    update = canvas.allowed(policy.step(canvas, proposal, numbers(n, **bits)))
    return update.commit[0].nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("tau", "expected"), [(0.5, [0, 2]), (math.nextafter(0.5, 1), [0]), (0.25, [0, 1, 2, 3])]
)
def test_threshold_is_not_strict(tau: float, expected: list[int]) -> None:
    policy = policy_of("threshold", gen_length=4, threshold=tau)
    assert commits(policy, [0.5, 0.25, 0.5, 0.25]) == expected


def test_factor_is_not_strict_and_leaves_the_last_of_a_block_that_fails() -> None:
    # The second needs 1 - 1.5 / 3, the third 1 - 1.5 / 4.
    policy = policy_of("factor", gen_length=3, factor=1.5)
    assert commits(policy, [0.1, 0.5, 0.5]) == [1, 2]
    assert commits(policy, [0.5, 0.625, JUST_LESS]) == [0, 1]
    assert commits(policy, [0.625, 0.625, 0.625]) == [0, 1, 2]
    assert commits(policy, [0.9, 0.9, 0.1]) == [0, 1]
    assert commits(policy_of("factor", gen_length=2, factor=0.0), [0.9, 0.9]) == [0]
    assert commits(policy_of("factor", gen_length=2, factor=0.0), [1.0, 1.0]) == [0, 1]
    assert commits(policy_of("factor", gen_length=2, factor=-1.0), [1.0, 1.0]) == [0]


def test_factor_takes_the_last_of_a_block_that_alone_fails_where_it_is_asked_to() -> None:
    policy = policy_of("factor", gen_length=3, factor=1.5, take_last=True)
    assert commits(policy, [0.9, 0.9, 0.1]) == [0, 1, 2]
    assert commits(policy, [0.9, 0.1, 0.1]) == [0]
    assert commits(policy, [0.1, 0.1], canvas_of(torch.full((1, 2), MASK))) == [0, 1]
    assert commits(policy, [0.9, 0.1, 0.9], canvas_of(torch.tensor([[MASK, MASK, 1]]))) == [0, 1]


def test_entropy_threshold_is_in_nats_and_not_strict() -> None:
    policy = policy_of("entropy_threshold", gen_length=3, max_entropy=LN2)
    assert commits(policy, [0.0] * 3, entropy=[1.5, 1.0, 1.0]) == [1, 2]
    assert commits(policy, [0.0] * 3, entropy=[1.5, 1.25, 2.0]) == [1]


def test_entropy_bound_leaves_the_largest_out_and_is_not_strict() -> None:
    policy = policy_of("entropy_bound", gen_length=4, bound=0.5 * LN2)
    assert commits(policy, [0.0] * 4, entropy=[2.0, 0.5, 0.5, 1.0]) == [1, 2]
    assert commits(policy, [0.0] * 4, entropy=[2.0, 0.125, 0.125, 9.0]) == [0, 1, 2]
    assert commits(policy, [0.0] * 4, entropy=[2.0, 1.0, 3.0, 1.0]) == [1]


def test_the_largest_entropy_so_far_is_left_out_where_confidence_orders() -> None:
    policy = policy_of("entropy_bound", gen_length=3, bound=0.5 * LN2, order="confidence")
    assert commits(policy, [0.9, 0.8, 0.7], entropy=[4.0, 0.25, 0.5]) == [0, 1]
    assert commits(policy, [0.7, 0.9, 0.8], entropy=[1.0, 0.125, 0.125]) == [0, 1, 2]


def test_the_first_that_breaks_the_bound_ends_the_run() -> None:
    """An entropy may come out below 0 by its rounding; what follows it does not commit."""
    policy = policy_of("entropy_bound", gen_length=3, bound=0.25 * LN2, order="confidence")
    assert commits(policy, [0.9, 0.8, 0.7], entropy=[1.0, 0.5, -0.5]) == [0]


def test_margin_is_not_strict() -> None:
    policy = policy_of("margin", gen_length=3, min_margin=0.5)
    assert commits(policy, [0.5, JUST_LESS - 0.25, 0.75]) == [0, 2]


@pytest.mark.parametrize(
    ("confidence", "kl", "expected"),
    [
        ([0.75, 0.75, 0.75], [0.5, 0.75, 1.0], [0, 1]),  # not stable at the threshold itself
        ([0.75, 0.5, 0.75], [0.5, 0.5, 0.5], [0, 2]),  # not sure at the threshold itself
        ([0.5, 0.75, 0.5], [0.5, math.nan, 0.5], [1]),  # none ready: the surest
        ([0.5, 0.5, 0.25], [1.0, 1.0, 1.0], [0]),
    ],
)
def test_klass_is_strict_twice_and_in_nats(
    confidence: list[float], kl: list[float], expected: list[int]
) -> None:
    options: dict[str, Any] = {"kl_threshold": LN2, "confidence_threshold": 0.5, "history": 1}
    policy = policy_of("klass", gen_length=3, **options)
    assert commits(policy, confidence, kl=kl) == expected


def test_klass_commits_what_is_ready_and_not_the_schedule_as_well() -> None:
    policy = policy_of("klass", gen_length=6, steps=2, kl_threshold=1.0, history=1)
    assert commits(policy, [0.95, 0.5, 0.5, 0.5, 0.5, 0.5], kl=[0.5] * 6) == [0]
    assert commits(policy, [0.85, 0.5, 0.5, 0.6, 0.7, 0.5], kl=[0.5] * 6) == [0, 3, 4]


@pytest.mark.parametrize(
    ("step", "gap"), [(0, 4.0), (31, 4.0), (32, 2.0), (65, 2.0), (66, 1.0), (99, 1.0)]
)
def test_prophet_ends_at_the_gap_of_its_third(step: int, gap: float) -> None:
    """33 of 100 steps are no longer the first third, 67 no longer the second."""
    gaps = {"gap_early": 4.0, "gap_middle": 2.0, "gap_late": 1.0}
    policy = policy_of("prophet", gen_length=100, answer_start=98, answer_length=9, **gaps)
    for mean, ends in ((gap, True), (math.nextafter(gap, 0), False)):
        canvas = canvas_of(torch.full((1, 100), MASK))
        canvas.rows[0].step = step
        margin = torch.zeros(100, dtype=torch.float64)
        margin[98] = 2 * mean
        proposal = Proposal(torch.zeros(100, dtype=torch.int64), torch.arange(100.0))
        update = policy.step(canvas, proposal, numbers(100)._replace(margin=margin))
        assert update.stopped is not None and update.stopped.tolist() == [ends]
        assert int(update.commit.sum()) == (100 if ends else 1)
        assert ends or bool(update.commit[0, 99])


def test_prophet_reads_positions_that_are_committed_already_and_fills_every_block() -> None:
    options: dict[str, Any] = {"block_length": 2, "answer_start": 0, "answer_length": 2}
    policy = policy_of("prophet", gen_length=6, **options)
    canvas = canvas_of(torch.tensor([[3, 4, MASK, MASK, 5, MASK]]))
    high = [8.0, 7.0, 0.0, 0.0, 0.0, 0.0]
    assert commits(policy, [0.1] * 6, canvas, margin=high) == [2, 3, 5]


@pytest.mark.parametrize("name", ["threshold", "factor", "entropy_bound", "klass"])
def test_only_the_first_block_with_a_mask_is_worked_on(name: str) -> None:
    policy = policy_of(name, gen_length=6, block_length=2)
    canvas = canvas_of(torch.tensor([[3, 3, MASK, 3, MASK, MASK]]))
    assert commits(policy, [1.0] * 6, canvas, entropy=[0.0] * 6, kl=[0.0] * 6) == [2]
