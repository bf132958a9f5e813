"""Dream's schedule against the splits that the published code makes; and that what is left to
chance has the chances it should."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from diffengine.engine.config import RunConfig
from diffengine.engine.models.family import TokenIds
from diffengine.engine.options import ConfigError
from diffengine.engine.policies.dream import (
    DreamPolicy,
    commit_counts,
    commit_shares,
    share_of,
)
from diffengine.engine.policies.dream_options import DreamOptions
from diffengine.kernels.noise import SCORE_DOMAIN, position_noise

TOKENS = TokenIds(5, 1, 4)


@pytest.mark.parametrize(
    ("masks", "steps", "expected"),
    [
        (10, 4, [2, 2, 2, 4]),
        (32, 12, [2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4]),
        (3, 8, [0, 0, 0, 0, 0, 0, 1, 2]),
        (8, 8, [0, 1, 1, 1, 1, 1, 1, 2]),
        (5, 1, [5]),
    ],
)
def test_shares_are_rounded_down_as_published(masks: int, steps: int, expected: list[int]) -> None:
    """Worked out beforehand, with the published eps of 0.001."""
    assert commit_counts(masks, commit_shares(steps, 1e-3)) == expected


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 512])
def test_every_position_commits_once(eps: float, steps: int) -> None:
    shares = commit_shares(steps, eps)
    assert len(shares) == steps
    assert shares[-1] == 1.0
    assert all(0 <= share <= 1 for share in shares)
    assert sum(commit_counts(256, shares)) == 256


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.25])
def test_counts_are_rounded_as_torch_rounds_the_published_product(eps: float) -> None:
    """Where the product is a whole number but for its last bits, its dtype decides."""
    for steps in (2, 9, 12, 27, 64):
        t = torch.linspace(1, eps, steps + 1)
        shares = commit_shares(steps, eps)
        for n in range(1, 129):
            for i in range(steps - 1):
                published = int(torch.tensor(n) / 1 * (1 - t[i + 1] / t[i]))
                assert share_of(n, shares[i]) == published


def test_a_share_is_that_of_two_noise_levels() -> None:
    shares = commit_shares(4, 0.2)  # t is 1, 0.8, 0.6, 0.4, 0.2
    assert shares == pytest.approx([0.2, 0.25, 1 / 3, 1.0], abs=1e-6)


def policy_of(**changes: Any) -> DreamPolicy:
    settings = {"steps": 8, "gen_length": 8} | changes
    return DreamPolicy(DreamOptions(**settings), TOKENS, n_candidates=100)


def test_the_first_step_that_commits_nothing_is_stepped_over() -> None:
    assert policy_of(alg="entropy").performed == [False] + [True] * 7
    literal = policy_of(alg="entropy", numerics="reference")
    assert literal.performed == [True] * 8
    assert literal.free_schedule and not policy_of(alg="entropy").free_schedule
    by_chance = policy_of()
    assert by_chance.performed == [True] * 8
    # Where the mask token may be proposed, a position may be picked again.
    literal_by_chance = policy_of(numerics="reference")
    assert literal_by_chance.performed_for(7) == [True] * 8 != by_chance.performed_for(7)
    assert not literal_by_chance.free_schedule


def test_only_what_is_asked_for_costs_a_pass() -> None:
    assert policy_of().sampling.shaping is None
    assert policy_of(top_p=0.5).sampling.shaping is None  # the greedy token is never cut off
    assert policy_of(temperature=1.0).sampling.shaping is None
    assert policy_of(temperature=1.0, top_p=0.5).sampling.shaping is not None
    shaping = policy_of(alg="entropy").sampling.shaping
    assert shaping is not None
    assert (shaping.score, shaping.log_offset) == ("entropy", 1e-10)  # as published


@pytest.mark.parametrize(
    "changes",
    [{"alg": "p2"}, {"eps": -0.1}, {"top_p": 1.5}, {"top_k": -1}, {"alg_temp": -1.0}],
    ids=str,
)
def test_what_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        DreamOptions(**changes)


def test_by_chance_positions_commit_when_the_chances_say() -> None:
    """The chance of step i is its share, times that of having been left over until then."""
    policy = policy_of(steps=5, gen_length=40, eps=0.3, seed=3)
    counts = np.array([policy._commits_by_chance(key) for key in range(300)])
    assert (counts.sum(1) == 40).all()
    expected = []
    left = 1.0
    for share in policy.shares:
        expected.append(left * share * counts.sum())
        left -= left * share
    assert chisquare(counts.sum(0), expected).pvalue > 1e-3
    assert policy.performed_for(7) == [count > 0 for count in counts[7]]


class Rows:
    """A canvas of rows at step 0, whose problems have the keys 0, 1, ..."""

    def __init__(self, rows: int, positions: int) -> None:
        self.generated = torch.full((rows, positions), 5)

    def noise_counter(self) -> torch.Tensor:
        rows, positions = self.generated.shape
        key = torch.arange(rows).repeat_interleave(positions)
        position = torch.arange(positions).repeat(rows)
        return torch.stack([key, position, torch.zeros_like(key)], 1)


def test_noise_in_the_order_is_draws_without_replacement() -> None:
    """Each ordered pair as often as two draws from softmax(score / alg_temp) have it."""
    policy = policy_of(alg="entropy", alg_temp=0.5)
    n = 4000
    canvas: Any = Rows(n, 4)
    score = torch.tensor([[0.9, 0.2, 0.6, 0.3]])
    pairs = policy._in_noise(canvas, score.expand(n, 4)).topk(2).indices.tolist()
    seen = dict.fromkeys(itertools.permutations(range(4), 2), 0)
    for first, second in pairs:
        seen[first, second] += 1
    weights = (score[0] / 0.5).exp().tolist()
    total = sum(weights)
    expected = [n * weights[a] / total * weights[b] / (total - weights[a]) for a, b in seen]
    assert chisquare(list(seen.values()), expected).pvalue > 1e-3


def test_the_order_has_noise_of_its_own() -> None:
    """Not that of LLaDA's random order, nor of any token."""
    canvas: Any = Rows(1, 500)
    ours = policy_of()._noise(canvas).flatten()
    theirs = position_noise(canvas.noise_counter(), seed=0, domain=SCORE_DOMAIN)
    assert not torch.equal(ours, theirs)
    assert abs(float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1])) < 0.15


@pytest.mark.parametrize("alg", ["entropy", "maskgit_plus"])
def test_the_smallest_noise_in_the_order_leaves_every_commit_a_mask(
    alg: str, random_model: Any, packed: Any, prompts_of: Any
) -> None:
    """Scores divided by it are infinite; those of committed positions must stay the lowest."""
    settings = {"policy": "dream", "alg": alg, "alg_temp": 1e-320, "gen_length": 8, "steps": 8}
    config = RunConfig.of(model="m", record="masked", **settings)
    prompts = prompts_of(random_model, 8)[:2]
    for columns in packed(random_model, config, prompts).values():
        assert columns["committed"].sum(1).tolist() == [0, 1, 1, 1, 1, 1, 1, 2]
        assert (columns["committed"].sum(0) == 1).all()


def test_by_chance_only_steps_that_commit_are_run(
    random_model: Any, packed: Any, prompts_of: Any
) -> None:
    settings = {"policy": "dream", "alg": "origin", "gen_length": 8, "steps": 12}
    prompts = prompts_of(random_model, 8)[:3]
    columns = packed(random_model, RunConfig.of(model="m", **settings), prompts)
    schedules = set()
    for each in columns.values():
        commits = each["committed"].any(1)
        assert each["performed"].tolist() == commits.tolist()
        assert each["n_forwards"] == commits.sum() < 12
        schedules.add(tuple(commits.tolist()))
    assert len(schedules) == 3
