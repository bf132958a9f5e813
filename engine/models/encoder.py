"""A stock encoder for masked tokens, in the form that decoding knows: states, and one matrix that
projects them.

Such a network maps each state once more before it is projected (dense, activation, norm), and adds
a bias to the logits. Here the mapped states are the states, with one more feature that is always
1, and the matrix has the bias for a column, so that every logit is still a product of the two and
all that is computed of logits in their place stays exact. Features of zeros fill the width up.
Shapes: T packed tokens, R of them read, D features of the stock class, V rows of the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .forward import AnyPacking, AnyReads, Forward
from .reads import Reads

WIDTH_STEP = 8
"""The width is a multiple of this: 16 bytes of bfloat16, which matrix products on a GPU ask for."""


class Encoder(torch.nn.Module):
    """Made of a stock network that has `model`, `head` and `decoder`."""

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.config = stock.config
        self.model = States(stock)
        self.lm_head = torch.nn.Module()
        weight = torch.nn.Parameter(head_weight(stock.decoder), requires_grad=False)
        self.lm_head.register_parameter("weight", weight)


class States(torch.nn.Module):
    """The encoder and what maps its states."""

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.encoder = stock.model
        self.head = stock.head
        self.extra = _extra_features(stock.decoder)

    def forward(self, token_ids: Tensor, **arguments: Any) -> Any:
        """As the stock encoder, with the mapped states for its last ones."""
        arguments.pop("use_cache", None)
        out = self.encoder(token_ids, **arguments)
        out.last_hidden_state = self.mapped(out.last_hidden_state)
        return out

    def mapped(self, states: Tensor) -> Tensor:
        """The states [..., D] as the head's matrix expects them."""
        states = self.head(states)
        if not self.extra:
            return states
        with_one = F.pad(states, (0, 1), value=1.0)
        return F.pad(with_one, (0, self.extra - 1))


def head_weight(decoder: Any) -> Tensor:
    """The matrix [V, D] of a linear layer; [V, D + n] with its bias, if it has any, as column D and
    zeros behind it."""
    weight: Tensor = decoder.weight.detach()
    extra = _extra_features(decoder)
    if not extra:
        return weight
    with_bias = torch.cat([weight, decoder.bias.detach()[:, None]], dim=1)
    return F.pad(with_bias, (0, extra - 1))


def _extra_features(decoder: Any) -> int:
    if decoder.bias is None:
        return 0
    width: int = decoder.in_features
    return WIDTH_STEP - width % WIDTH_STEP


class EncoderForward(Forward):
    """The stock encoder over all tokens; only the states that are read are mapped."""

    @torch.inference_mode()
    def hidden_read(
        self, token_ids: Tensor, positions: Tensor, packing: AnyPacking, reads: AnyReads
    ) -> Tensor:
        """The states [R, D] of the tokens that are read."""
        states = self.network.model
        out = states.encoder(token_ids[None], position_ids=positions[None], packing=packing)
        mapped: Tensor = states.mapped(out.last_hidden_state[0][reads.read])
        return mapped

    def flops(self, reads: AnyReads) -> int:
        """FLOPs of the last call of `hidden_read` with these `reads`, padding not counted."""
        assert isinstance(reads, Reads)
        return encoder_flops(self.network.config, reads.lengths, read=len(reads.read))


def encoder_flops(config: Any, lengths: Sequence[int], *, read: int) -> int:
    """FLOPs of an encoder over rows of these lengths and of mapping `read` states; of attention
    those of the pairs of tokens that see each other.

    `config` is transformers': hidden_size, intermediate_size, layer_types, sliding_window (of each
    side).
    """
    width: int = config.hidden_size
    projections = 4 * width * width
    mlp = 3 * width * config.intermediate_size
    reaches = [
        config.sliding_window if kind == "sliding_attention" else None
        for kind in config.layer_types
    ]
    pairs = sum(seen_pairs(length, reach) for reach in reaches for length in lengths)
    of_tokens = len(reaches) * sum(lengths) * (projections + mlp)
    mapped = read * width * width
    return int(2 * (of_tokens + 2 * pairs * width + mapped))


def seen_pairs(length: int, reach: int | None) -> int:
    """How many ordered pairs of a row's tokens are at most `reach` positions apart; all without a
    reach."""
    if reach is None or reach >= length - 1:
        return length * length
    return length * (2 * reach + 1) - reach * (reach + 1)
