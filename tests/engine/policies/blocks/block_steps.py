"""One step of a policy on open blocks that a test has laid out, without a model.

Shapes: B rows, K positions of a block, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffengine.engine.decoding.block_canvas import BlockCanvas
from diffengine.engine.decoding.block_layout import BlockLayout
from diffengine.engine.decoding.canvas import Room, RowFormat, Schedule
from diffengine.engine.decoding.policy import Policy, Update
from diffengine.engine.models.family import Blocks, TokenIds
from diffengine.engine.policies import make_policy, options_class
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt
from diffengine.kernels.head import Proposal
from diffengine.kernels.reference import logit_stats

VOCABULARY = 20
MASK = VOCABULARY - 1
EOS = 0


class Open(NamedTuple):
    """The open block of a row: its tokens [K], the first `tail` of which are the prompt's, and how
    many steps it has had, `full_steps` of them begun without a mask."""

    tokens: Sequence[int]
    tail: int = 0
    steps: int = 0
    full_steps: int = 0


def canvas_of(
    blocks: Sequence[Open],
    *,
    gen_length: int = 0,
    kind: Blocks | None = None,
    read_offset: int = 0,
) -> BlockCanvas:
    """Rows at their first block, in the order given; `gen_length` is a block's unless it is
    said, and blocks are counted from the prompt's first token unless `kind` says otherwise. Raises ValueError where tails do not ascend, since rows lie by the lengths of their
    prompts."""
    length = len(blocks[0].tokens)
    tails = [block.tail for block in blocks]
    if tails != sorted(tails):
        raise ValueError(f"tails are {tails}; give the rows by ascending tails")
    gen_length = gen_length or length
    canvas = BlockCanvas(
        RowFormat(gen_length=gen_length, mask_id=MASK, read_offset=read_offset),
        Schedule([True] * 10**4, free=True),
        Room(rows=len(blocks), tokens=10**6),
        layout=BlockLayout(kind or Blocks(length=length), length, gen_length),
        cache=None,
        device=torch.device("cpu"),
    )
    problem = Problem(id="p", question="", answer=None)
    prompts = []
    for place, block in enumerate(blocks):
        ids = (*[1] * length, *block.tokens[: block.tail])
        prompts.append(Prompt(problem, place, place, ids, ()))
    canvas.fill(iter(prompts))
    for row, block in zip(canvas.rows, blocks, strict=True):
        row.step = row.steps_in_block = block.steps
        row.steps_without_masks = block.full_steps
        row.n_masked = list(block.tokens).count(MASK)
    canvas.generated = torch.tensor([list(block.tokens) for block in blocks])
    canvas.sheets[:, :length] = canvas.generated
    return canvas


def policy_of(name: str, *, block_length: int, **options: Any) -> Policy:
    """The policy of a run that generates as many tokens as a block has, unless `options` say
    otherwise."""
    values = {"gen_length": block_length, "block_length": block_length} | options
    kind = options_class(name)
    tokens = TokenIds(MASK, EOS, None)
    return make_policy(name, kind.resolved(values, {}), tokens, n_candidates=VOCABULARY)


def step_of(policy: Policy, canvas: BlockCanvas, logits: Tensor) -> tuple[Update, Proposal]:
    """What the greedy policy decides by logits [B, K, V], less what the canvas does not allow, and
    the proposals that it had to choose from."""
    stats = logit_stats(logits.flatten(0, 1), exclude_id=MASK)
    proposal = Proposal(stats.top1_id, stats.top1_prob)
    return canvas.allowed(policy.step(canvas, proposal, stats)), proposal


def decide(
    policy: Policy, canvas: BlockCanvas, token: Tensor, confidence: Tensor, entropy: Tensor
) -> Update:
    """What the policy decides where these [B, K] are proposed, so sure, with so much entropy in
    bits; less what the canvas does not allow."""
    flat = token.flatten()
    stats = logit_stats(torch.zeros(len(flat), VOCABULARY))._replace(entropy=entropy.flatten())
    proposal = Proposal(flat, confidence.flatten())
    return canvas.allowed(policy.step(canvas, proposal, stats))
