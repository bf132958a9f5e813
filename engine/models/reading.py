"""A forward pass that leaves out what nobody reads, by the modules of a stock decoder.

The head reads the generated positions alone, so the last layer asks, mixes and maps only those; its
keys and values are of all tokens. On a CPU the first layer's queries, keys and values stay from
pass to pass, since tokens of a prompt never change, and elementwise work is done in place. What is
computed is computed by the stock layer's own operations in their order, so that on a CPU every
value is the stock one's, bit for bit. Knows nothing of canvases. Shapes: T packed tokens, N of them
asked for, R of them read, D features, H heads, d head size.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...kernels.matrix_product import safe_rows
from ...kernels.transfer import on_device
from .attention import Packing, PartPacking, packed_attention

LAYERS = {"LlamaDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer", "Qwen3MoeDecoderLayer"}
"""Stock layers of input_layernorm, self_attn (q, k, v, o, perhaps norms of q and k by head),
post_attention_layernorm and mlp, with Llama's rotation. A network of others runs as it is."""

TILE = 32
"""Torch's attention on a CPU takes this many queries at a time, or a multiple."""

FEW = 3
"""So few queries in the last tile go through another matrix product, whose last bits differ: one
on Intel's processors, up to three on AMD's (measured with oneMKL 2024.2)."""

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


@dataclass
class Kept:
    """What `network` keeps from pass to pass over the same rows; the last pass put `renewed` tokens
    through the first layer's projections. `rope` is of all tokens, `rope_asked` [N, ...] of those
    that the last layer asks for, and
    `rope_read` [R, ...] of those that change; `states` [T, D] enter the first layer, which makes
    `first` of them."""

    network: Any = None
    stock_rope: Any = None
    rope: Any = None
    rope_asked: Any = None
    rope_read: Any = None
    states: Any = None
    first: Any = None
    renewed: int = 0


@dataclass(frozen=True)
class Reads:
    """Which packed tokens are read; they alone may differ from pass to pass.

    `read` [R] are those tokens. `asked` [N] go through the whole last layer: the last `counts[i]`
    of the `lengths[i]` tokens of row i. `among` [R] finds the read ones among them.
    """

    read: Tensor
    asked: Tensor
    among: Tensor
    packing: PartPacking
    lengths: list[int]
    counts: list[int]
    kept: Kept = field(default_factory=Kept)


def reads_of(
    lengths: list[int], packing: Packing, device: torch.device, *, rows: int, each: int
) -> Reads:
    """The last `each` tokens of the first `rows` rows are read; `packing` is of rows with these
    lengths."""
    counts = [_asked(length, each) for length in lengths[:rows]] + [0] * (len(lengths) - rows)
    if sum(counts) < safe_rows():
        counts = lengths
    asked = [i for end, n in zip(_ends(lengths), counts, strict=True) for i in range(end - n, end)]
    read = [i for end in _ends(lengths)[:rows] for i in range(end - each, end)]
    among = [i for end in _ends(counts)[:rows] for i in range(end - each, end)]
    return Reads(
        on_device(read, device),
        on_device(asked, device),
        on_device(among, device),
        _part_packing(lengths, counts, packing, device),
        lengths[:rows],
        counts[:rows],
    )


def _ends(lengths: list[int]) -> list[int]:
    return list(itertools.accumulate(lengths))


def _asked(length: int, each: int) -> int:
    """How many tokens of a row ask in the last layer: the read ones, or more where the last bits
    depend on it."""
    if 0 < length % TILE <= FEW:
        return length
    tail = each % TILE
    wanted = each + (FEW + 1 - tail if 0 < tail <= FEW else 0)
    return min(wanted, length)


def _part_packing(
    lengths: list[int], counts: list[int], packing: Packing, device: torch.device
) -> PartPacking:
    ends = _ends(counts)
    n_empty = len(packing.offsets) - 1 - len(ends)
    offsets = on_device([0, *ends, *ends[-1:] * n_empty], device, torch.int32)
    keys = []
    queries = []
    start = start_asked = 0
    for (length, count), same in itertools.groupby(zip(lengths, counts, strict=True)):
        rows = len(list(same))
        if count:
            keys.append((start, rows, length))
            queries.append((start_asked, rows, count))
        start += rows * length
        start_asked += rows * count
    return PartPacking(
        packing._replace(groups=tuple(keys)), Packing(offsets, tuple(queries), max(counts))
    )


def is_known(network: Any) -> bool:
    """Whether `network` is made of layers that `read` knows."""
    return all(type(layer).__name__ in LAYERS for layer in network.model.layers)


@torch.inference_mode()
def read(
    network: Any, token_ids: Tensor, positions: Tensor, packing: Packing, reads: Reads
) -> Tensor:
    """Final hidden states [R, D] (after the last norm) of the tokens that are read; `network` is a
    known one.

    Tokens outside of `reads.read` must be those of the pass before with the same `reads`.
    """
    decoder = network.model
    kept = reads.kept
    if kept.network is not network:
        _enter(network, positions, reads)
    if token_ids.device.type == "cpu":
        states, projected = _before_last(decoder, token_ids, packing, reads)
    else:
        states = decoder.embed_tokens(token_ids[None])
        for layer in decoder.layers[:-1]:
            states = layer(
                states, attention_mask=None, position_embeddings=kept.stock_rope, packing=packing
            )
        states = states[0]
        projected = None
        kept.renewed = len(token_ids)
    last = decoder.layers[-1]
    if projected is None:
        normed = last.input_layernorm(states)
        projected = _projected(
            last.self_attn, normed, kept.rope, normed[reads.asked], kept.rope_asked
        )
    else:
        projected = projected._replace(query=projected.query[reads.asked])
    states = _mapped(last, states[reads.asked], projected, reads.packing)
    return decoder.norm(states[reads.among])


def _enter(network: Any, positions: Tensor, reads: Reads) -> None:
    """Forget what another network kept, and look up the rotations."""
    decoder = network.model
    config = network.config
    kept = reads.kept
    like = decoder.embed_tokens.weight[:1, None]
    cos, sin = decoder.rotary_emb(like, position_ids=positions[None])
    turned = torch.cat((-sin[0, :, : sin.shape[-1] // 2], sin[0, :, sin.shape[-1] // 2 :]), dim=-1)
    rope = Rope(cos[0, :, None], turned[:, None])
    if positions.device.type == "cpu":  # a table as wide as the queries is read in one sweep
        rope = Rope(*(table.repeat(1, config.num_attention_heads, 1) for table in rope))
    kept.network = network
    kept.stock_rope = (cos, sin)
    kept.rope = rope
    kept.rope_asked = rope.of(reads.asked)
    kept.rope_read = rope.of(reads.read)
    kept.states = kept.first = None


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
    partly = kept.states is not None and len(reads.read) >= safe_rows()
    rope = kept.rope_read if partly else kept.rope
    states = decoder.embed_tokens(token_ids[reads.read] if partly else token_ids)
    normed = layer.input_layernorm(states)
    first = _projected(layer.self_attn, normed, rope, normed, rope)
    kept.renewed = len(states)
    if not partly:
        kept.states = states
        kept.first = first
        return
    for whole, part in zip((kept.states, *kept.first), (states, *first), strict=True):
        whole[reads.read] = part


def _projected(
    attention: Any, normed: Tensor, rope: Rope, asking: Tensor, rope_asking: Rope
) -> Projected:
    """Keys and values of all tokens [T, D], queries of those that ask [N, D]."""
    query, key, value = (
        project(x).unflatten(-1, (-1, attention.head_dim))
        for project, x in (
            (attention.q_proj, asking),
            (attention.k_proj, normed),
            (attention.v_proj, normed),
        )
    )
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
    return _through_mlp(layer.mlp, layer.post_attention_layernorm(states)).add_(states)


def _through_mlp(mlp: Any, normed: Tensor) -> Tensor:
    if normed.device.type != "cpu" or not (
        hasattr(mlp, "gate_proj") and type(mlp.act_fn).__name__ in IN_PLACE
    ):
        return mlp(normed[None])[0]
    gate = F.silu(mlp.gate_proj(normed), inplace=True)
    return mlp.down_proj(gate.mul_(mlp.up_proj(normed)))
