"""Activation patching: states behind a layer of one forward pass take the place of those of
another.

A patched row goes through the stock network once more, beside nobody but other patched rows, so
that the rows which share its canvas keep every bit. Shapes: T packed tokens, N patched positions, D
features, B rows, G generated positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...kernels.matrix_product import safe_rows
from ...kernels.transfer import on_device
from ..models.attention import packing_of
from ..models.loading import MaskedDiffusionModel
from ..prompts.steering import Patch
from .canvas import Canvas


class Replaced(NamedTuple):
    """The states `values` [N, D] that stand behind layer `layer` at the tokens `at` [N]."""

    layer: int
    at: list[int]
    values: Tensor


def layers_of(network: Any) -> Sequence[torch.nn.Module] | None:
    """The layers of a network whose states can be patched; None where it has no list of them."""
    layers = getattr(network.model, "layers", None)
    return list(layers) if isinstance(layers, torch.nn.ModuleList) else None


def with_patches(model: MaskedDiffusionModel, canvas: Canvas, hidden: Tensor) -> Tensor:
    """The states `hidden` [B * G, D] that the canvas's pass gave where they are read; those of rows
    that begin here with patches come from a pass in which their donors' states stand."""
    gen_length = canvas.gen_length
    sequences: list[list[int]] = []
    replaced: list[Replaced] = []
    read: list[int] = []
    changed: list[int] = []
    end = 0
    for number, row in enumerate(canvas.rows):
        start = row.prompt.start
        if start is None or not (row.begins and start.patches):
            continue
        begin = end + row.prompt_length
        end = begin + gen_length
        sequences.append([*row.prompt.token_ids, *start.token.tolist()])
        read += range(begin + model.read_offset, end + model.read_offset)
        changed += range(number * gen_length, (number + 1) * gen_length)
        for patch in start.patches:
            at = [begin + position for position in patch.positions]
            replaced.append(Replaced(patch.layer, at, donated(model, patch, row.prompt.token_ids)))

    if not sequences:
        return hidden
    states = _pass(model, sequences, replaced)
    device = model.device
    return hidden.index_copy(0, on_device(changed, device), states[on_device(read, device)])


def donated(model: MaskedDiffusionModel, patch: Patch, prompt: Sequence[int]) -> Tensor:
    """The states [N, D] of the donor of a patch, at its positions; `prompt` is that of the row."""
    own = prompt if patch.prompt is None else patch.prompt
    at = on_device([len(own) + position for position in patch.positions], model.device)
    captured: list[Tensor] = []

    def capture(states: Tensor) -> Tensor:
        captured.append(states[0, at].clone())
        return states

    with _behind(model, patch.layer, capture):
        _pass(model, [[*own, *patch.token]], [])
    return captured[0]


def _pass(
    model: MaskedDiffusionModel, sequences: list[list[int]], replaced: list[Replaced]
) -> Tensor:
    """The states [T, D] behind the last norm of packed rows, by the stock network."""
    lengths = [len(sequence) for sequence in sequences]
    # A row of masks that nobody reads, as on the canvas: the last bits do not depend on the size.
    lacking = max(0, safe_rows() - sum(lengths))
    lengths += [lacking] if lacking else []
    ids = sum(sequences, []) + [model.token_ids.mask] * lacking
    positions: list[int] = []
    for length in lengths:
        positions += range(length)
    device = model.device
    with _all_replaced(model, replaced):
        return model.hidden(
            on_device(ids, device), on_device(positions, device), packing_of(lengths, device)
        )


@contextmanager
def _all_replaced(model: MaskedDiffusionModel, replaced: list[Replaced]) -> Iterator[None]:
    if not replaced:
        yield
        return
    first = replaced[0]
    at = on_device(first.at, model.device)

    def put(states: Tensor) -> Tensor:
        return states.index_copy(1, at, first.values[None])

    with _behind(model, first.layer, put), _all_replaced(model, replaced[1:]):
        yield


@contextmanager
def _behind(model: MaskedDiffusionModel, layer: int, act: Any) -> Iterator[None]:
    """While it lasts, `act` makes of the states [1, T, D] behind a layer those that go on."""
    layers = layers_of(model.network)
    assert layers is not None

    def hook(module: torch.nn.Module, arguments: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (act(output[0]), *output[1:])
        return act(output)

    handle = layers[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
