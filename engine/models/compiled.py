"""The network's layer stack compiled for a few static shapes, as `--compile` asks for.

A batch is padded here to one of `SIZES` sizes, which follow from the largest batch of the run and
never from the batch at hand, so that every pass has one of a handful of shapes and torch.compile
makes each once. Row boundaries travel as a tensor of fixed length, which no guard looks into. The
network must be a stock decoder of embedding, rotary embedding, layers and norm. Shapes: T packed
tokens, S tokens with padding, D features, R rows at most.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...kernels.transfer import on_device
from .attention import Packing, by_group, groups_of, same
from .family import CheckpointError
from .forward import AnyPacking, AnyReads, Forward
from .loading import MaskedDiffusionModel, refuse_blocks
from .reads import Reads

SIZES = 4
"""How many sizes of the packed batch there are within the token budget."""

SIZE_STEP = 64
LONGEST_STEP = 128
"""What a size, and the longest row that the attention kernel is told of, are multiples of."""

PARTS = ("embed_tokens", "rotary_emb", "layers", "norm")
"""Of a stock decoder."""

Stack = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""(states, cos, sin, offsets, longest) -> states, through all layers and the last norm."""


class StaticPacking(NamedTuple):
    """Row boundaries of fixed shape: `offsets` [R + 1], the last repeated; `longest` bounds every
    row."""

    offsets: Tensor
    longest: int

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None,
        reach: int | None = None,
    ) -> Tensor:
        """Attention within rows, and within `reach` positions, by plain torch behind one operation
        that the compiler does not look into."""
        mixed: Tensor = attention_by_group(query, key, value, self.offsets, scaling, reach)
        return mixed


class Sizes:
    """The sizes that batches are padded to: four up to `most_tokens`, and doublings beyond them for
    a row that is longer than the budget and so runs alone."""

    def __init__(self, most_tokens: int) -> None:
        self.step = _up(-(-most_tokens // SIZES), SIZE_STEP)

    def of(self, tokens: int) -> int:
        """The smallest size that holds so many tokens."""
        largest = SIZES * self.step
        if tokens <= largest:
            return _up(tokens, self.step)
        while largest < tokens:
            largest *= 2
        return largest


class CompiledForward(Forward):
    """The layers compiled, over all tokens of a padded batch."""

    def __init__(
        self, network: Any, *, sizes: Sizes, max_length: int, backend: Any = "inductor"
    ) -> None:
        """`max_length` bounds every row; `backend` is torch.compile's."""
        super().__init__(network)
        self.sizes = sizes
        self._max_length = max_length
        self._backend = backend
        self._stacks: dict[tuple[int, int], Stack] = {}

    @torch.inference_mode()
    def hidden_read(
        self, token_ids: Tensor, positions: Tensor, packing: AnyPacking, reads: AnyReads
    ) -> Tensor:
        """The states [R, D] of the tokens that are read, within rounding."""
        assert isinstance(packing, Packing) and isinstance(reads, Reads)
        size = self.sizes.of(len(token_ids))
        padding = _padding(size - len(token_ids), each=reads.each)
        most_rows = size // reads.each + 2
        boundaries = self._boundaries(packing, padding, size=size, most_rows=most_rows)

        decoder = self.network.model
        positions = torch.cat([positions, _positions(padding, positions.device)])
        token_ids = F.pad(token_ids, (0, sum(padding)))
        states = decoder.embed_tokens(token_ids[None])
        cos, sin = decoder.rotary_emb(states, position_ids=positions[None])

        stack = self._stack_of(size, most_rows)
        states = stack(states, cos, sin, boundaries.offsets, boundaries.longest)
        return states[0][reads.read]

    def padded(self, tokens: int) -> int:
        """The size that a batch of so many tokens is padded to."""
        return self.sizes.of(tokens)

    def _boundaries(
        self, packing: Packing, padding: list[int], *, size: int, most_rows: int
    ) -> StaticPacking:
        lengths = []
        for _, rows, length in packing.groups:
            lengths += [length] * rows
        bounds = [0, *itertools.accumulate([*lengths, *padding])]
        bounds += [size] * (most_rows + 1 - len(bounds))
        offsets = on_device(bounds, packing.offsets.device, torch.int32)
        return StaticPacking(offsets, min(size, _up(self._max_length, LONGEST_STEP)))

    def _stack_of(self, size: int, most_rows: int) -> Stack:
        """The layers compiled for one shape, on its first use."""
        shape = (size, most_rows)
        if shape not in self._stacks:
            self._stacks[shape] = _compiled_stack(self.network.model, self._backend)
        return self._stacks[shape]


def compiled(
    model: MaskedDiffusionModel, *, most_tokens: int, backend: Any = "inductor"
) -> MaskedDiffusionModel:
    """`model` with its layers compiled in decoding, on first use of each shape.

    `most_tokens`: of a batch that fills the budget. `backend` is torch.compile's. CheckpointError
    for a network that is no stock decoder, and for a family that attends block by block.
    """
    refuse_blocks(model, "--compile")
    lacking = [part for part in PARTS if not hasattr(model.network.model, part)]
    if lacking:
        raise CheckpointError(
            f"--compile: the network of {model.architecture} is no stock decoder (it lacks "
            f"{', '.join(lacking)}); run without --compile"
        )
    forward = CompiledForward(
        model.network, sizes=Sizes(most_tokens), max_length=model.max_length, backend=backend
    )
    return replace(model, forward=forward)


def _padding(tokens: int, *, each: int) -> list[int]:
    """Lengths of rows that make up `tokens` which nobody reads; all but the last are no shorter
    than a row of `each` generated tokens, so that their number is bounded as that of rows is."""
    row = max(each, LONGEST_STEP)
    lengths = [row] * (tokens // row)
    rest = tokens % row
    return [*lengths, rest] if rest else lengths


def _positions(lengths: list[int], device: torch.device) -> Tensor:
    positions: list[int] = []
    for length in lengths:
        positions += range(length)
    return on_device(positions, device)


def _compiled_stack(decoder: Any, backend: Any) -> Stack:
    def stack(states: Tensor, cos: Tensor, sin: Tensor, offsets: Tensor, longest: int) -> Tensor:
        packing = StaticPacking(offsets, longest)
        for layer in decoder.layers:
            states = layer(
                states, attention_mask=None, position_embeddings=(cos, sin), packing=packing
            )
        normed: Tensor = decoder.norm(states)
        return normed

    # A code object of its own: the compiler counts shapes by code object and refuses a ninth, and a
    # process may load several models.
    own = types.FunctionType(
        stack.__code__.replace(), stack.__globals__, stack.__name__, None, stack.__closure__
    )
    layers: Stack = torch.compile(own, dynamic=False, fullgraph=True, backend=backend)
    return layers


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


@torch.library.custom_op("diffengine::attention_by_group", mutates_args=())
def attention_by_group(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    offsets: Tensor,
    scaling: float | None,
    reach: int | None,
) -> Tensor:
    """Attention [1, T, H, d] of each row to itself, opaque to the compiler; `offsets` is read on
    the host."""
    bounds = offsets.tolist()
    lengths = [end - start for start, end in itertools.pairwise(bounds) if end > start]
    return by_group(query, key, value, scaling, same(groups_of(lengths)), reach=reach)


@attention_by_group.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    offsets: Tensor,
    scaling: float | None,
    reach: int | None,
) -> Tensor:
    return query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
