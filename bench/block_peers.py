"""diffusers' LLaDA2 pipeline over a checkpoint of ours: another implementation of block diffusion,
which needs no checkpoint of LLaDA2 to be compared with.

It brings sampler and loop, and asks a network for the logits of a whole row; the network is the
same stock class under the mask of blocks, and never proposes the mask token.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..engine.config import RunConfig
from ..engine.models.block_attention import BlockPacking, Span, seen_by_blocks
from ..engine.models.loading import MaskedDiffusionModel
from ..engine.policies.llada2_options import LLaDA2Options
from ..engine.prompts.prompt import Prompt


class WholeRow(torch.nn.Module):
    """The network as the pipeline calls it: all tokens so far, each time."""

    def __init__(self, model: MaskedDiffusionModel, block_length: int) -> None:
        super().__init__()
        self.model = model
        self.block_length = block_length
        self.token_forwards = 0

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @torch.inference_mode()
    def forward(
        self, x: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> SimpleNamespace:
        """Logits [1, T, V] of one row's tokens [1, T]; the mask that comes along has no blocks."""
        tokens = x.shape[1]
        allowed = seen_by_blocks(
            range(tokens),
            block_length=self.block_length,
            shift=0,
            open_from=None,
            device=x.device,
        )
        packing = BlockPacking((Span(0, tokens, 0, -1, allowed),), None, x.device)
        positions = torch.arange(tokens, device=x.device)
        hidden = self.model.hidden(x[0], positions, packing)
        logits = (hidden @ self.model.head_weight.T).float()
        logits[:, self.model.token_ids.mask] = -torch.inf
        self.token_forwards += tokens
        return SimpleNamespace(logits=logits[None])


def diffusers_pipeline(
    model: MaskedDiffusionModel, config: RunConfig, prompts: list[Prompt]
) -> tuple[dict[str, list[int]], int]:
    """Tokens by problem id, and how many tokens went through the network. Raises ImportError where
    diffusers is not installed."""
    from diffusers.pipelines.llada2.pipeline_llada2 import LLaDA2Pipeline
    from diffusers.schedulers.scheduling_block_refinement import BlockRefinementScheduler

    options = config.sampler
    assert isinstance(options, LLaDA2Options) and not options.revises
    network = WholeRow(model, options.block_length)
    scheduler = BlockRefinementScheduler(block_length=options.block_length)
    pipeline: Any = LLaDA2Pipeline(model=network, scheduler=scheduler, tokenizer=model.tokenizer)
    pipeline.set_progress_bar_config(disable=True)
    tokens = {}
    for prompt in prompts:
        result = pipeline(
            input_ids=torch.tensor([prompt.token_ids]),
            gen_length=options.gen_length,
            block_length=options.block_length,
            num_inference_steps=options.block_length,
            temperature=0.0,
            sampling_method="greedy",
            threshold=options.threshold,
            editing_threshold=None,
            eos_early_stop=False,
            eos_token_id=model.token_ids.eos,
            mask_token_id=model.token_ids.mask,
            output_type="seq",
        )
        tokens[prompt.problem.id] = result.sequences[0].tolist()
    return tokens, network.token_forwards
