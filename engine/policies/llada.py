"""LLaDA's sampler: blocks from left to right, a fixed number of commits per step, most confident
first.

Nie et al. 2025, "Large Language Diffusion Models", Algorithms 4 and 5, with the options of the
published generate.py. Shapes: B rows, G generated positions.
"""

from __future__ import annotations

import torch

from ...kernels.head import Proposal, Sampling
from ...kernels.noise import position_noise
from ...kernels.reference import LogitStats
from ..decoding.canvas import Canvas
from ..decoding.policy import Policy, Update
from ..models.family import TokenIds
from .commits import highest, topk_of_whole_rows, transfer_counts
from .llada_options import LLaDAOptions


class LLaDAPolicy(Policy):
    """Schedule x score x commit rule for one run. The schedule is known on the host: no step asks
    the device."""

    Options = LLaDAOptions
    looks_back = 0

    def __init__(self, options: LLaDAOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        self.options = options
        self.mask_id = token_ids.mask
        self.literal = options.published_numerics
        self.sampling = _sampling(options, token_ids, n_candidates)
        self.commits_per_step = (
            transfer_counts(options.block_length, options.steps_per_block) * options.n_blocks
        )
        self.performed = [count > 0 for count in self.commits_per_step]
        self.ends = [
            options.block_length * (self.block_of(step) + 1) for step in range(options.steps)
        ]

    def block_of(self, step: int) -> int:
        """The block, from 0, that a step works on."""
        return step // self.options.steps_per_block

    def step(self, canvas: Canvas, proposal: Proposal, stats: LogitStats) -> Update:
        """Choose this step's commits from proposals for all generated positions [B * G]."""
        shape = canvas.generated.shape
        token = proposal.token.view(shape)
        confidence = proposal.confidence.view(shape)
        if self.options.remasking == "random":
            seed = self.options.seed
            confidence = position_noise(canvas.noise_counter(), seed=seed).view(shape)

        ends = [self.ends[step] for step in canvas.steps]
        counts = canvas.due(self.commits_per_step, self.ends)
        masked = canvas.generated == self.mask_id
        # No lower bound: a position that an earlier block left masked stays eligible, as in the
        # reference.
        eligible = masked & (canvas.position < canvas.on_device(ends)[:, None])
        score = torch.where(eligible, confidence, -torch.inf)

        if self.literal:
            chosen = topk_of_whole_rows(score, counts, canvas)
        else:
            chosen = highest(score, counts, canvas)

        # A transfer of the mask token itself (the reference allows it) leaves the position as it
        # was, and only the device knows it.
        countable = self.sampling.exclude_id == self.mask_id
        return Update(token, chosen, counts if countable else None)


def _sampling(options: LLaDAOptions, token_ids: TokenIds, n_candidates: int) -> Sampling:
    literal = options.published_numerics
    quiet: tuple[int, ...] = ()
    if options.confidence_eos_eot_inf:
        # At temperature 0 the reference's two names are one tensor, so both ids are silenced; above
        # 0, EoT alone.
        both = (token_ids.eos, token_ids.eot) if options.temperature == 0 else (token_ids.eot,)
        quiet = tuple(i for i in both if i is not None)
    return Sampling(
        temperature=options.temperature,
        seed=options.seed,
        suppress=(token_ids.eos,) if options.logits_eos_inf else (),
        confidence_suppress=quiet,
        exclude_id=None if literal else token_ids.mask,
        n_candidates=None if literal else n_candidates,
        literal=literal,
    )
