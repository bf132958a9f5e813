"""Prophet: LLaDA's schedule, and an end to it as soon as the answer is beyond doubt.

Li et al. 2025, "Diffusion Language Models Know the Answer Before Decoding" (arXiv 2508.19982). In
each step the gap of the two largest logits is averaged over the positions where the answer is
expected, committed or not; from a threshold on, which falls with the share of the steps that are
done (this one included: below .33, below .67, beyond), all masks take the proposed tokens at once
and the row ends. The published evaluation also pins the words before the answer to their places
("200:The|201:answer|202:is"), which is no part of this policy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...kernels.head import Proposal
from ...kernels.reference import LogitStats
from ...kernels.transfer import on_device
from ..decoding.canvas import Canvas
from ..decoding.policy import Policy, Update
from ..models.family import TokenIds
from .commits import highest, transfer_counts
from .parallel import sampling_of
from .parallel_options import ProphetOptions

EARLY = 0.33
MIDDLE = 0.67


class ProphetPolicy(Policy):
    """LLaDA's commits until the gap says that it is enough."""

    Options = ProphetOptions
    free_schedule = True
    reads_committed = True
    looks_back = 0

    def __init__(self, options: ProphetOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        self.options = options
        self.sampling = sampling_of(options, token_ids, n_candidates)
        self.performed = [True] * options.steps
        of_block = transfer_counts(options.block_length, options.steps_per_block)
        self.commits_per_step = of_block * options.n_blocks
        self.ends = [
            options.block_length * (self.block_of(step) + 1) for step in range(options.steps)
        ]

    def block_of(self, step: int) -> int:
        """The block, from 0, that a step works on."""
        return step // self.options.steps_per_block

    def step(self, canvas: Canvas, proposal: Proposal, stats: LogitStats) -> Update:
        """The most confident positions of the block, or all masks of a row that ends here."""
        shape = canvas.generated.shape
        masked = canvas.generated == canvas.mask_id
        ends = [self.ends[step] for step in canvas.steps]
        eligible = masked & (canvas.position < canvas.on_device(ends)[:, None])

        confidence = proposal.confidence.view(shape)
        score = torch.where(eligible, confidence, -torch.inf)
        counts = canvas.due(self.commits_per_step, self.ends)
        scheduled = highest(score, counts, canvas)

        over = self._over(canvas, stats.margin.view(shape))
        commit = torch.where(over[:, None], masked, scheduled)
        return Update(proposal.token.view(shape), commit, stopped=over)

    def _over(self, canvas: Canvas, gap: Tensor) -> Tensor:
        """Which rows [B] end, by the logit gaps [B, G] in nats."""
        mean = gap[:, self.options.answer].double().mean(-1)
        enough = [self._enough(step) for step in canvas.steps]
        return mean >= on_device(enough, canvas.device, torch.float64)

    def _enough(self, step: int) -> float:
        progress = (step + 1) / self.options.steps
        if progress < EARLY:
            return self.options.gap_early
        if progress < MIDDLE:
            return self.options.gap_middle
        return self.options.gap_late
