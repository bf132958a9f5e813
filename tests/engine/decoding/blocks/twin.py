"""Block diffusion written out: one row at a time, without a cache, by dense passes of the stock class
under the explicit mask of blocks, and every number from the definition.

It shares no line with the canvas, the packing, the cache or the head. Shapes: N tokens of a row so
far, K tokens of its open block, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface

from diffengine.engine.models.family import Blocks

DENSE = "dense_twin"


def dense_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Softmax attention in the dtype it is given; transformers' own eager one goes through
    float32."""
    repeat = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(repeat, 1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * scaling + attention_mask
    return (scores.softmax(-1) @ value).transpose(1, 2), None


AttentionInterface.register(DENSE, dense_attention)


@dataclass(frozen=True)
class Rule:
    """What the twin decodes by: `counts[s]` masks at step s of a block, the surest or the `first`
    ones; with a `threshold` all above it where they are more."""

    blocks: Blocks
    length: int
    gen_length: int
    counts: Sequence[int]
    mask_id: int
    eos_id: int
    read_offset: int = 0
    first: bool = False
    threshold: float = math.inf


class Pass(NamedTuple):
    """One step of a row: its open block is `block`, the first token of which is at `start` of the
    row. `before` and `after` [K] are its tokens, `states` [K, D] what its predictions are read at
    (NaN where there is none), `logits` [K, V] theirs, `previous` those of the step before in this
    block. `gap`: by how much the last position that committed was surer than the next."""

    block: int
    start: int
    before: Tensor
    after: Tensor
    states: Tensor
    logits: Tensor
    previous: Tensor | None
    gap: float


class Twin:
    """The stock class with weights of its own, under an attention that takes explicit masks."""

    def __init__(self, network: Any, *, attention: str = DENSE) -> None:
        """`network` is the one that the engine runs; its weights are copied. `attention` is what
        transformers calls it."""
        config = type(network.config)(**network.config.to_dict())
        config._attn_implementation = attention
        dtype = network.lm_head.weight.dtype
        self.network = type(network)(config).eval().requires_grad_(False).to(dtype)
        self.network.load_state_dict(network.state_dict())
        self.network.set_attn_implementation(attention)
        self.tokens = 0

    def states(self, tokens: Tensor, sees: Tensor) -> Tensor:
        """States [N, D] of one row under the mask `sees` [N, N]."""
        weight = self.network.lm_head.weight
        additive = torch.zeros(sees.shape, dtype=weight.dtype)
        additive[~sees] = torch.finfo(weight.dtype).min
        self.tokens += len(tokens)
        out = self.network.model(tokens[None], attention_mask=additive[None, None])
        states: Tensor = out.last_hidden_state[0]
        return states

    @torch.inference_mode()
    def decode(self, prompt: Sequence[int], rule: Rule) -> list[Pass]:
        """All steps of a row; ends with a block that holds the end of the text."""
        length = len(prompt)
        start = length if rule.blocks.from_prompt_end else length - length % rule.length
        end = length + rule.gen_length
        if rule.blocks.whole_last:
            while (end - start) % rule.length:
                end += 1
        tokens = torch.tensor([*prompt, *[rule.mask_id] * (end - length)])
        passes: list[Pass] = []
        for number, first in enumerate(range(start, end, rule.length)):
            here = slice(first, min(first + rule.length, end))
            sees = sees_of(here.stop, first, rule)
            previous = None
            step = 0
            while (tokens[here] == rule.mask_id).any():
                read, logits = self._read(tokens[: here.stop], sees, first, step, rule.read_offset)
                before = tokens[here].clone()
                after, gap = committed(before, logits, step, rule)
                one = Pass(number, first, before, after, read, logits, previous, gap)
                passes.append(one)
                tokens[here] = one.after
                previous = one.logits
                step += 1
            if rule.eos_id in tokens[max(first, length) : here.stop].tolist():
                break
        return passes

    def _read(
        self, tokens: Tensor, sees: Tensor, first: int, step: int, read_offset: int
    ) -> tuple[Tensor, Tensor]:
        """States [K, D] and logits [K, V] of the predictions of the block at `first`."""
        states = self.states(tokens, sees)
        at = torch.arange(first, len(tokens)) + read_offset
        read = states[at.clamp_min(0)]
        if read_offset < 0 and step > 0:
            read[0] = math.nan
        return read, read @ self.network.lm_head.weight.T


def sees_of(n: int, first: int, rule: Rule) -> Tensor:
    """Which of `n` tokens of a row see which [N, N], pair by pair, where the block at `first` is
    open."""

    def block(token: int) -> int:
        return (token - first) // rule.length

    def sees(query: int, key: int) -> bool:
        if rule.blocks.causal_context:
            return query >= first or key <= query
        return block(key) <= block(query)

    return torch.tensor([[sees(query, key) for key in range(n)] for query in range(n)])


def committed(before: Tensor, logits: Tensor, step: int, rule: Rule) -> tuple[Tensor, float]:
    """The block after a step, and the gap behind the last position that was chosen."""
    allowed = logits.clone()
    allowed[:, rule.mask_id] = -math.inf
    best = allowed.argmax(-1)
    probability = logits.softmax(-1)[torch.arange(len(logits)), best]
    masked = [place for place, token in enumerate(before.tolist()) if token == rule.mask_id]
    sure = {place: float(probability[place]) for place in masked}
    count = rule.counts[min(step, len(rule.counts) - 1)]
    order = masked if rule.first else sorted(masked, key=lambda place: (-sure[place], place))
    above = [place for place in masked if sure[place] > rule.threshold]
    chosen = above if len(above) >= count else order[:count]
    gap = math.inf
    if not rule.first and count < len(order):
        gap = sure[order[count - 1]] - sure[order[count]]
    after = before.clone()
    after[chosen] = best[chosen]
    return after, gap


def statistics(one: Pass, answer: Sequence[int], mask_id: int) -> dict[str, Tensor]:
    """What is recorded of a pass, [K] or [K, ...] each, from the definitions."""
    logits = one.logits
    logp = logits.log_softmax(-1)
    p = logp.exp()
    two = logits.topk(2).values
    without_mask = logits.clone()
    without_mask[:, mask_id] = -math.inf
    prediction = without_mask.argmax(-1)
    kl = torch.full_like(logits[:, 0], math.nan)
    if one.previous is not None:
        kl = (p * (logp - one.previous.log_softmax(-1))).sum(-1) / math.log(2)
    largest = logits.topk(16)
    return {
        "prediction": prediction,
        "logprob": logp[torch.arange(len(logp)), prediction],
        "margin": two[:, 0] - two[:, 1],
        "logsumexp": logits.logsumexp(-1),
        "entropy": -(p * logp).sum(-1) / math.log(2),
        "kl": kl,
        "logit_mean": logits.mean(-1),
        "logit_std": logits.std(-1, correction=0),
        "answer_logprob": logp[:, list(answer)],
        "topk_id": largest.indices,
        "topk_logit": largest.values,
        "hidden": one.states,
    }
