"""The network's layer stack compiled for a few static shapes, as `--compile` asks for.

The packed token count is padded to a bucket (`engine/decoding/shapes.py`), so every pass has one of
a handful of shapes and torch.compile makes each once. Row boundaries travel as a tensor of fixed
length, which no guard looks into. Knows one thing of the network: that it is a stock decoder of
embedding, rotary embedding, layers and norm. Shapes: T packed tokens, D features, R rows at most.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .attention import Packing, by_group, groups_of
from .loading import MaskedDiffusionModel


class StaticPacking(NamedTuple):
    """Row boundaries of fixed shape: `offsets` [R + 1], the last repeated; `longest` bounds every
    row."""

    offsets: Tensor
    longest: int

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention within rows, by plain torch behind one operation that the compiler does not
        look into."""
        return attention_by_group(query, key, value, self.offsets, scaling)


@dataclass(frozen=True)
class CompiledModel(MaskedDiffusionModel):
    """A loaded model whose layers run compiled; `stack` is (states, cos, sin, offsets, longest) ->
    states."""

    stack: Callable[..., Tensor]

    @torch.inference_mode()
    def hidden(self, token_ids: Tensor, positions: Tensor, packing: Packing) -> Tensor:
        """Final hidden states [T, D] as `MaskedDiffusionModel.hidden` gives them, within
        rounding."""
        decoder = self.network.model
        states = decoder.embed_tokens(token_ids[None])
        cos, sin = decoder.rotary_emb(states, position_ids=positions[None])
        return self.stack(states, cos, sin, packing.offsets, packing.longest)[0]

    @property
    def leaves_out_unread(self) -> bool:
        """Never: which states are read is no shape to compile for."""
        return False


def compiled(model: MaskedDiffusionModel, *, backend: Any = "inductor") -> CompiledModel:
    """`model` with its layer stack compiled on first use of each shape. `backend` is
    torch.compile's."""
    decoder = model.network.model

    def stack(states: Tensor, cos: Tensor, sin: Tensor, offsets: Tensor, longest: int) -> Tensor:
        packing = StaticPacking(offsets, longest)
        for layer in decoder.layers:
            states = layer(
                states, attention_mask=None, position_embeddings=(cos, sin), packing=packing
            )
        return decoder.norm(states)

    # A code object of its own: the compiler counts shapes by code object, and a process may load
    # several models.
    own = types.FunctionType(
        stack.__code__.replace(), stack.__globals__, stack.__name__, None, stack.__closure__
    )
    given = {field.name: getattr(model, field.name) for field in fields(MaskedDiffusionModel)}
    return CompiledModel(
        **given, stack=torch.compile(own, dynamic=False, fullgraph=True, backend=backend)
    )


@torch.library.custom_op("diffengine::attention_by_group", mutates_args=())
def attention_by_group(
    query: Tensor, key: Tensor, value: Tensor, offsets: Tensor, scaling: float | None
) -> Tensor:
    """Attention [1, T, H, d] of each row to itself, opaque to the compiler; `offsets` is read on
    the host."""
    bounds = offsets.tolist()
    lengths = [b - a for a, b in itertools.pairwise(bounds) if b > a]
    return by_group(query, key, value, scaling, groups_of(lengths))


@attention_by_group.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, offsets: Tensor, scaling: float | None) -> Tensor:
    return query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
