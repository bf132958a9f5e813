"""LLaDA's schedule, against the splits that the published code makes."""

from __future__ import annotations

import pytest
import torch

from diffengine.engine.models.family import TokenIds
from diffengine.engine.policies.commits import highest, transfer_counts
from diffengine.engine.policies.llada import LLaDAPolicy
from diffengine.engine.policies.llada_options import LLaDAOptions


@pytest.mark.parametrize(
    ("masks", "steps", "expected"),
    [
        (10, 4, [3, 3, 2, 2]),
        (32, 12, [3] * 8 + [2] * 4),
        (3, 8, [1, 1, 1, 0, 0, 0, 0, 0]),
        (8, 8, [1] * 8),
        (5, 1, [5]),
    ],
)
def test_transfers_are_split_as_published(masks: int, steps: int, expected: list[int]) -> None:
    assert transfer_counts(masks, steps) == expected


def test_the_schedule_commits_each_position_once() -> None:
    options = LLaDAOptions(steps=40, gen_length=32, block_length=8)
    policy = LLaDAPolicy(options, TokenIds(5, 1, 4), n_candidates=100)
    assert len(policy.commits_per_step) == 40
    assert sum(policy.commits_per_step) == 32
    assert [policy.block_of(s) for s in (0, 9, 10, 39)] == [0, 0, 1, 3]
    assert policy.performed == [c > 0 for c in policy.commits_per_step]


def test_ties_go_to_the_lowest_positions() -> None:
    score = torch.zeros(2, 3000)
    score[1, 1000:2000] = 1.0

    class OnDevice:
        @staticmethod
        def on_device(values: list[int]) -> torch.Tensor:
            return torch.tensor(values)

    chosen = highest(score, [5, 1003], OnDevice())  # type: ignore[arg-type]
    assert chosen[0].nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    assert chosen[1].nonzero().flatten().tolist() == [0, 1, 2, *range(1000, 2000)]
