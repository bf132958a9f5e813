"""What the policies of block diffusion share: they see the open block of each row, and say which of
its masks commit, which of its tokens are revised, and when it is over.

Their canvas is a `BlockCanvas`: `canvas.generated` [B, K] are the tokens of each row's open block,
those of the prompt's tail and positions behind a short last block included, none of which is a
mask; `canvas.written` [B, K] are the positions that are generated; `canvas.steps_in_block` is how
many steps each row has made in its block. Proposals and statistics are of these B * K positions.
Shapes: B rows, K positions of a block.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import torch
from torch import Tensor

from ...kernels.head import Proposal, Sampling
from ...kernels.reference import LogitStats
from ...kernels.shaping import Shaping
from ..decoding.block_canvas import BlockCanvas
from ..decoding.canvas import Canvas
from ..decoding.policy import Policy, Update
from ..models.family import TokenIds
from .block_diffusion_options import BlockDiffusionOptions, ShapedBlockOptions
from .parallel import Sight


class BlockPolicy(Policy):
    """One free schedule for all rules; a rule is what `choose` says. The mask token is never
    proposed."""

    free_schedule = True
    looks_back = 0

    def __init__(
        self, options: BlockDiffusionOptions, token_ids: TokenIds, *, n_candidates: int
    ) -> None:
        self.options = options
        # Chat models end a turn, and their authors stop at either.
        self.ends = {token_ids.eos, token_ids.eot} - {None}
        self.performed = [True] * options.steps
        self.sampling = sampling_of(options, token_ids, n_candidates)

    def block_of(self, step: int) -> int:
        """-1: rows are at blocks of their own."""
        return -1

    def step(self, canvas: Canvas, proposal: Proposal, stats: LogitStats) -> Update:
        """What the rule chooses of each row's block, and whether the block and the row are over
        then."""
        blocks = cast("BlockCanvas", canvas)
        masked = blocks.generated == blocks.mask_id
        update = self.choose(blocks, Sight(masked, proposal, stats))
        chosen = update.commit
        if blocks.read_offset < 0:
            # Only the block's first step has a prediction of its first token.
            chosen = chosen | (blocks.position == 0)
        update = update._replace(commit=chosen & masked)
        return update._replace(stopped=self._stopped(blocks, update))

    @abstractmethod
    def choose(self, canvas: BlockCanvas, sight: Sight) -> Update:
        """This step's commits, of which those at the masked positions `sight.eligible` [B, K] alone
        count, and where the rule has such: revisions, and which blocks are `closed`."""

    def _stopped(self, canvas: BlockCanvas, update: Update) -> Tensor | None:
        """Which rows [B] end with the block that closes now, for it holds the end of the text."""
        if not self.options.eos_early_stop:
            return None
        written = update.commit
        if update.revised is not None:
            written = written | update.revised
        after = torch.where(written, update.token, canvas.generated)
        closed = update.closed
        if closed is None:
            closed = (after != canvas.mask_id).all(-1)
        ended = torch.zeros_like(canvas.written)
        for token_id in self.ends:
            ended |= after == token_id
        return closed & (ended & canvas.written).any(-1)


def sampling_of(options: BlockDiffusionOptions, token_ids: TokenIds, n_candidates: int) -> Sampling:
    """Tokens drawn at a temperature, their confidence that of the model's own distribution; or, of
    a policy that shapes it, from what top-k and then top-p leave, their confidence that of what is
    left. At temperature 0 the most probable token with its own probability."""
    shaping = None
    if isinstance(options, ShapedBlockOptions) and options.temperature > 0:
        shaping = Shaping(top_p=options.top_p, top_k=options.top_k, top_k_first=True)
    return Sampling(
        temperature=options.temperature,
        seed=options.seed,
        exclude_id=token_ids.mask,
        n_candidates=n_candidates,
        shaping=shaping,
    )
