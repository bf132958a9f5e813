"""Tensors of a checkpoint that are several stock tensors under each other, as the one projection of
queries, keys and values that some published networks have.

They come apart while they are loaded (`weights.py`). Here every row of them is accounted for before
that, and the first and last row of each part are compared after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .checkpoint import tensor_entries
from .experts import open_weights, sources_of
from .family import CheckpointError, Family, Split

Shapes = Mapping[str, tuple[int, ...]]
"""Of tensors, by their stock names."""


class Part(NamedTuple):
    """A stock tensor: the rows from `start` to before `stop` of the checkpoint's tensor `whole`,
    which is called as it is after the renames."""

    whole: str
    start: int
    stop: int


def parts_of_wholes(shapes: Shapes, split: Sequence[Split]) -> dict[str, Part]:
    """By stock name: which rows of the checkpoint's tensors are stock tensors of these `shapes`."""
    parts: dict[str, Part] = {}
    for kind in split:
        for first in shapes:
            if not first.endswith(kind.parts[0]):
                continue
            layer = first.removesuffix(kind.parts[0])
            start = 0
            for ending in kind.parts:
                stop = start + shapes[layer + ending][0]
                parts[layer + ending] = Part(layer + kind.whole, start, stop)
                start = stop
    return parts


def joined(shapes: Shapes, split: Sequence[Split]) -> dict[str, tuple[int, ...]]:
    """The tensors of a checkpoint, by name and shape, that come apart into those of these
    `shapes`."""
    parts = parts_of_wholes(shapes, split)
    result = {name: shape for name, shape in shapes.items() if name not in parts}
    for name, part in parts.items():  # the last part of a tensor ends with it
        result[part.whole] = (part.stop, *shapes[name][1:])
    return result


def check_split(network: Any, family: Family, files: list[Path]) -> None:
    """Raise CheckpointError where a stock tensor of the loaded `network` does not hold the rows of
    the checkpoint that it should."""
    state = network.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    parts = parts_of_wholes(shapes, family.split)
    if not parts:
        return
    sources = sources_of(family, tensor_entries(files))
    with contextlib.ExitStack() as stack:
        opened = {file: stack.enter_context(open_weights(file)) for file in files}
        for name, part in parts.items():
            original, entry = sources[part.whole]
            whole = opened[entry.file].get_slice(original)
            for place, row in ((0, part.start), (-1, part.stop - 1)):
                ours = state[name][place].cpu()
                if not torch.equal(ours, whole[row : row + 1][0].to(ours.dtype)):
                    raise CheckpointError(
                        f"{entry.file}: row {row} of {original} did not arrive where the network "
                        f"has {name}; report this with the versions of torch and transformers"
                    )
