"""A forward pass that leaves out what nobody reads, by the modules of a stock decoder.

The head reads one state for each generated token, so the last layer asks, mixes and maps only
those; its keys and values are of all tokens. On a CPU the first layer's queries, keys and values
stay from pass to pass, since tokens of a prompt never change, and elementwise work is done in
place. What is computed is computed by the stock layer's own operations in their order, so that on a
CPU every value is the stock one's, bit for bit. Shapes: T packed tokens, N of them asked for, W of
them written, R of them read, D features, H heads, d head size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...kernels.matrix_product import safe_rows
from .attention import Packing, PartPacking, packed_attention
from .flops import network_flops
from .forward import AnyPacking, AnyReads, Forward
from .reads import Reads

LAYERS = {"LlamaDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer", "Qwen3MoeDecoderLayer"}
"""Stock layers of input_layernorm, self_attn (q, k, v, o, perhaps norms of q and k by head),
post_attention_layernorm and mlp, with Llama's rotation. A network of others runs as it is."""

IN_PLACE = {"SiLUActivation", "SiLU"}
"""Activations that `torch.nn.functional.silu` computes in place."""


class Rope(NamedTuple):
    """Cosine and sine [T, H or 1, d] of each token's position; the first half of the sine has its
    sign turned."""

    cos: Tensor
    sin: Tensor

    def rotated(self, x: Tensor) -> Tensor:
        """Queries or keys [T, H, d] rotated, in the dtype of cos; may overwrite `x`."""
        half = x.shape[-1] // 2
        heads = slice(x.shape[1])
        x = x.to(self.cos.dtype)
        swapped = torch.cat((x[..., half:], x[..., :half]), dim=-1)
        return x.mul_(self.cos[:, heads]).add_(swapped.mul_(self.sin[:, heads]))

    def of(self, tokens: Tensor) -> Rope:
        """Those of some of the tokens."""
        return Rope(self.cos[tokens], self.sin[tokens])


class Projected(NamedTuple):
    """A layer's rotated queries [N, H, d], rotated keys and values [T, H, d]."""

    query: Tensor
    key: Tensor
    value: Tensor


class ReadingForward(Forward):
    """The stock decoder's layers, over the tokens that are read as far as the layers allow."""

    @torch.inference_mode()
    def hidden_read(
        self, token_ids: Tensor, positions: Tensor, packing: AnyPacking, reads: AnyReads
    ) -> Tensor:
        """The states [R, D] of the tokens that are read.

        Tokens outside of `reads.written` must be those of the call before with the same `reads`.
        """
        assert isinstance(packing, Packing) and isinstance(reads, Reads)
        decoder = self.network.model
        kept = reads.kept
        if kept.network is not self.network:
            _enter(self.network, positions, reads)
        if token_ids.device.type == "cpu":
            states, projected = _before_last(decoder, token_ids, packing, reads)
        else:
            states, projected = _all_before_last(decoder, token_ids, packing, reads)

        last = decoder.layers[-1]
        if projected is None:
            normed = last.input_layernorm(states)
            asking = normed[reads.asked]
            projected = _projected(last.self_attn, normed, kept.rope, asking, kept.rope_asked)
        else:
            projected = projected._replace(query=projected.query[reads.asked])
        states = _mapped(last, states[reads.asked], projected, reads.packing)
        normed_states: Tensor = decoder.norm(states[reads.among])
        return normed_states

    def flops(self, reads: AnyReads) -> int:
        """FLOPs of the last call of `hidden_read` with these `reads`, padding not counted."""
        assert isinstance(reads, Reads)
        renewed = min(reads.kept.renewed, sum(reads.lengths))
        return network_flops(
            self.network.config, reads.lengths, asked=reads.counts, renewed=renewed
        )


def forward_of(network: Any) -> Forward:
    """The pass that leaves out most of what nobody reads, for a network on its device."""
    return ReadingForward(network) if is_known(network) else Forward(network)


def is_known(network: Any) -> bool:
    """Whether `network` is made of layers that `ReadingForward` knows."""
    return all(type(layer).__name__ in LAYERS for layer in network.model.layers)


def _enter(network: Any, positions: Tensor, reads: Reads) -> None:
    """Forget what another network kept, and look up the rotations."""
    decoder = network.model
    like = decoder.embed_tokens.weight[:1, None]
    cos, sin = decoder.rotary_emb(like, position_ids=positions[None])
    half = sin.shape[-1] // 2
    turned = torch.cat((-sin[0, :, :half], sin[0, :, half:]), dim=-1)
    rope = Rope(cos[0, :, None], turned[:, None])
    if positions.device.type == "cpu":
        # a table as wide as the queries is read in one sweep
        heads = network.config.num_attention_heads
        rope = Rope(rope.cos.repeat(1, heads, 1), rope.sin.repeat(1, heads, 1))

    kept = reads.kept
    kept.network = network
    kept.stock_rope = (cos, sin)
    kept.rope = rope
    kept.rope_asked = rope.of(reads.asked)
    kept.rope_written = rope.of(reads.written)
    kept.states = None
    kept.first = None


def _all_before_last(
    decoder: Any, token_ids: Tensor, packing: Packing, reads: Reads
) -> tuple[Tensor, Projected | None]:
    """States [T, D] that enter the last layer, by the stock layers over all tokens."""
    kept = reads.kept
    states = decoder.embed_tokens(token_ids[None])
    for layer in decoder.layers[:-1]:
        states = layer(
            states, attention_mask=None, position_embeddings=kept.stock_rope, packing=packing
        )
    kept.renewed = len(token_ids)
    return states[0], None


def _before_last(
    decoder: Any, token_ids: Tensor, packing: Packing, reads: Reads
) -> tuple[Tensor, Projected | None]:
    """States [T, D] that enter the last layer, and its projections where it is the first one
    too."""
    kept = reads.kept
    _renew_first(decoder, token_ids, reads)
    states = kept.states
    projected = kept.first
    for layer in decoder.layers[:-1]:
        if projected is None:
            normed = layer.input_layernorm(states)
            projected = _projected(layer.self_attn, normed, kept.rope, normed, kept.rope)
        states = _mapped(layer, states, projected, packing)
        projected = None
    return states, projected


def _renew_first(decoder: Any, token_ids: Tensor, reads: Reads) -> None:
    """What enters the first layer and its projections, computed anew for the tokens that may have
    changed."""
    kept = reads.kept
    layer = decoder.layers[0]
    partly = kept.states is not None and len(reads.written) >= safe_rows()
    rope = kept.rope_written if partly else kept.rope
    states = decoder.embed_tokens(token_ids[reads.written] if partly else token_ids)
    normed = layer.input_layernorm(states)
    first = _projected(layer.self_attn, normed, rope, normed, rope)
    kept.renewed = len(states)
    if not partly:
        kept.states = states
        kept.first = first
        return
    kept.states[reads.written] = states
    for whole, part in zip(kept.first, first, strict=True):
        whole[reads.written] = part


def _projected(
    attention: Any, normed: Tensor, rope: Rope, asking: Tensor, rope_asking: Rope
) -> Projected:
    """Keys and values of all tokens [T, D], queries of those that ask [N, D]."""
    size = attention.head_dim
    query = attention.q_proj(asking).unflatten(-1, (-1, size))
    key = attention.k_proj(normed).unflatten(-1, (-1, size))
    value = attention.v_proj(normed).unflatten(-1, (-1, size))
    if hasattr(attention, "q_norm"):
        query = attention.q_norm(query)
        key = attention.k_norm(key)
    return Projected(rope_asking.rotated(query), rope.rotated(key), value)


def _mapped(
    layer: Any, residual: Tensor, projected: Projected, packing: Packing | PartPacking
) -> Tensor:
    """What a layer makes of the states [N, D] of the asking tokens, given its projections."""
    attention = layer.self_attn
    query, key, value = (part.transpose(0, 1)[None] for part in projected)
    mixed, _ = packed_attention(attention, query, key, value, None, attention.scaling, packing)
    states = attention.o_proj(mixed[0].flatten(1)).add_(residual)
    normed = layer.post_attention_layernorm(states)
    return _through_mlp(layer.mlp, normed).add_(states)


def _through_mlp(mlp: Any, normed: Tensor) -> Tensor:
    in_place = hasattr(mlp, "gate_proj") and type(mlp.act_fn).__name__ in IN_PLACE
    if normed.device.type != "cpu" or not in_place:
        states: Tensor = mlp(normed[None])[0]
        return states
    gate = F.silu(mlp.gate_proj(normed), inplace=True)
    mapped: Tensor = mlp.down_proj(gate.mul_(mlp.up_proj(normed)))
    return mapped
