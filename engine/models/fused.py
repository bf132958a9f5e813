"""The network with norm, rotation and gated activation in one pass over memory each, as `--fused`
asks for.

The same weights and products as the stock class; between them `kernels.layers`, which on a CPU is
plain torch with the stock class's own bits and on a GPU a kernel. The network must be a stock Llama
without biases. Shapes: T packed tokens, D features.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...kernels.dispatch import add_rms_norm, gated, rotated
from .attention import Packing, packed_attention
from .family import CheckpointError
from .forward import AnyPacking, Forward
from .loading import MaskedDiffusionModel, refuse_blocks

FITTING = "LlamaForCausalLM"


class FusedForward(Forward):
    """The layers as written here, over all tokens."""

    @torch.inference_mode()
    def hidden(self, token_ids: Tensor, positions: Tensor, packing: AnyPacking) -> Tensor:
        """Final hidden states [T, D] as the stock class gives them; on a GPU within rounding."""
        assert isinstance(packing, Packing)
        decoder = self.network.model
        states = decoder.embed_tokens(token_ids)
        cos, sin = decoder.rotary_emb(states[None], position_ids=positions[None])
        update: Tensor | None = None
        for layer in decoder.layers:
            states, normed = _normed(layer.input_layernorm, states, update)
            update = _attended(layer.self_attn, normed, cos[0], sin[0], packing)
            states, normed = _normed(layer.post_attention_layernorm, states, update)
            update = _transformed(layer.mlp, normed)
        return _normed(decoder.norm, states, update)[1]


def fused(model: MaskedDiffusionModel) -> MaskedDiffusionModel:
    """`model` with its layers fused in decoding; the weights are shared. CheckpointError for a
    class that is not a Llama, and for a family that attends block by block."""
    refuse_blocks(model, "--fused")
    name = type(model.network).__name__
    if name != FITTING:
        raise CheckpointError(
            f"--fused: the network is a {name}, expected a {FITTING}; run without --fused"
        )
    return replace(model, forward=FusedForward(model.network))


def _normed(norm: Any, states: Tensor, update: Tensor | None) -> tuple[Tensor, Tensor]:
    return add_rms_norm(states, update, norm.weight, eps=norm.variance_epsilon)


def _attended(attention: Any, normed: Tensor, cos: Tensor, sin: Tensor, packing: Packing) -> Tensor:
    def by_head(projection: Any) -> Tensor:
        heads: Tensor = projection(normed).unflatten(-1, (-1, attention.head_dim))
        return heads  # [T, H, d]

    query = rotated(by_head(attention.q_proj), cos, sin)
    key = rotated(by_head(attention.k_proj), cos, sin)
    value = by_head(attention.v_proj)
    query, key, value = (part.transpose(0, 1)[None] for part in (query, key, value))  # [1, H, T, d]
    mixed, _ = packed_attention(
        attention, query, key, value, None, scaling=attention.scaling, packing=packing
    )
    out: Tensor = attention.o_proj(mixed[0].flatten(1))
    return out


def _transformed(mlp: Any, normed: Tensor) -> Tensor:
    out: Tensor = mlp.down_proj(gated(mlp.gate_proj(normed), mlp.up_proj(normed)))
    return out
