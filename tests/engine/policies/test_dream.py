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
from diffengine.engine.policies.dream import DreamPolicy, commit_counts, commit_shares
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
    assert not policy_of(numerics="reference").free_schedule


def test_only_what_is_asked_for_costs_a_pass() -> None:
    assert policy_of().sampling.shaping is None
    assert policy_of(top_p=0.5).sampling.shaping is None  # the greedy token is never cut off
    assert policy_of(temperature=1.0).sampling.shaping is None
    assert policy_of(temperature=1.0, top_p=0.5).sampling.shaping is not None
    assert policy_of(alg="entropy").sampling.shaping is not None


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


class OneRow:
    """A canvas of one row whose noise is that of step 0."""

    def __init__(self, n: int, key: int) -> None:
        self.generated = torch.full((1, n), 5)
        self.key = key

    def noise_counter(self) -> torch.Tensor:
        n = self.generated.shape[1]
        key = torch.full((n,), self.key)
        return torch.stack([key, torch.arange(n), torch.zeros(n, dtype=torch.int64)], 1)


def test_noise_in_the_order_is_draws_without_replacement() -> None:
    """Each ordered pair as often as two draws from softmax(score / alg_temp) have it."""
    policy = policy_of(alg="entropy", alg_temp=0.5)
    score = torch.tensor([[0.9, 0.2, 0.6, 0.3]])
    weights = (score[0] / 0.5).exp().tolist()
    n = 4000
    seen = dict.fromkeys(itertools.permutations(range(4), 2), 0)
    for key in range(n):
        canvas: Any = OneRow(4, key)
        first, second = policy._in_noise(canvas, score)[0].topk(2).indices.tolist()
        seen[first, second] += 1
    total = sum(weights)
    expected = [n * weights[a] / total * weights[b] / (total - weights[a]) for a, b in seen]
    assert chisquare(list(seen.values()), expected).pvalue > 1e-3


def test_the_order_has_noise_of_its_own() -> None:
    """Not that of LLaDA's random order, nor of any token."""
    policy = policy_of()
    canvas: Any = OneRow(500, 9)
    ours = policy._noise(canvas).flatten()
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
