"""Dream's sampler: the whole canvas at once, a share of the masks at each step, picked by chance or
the surest first.

Which positions `origin` commits is drawn beforehand, so the host knows each problem's schedule, and
its steps that commit nothing, a third of them at one token a step, need no forward pass.

Ye et al. 2025, "Dream 7B" (arXiv 2508.15487), as `_sample` of the published generation_utils.py
does it. Shapes: B rows, G generated positions, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...kernels.head import Proposal, Sampling
from ...kernels.noise import ORDER_DOMAIN, position_noise
from ...kernels.reference import LogitStats
from ...kernels.shaping import Shaping
from ...kernels.transfer import on_device
from ..decoding.canvas import Canvas
from ..decoding.policy import Policy, Update
from ..models.family import TokenIds
from .commits import highest, topk_of_whole_rows
from .dream_options import DreamOptions

SCORES = {"maskgit_plus": "probability", "topk_margin": "margin", "entropy": "entropy"}
LOG_OFFSET = 1e-10
"""What the published code adds to a probability before it takes the logarithm."""

FINITE = torch.finfo(torch.float64).max

ROWS_KEPT = 4096
"""Problems whose drawn schedule is kept: more than are ever on a canvas."""


class DreamPolicy(Policy):
    """One share of the masked positions a step. The host knows how many commit, as long as the mask
    token is never proposed."""

    Options = DreamOptions
    looks_back = 0

    def __init__(self, options: DreamOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        self.options = options
        self.by_chance = options.alg == "origin"
        self.literal = options.published_numerics
        self.sampling = _sampling(options, token_ids, n_candidates)
        self.shares = commit_shares(options.steps, options.eps)
        # Where the mask token may be proposed, a step leaves more masks than it should, and the
        # next ones commit a share of those: then the host asks how many there are.
        self.free_schedule = self.literal and not self.by_chance
        self.commits_per_step = commit_counts(options.gen_length, self.shares)
        self.performed = [True] * options.steps
        if not (self.by_chance or self.literal):
            self.performed = [count > 0 for count in self.commits_per_step]
        self._commits_by_chance = lru_cache(ROWS_KEPT)(self._drawn)

    def performed_for(self, key: int) -> Sequence[bool]:
        """As the contract says: by chance, the steps at which some position of this problem is
        picked."""
        if self.literal or not self.by_chance:
            return self.performed
        return [count > 0 for count in self._commits_by_chance(key)]

    def step(self, canvas: Canvas, proposal: Proposal, stats: LogitStats) -> Update:
        """Choose this step's commits from proposals for all generated positions [B * G]."""
        shape = canvas.generated.shape
        token = proposal.token.view(shape)
        masked = canvas.masked.view(shape)
        if self.by_chance:
            counts = None if self.literal else self._counts_by_chance(canvas)
            return Update(token, masked & self._chosen_by_chance(canvas), counts)

        score = proposal.confidence.view(shape)
        if self.options.alg_temp > 0:
            score = self._in_noise(canvas, score)
        score = torch.where(masked, score, -torch.inf)
        if self.literal:
            published = self._counts_of_masks(canvas)
            return Update(token, topk_of_whole_rows(score, published, canvas))
        counts = canvas.due(self.commits_per_step)
        return Update(token, highest(score, counts, canvas), counts)

    def _chosen_by_chance(self, canvas: Canvas) -> Tensor:
        """Which positions [B, G] the step commits if they are masked."""
        shares = [self.shares[step] for step in canvas.steps]
        share = on_device(shares, canvas.device, torch.float64)
        return self._noise(canvas) < share[:, None]

    def _counts_by_chance(self, canvas: Canvas) -> list[int]:
        return [self._commits_by_chance(row.prompt.key)[row.step] for row in canvas.rows]

    def _drawn(self, key: int) -> list[int]:
        """How many positions of one problem each step commits by chance: those that it picks and no
        step before has picked."""
        options = self.options
        noise = noise_of_problem(key, options.steps, options.gen_length, seed=options.seed)
        picked = noise < np.array(self.shares)[:, None]
        commit_step = picked.argmax(0)  # the last step picks all
        counts: list[int] = np.bincount(commit_step, minlength=options.steps).tolist()
        return counts

    def _in_noise(self, canvas: Canvas, score: Tensor) -> Tensor:
        """Scores whose highest k are k draws without replacement from softmax(score / alg_temp).

        Kool et al. 2019, "Stochastic beams and where to find them", section 2.3.
        """
        gumbel = -(-self._noise(canvas).log()).log()
        divided = (score / self.options.alg_temp).double()
        # A tiny alg_temp makes them infinite, and -inf is no position's that may commit.
        return divided.clamp(-FINITE, FINITE) + gumbel

    def _noise(self, canvas: Canvas) -> Tensor:
        counter = canvas.noise_counter()
        noise = position_noise(counter, seed=self.options.seed, domain=ORDER_DOMAIN)
        return noise.view(canvas.generated.shape)

    def _counts_of_masks(self, canvas: Canvas) -> list[int]:
        """Each row's share of the masks that it has now."""
        counts = []
        for row in canvas.rows:
            n_masked = canvas.gen_length if row.n_masked is None else row.n_masked
            counts.append(share_of(n_masked, self.shares[row.step]))
        return counts


def noise_of_problem(key: int, steps: int, gen_length: int, *, seed: int) -> np.ndarray:
    """The noise [S, G] by which positions are picked, for one problem, made on the host."""
    step = torch.arange(steps)[:, None].expand(steps, gen_length)
    position = torch.arange(gen_length).expand(steps, gen_length)
    counter = torch.stack([torch.full_like(step, key), position, step], dim=-1)
    noise = position_noise(counter.flatten(0, 1), seed=seed, domain=ORDER_DOMAIN)
    return noise.view(steps, gen_length).numpy()


def commit_shares(steps: int, eps: float) -> list[float]:
    """The share 1 - s / t of the masks that each step commits, t falling from 1 to `eps` in even
    steps; the last one commits all. In float32, as the published code has it."""
    t = torch.linspace(1, eps, steps + 1)
    shares = 1 - t[1:] / t[:-1]
    shares[-1] = 1.0
    values: list[float] = shares.tolist()
    return values


def commit_counts(n_masked: int, shares: list[float]) -> list[int]:
    """How many of `n_masked` positions each step commits, at each its share of those left."""
    counts = []
    for share in shares:
        count = share_of(n_masked, share)
        counts.append(count)
        n_masked -= count
    return counts


def share_of(n_masked: int, share: float) -> int:
    """`n_masked` times `share`, rounded down after a product in float32, as published."""
    return int(np.float32(n_masked) * np.float32(share))


def _sampling(options: DreamOptions, token_ids: TokenIds, n_candidates: int) -> Sampling:
    literal = options.published_numerics
    score = SCORES.get(options.alg)
    shaping = Shaping(
        top_p=options.top_p,
        top_k=options.top_k,
        score=score or "probability",
        log_offset=LOG_OFFSET,
    )
    # By chance nobody asks how sure a token is, and the greedy one is never cut off.
    needs_shaping = score is not None or (options.temperature > 0 and shaping.cuts)
    return Sampling(
        temperature=options.temperature,
        seed=options.seed,
        exclude_id=None if literal else token_ids.mask,
        n_candidates=None if literal else n_candidates,
        literal=literal,
        shaping=shaping if needs_shaping else None,
    )
