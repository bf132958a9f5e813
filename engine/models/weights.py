"""The weights of a checkpoint, one tensor after the other, straight to where they are needed.

So beside the weights that stay there, the host holds one tensor at a time, and not a copy of the
model for each worker: files are mapped, and what is read of them the system may drop again.
`tests/engine/models/test_weights.py` counts the bytes. Shapes: E experts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .checkpoint import tensor_entries
from .experts import kind_of, open_weights, parts_of, sources_of
from .family import CheckpointError, Family, Stacked
from .splits import Part, parts_of_wholes


class WeightsLater(TorchFunctionMode):
    """Within it, a network that is made has its matrices on torch's meta device, without memory or
    values, and all else (rotations, norms) as always."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty:
            options["device"] = "meta"
        return func(*args, **options)


class Source:
    """The tensors of a checkpoint by their stock names."""

    def __init__(self, family: Family, files: list[Path], stack: contextlib.ExitStack) -> None:
        """The files stay open until `stack` is left."""
        self._entries = sources_of(family, tensor_entries(files))
        self._opened = {file: stack.enter_context(open_weights(file)) for file in files}

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def tensor(self, name: str) -> Tensor:
        """As it lies in the file, whose pages it shares."""
        original, entry = self._entries[name]
        tensor: Tensor = self._opened[entry.file].get_tensor(original)
        return tensor

    def rows(self, part: Part) -> Tensor:
        """The rows of a tensor that are one stock tensor."""
        original, entry = self._entries[part.whole]
        rows: Tensor = self._opened[entry.file].get_slice(original)[part.start : part.stop]
        return rows


def load_weights(
    network: Any, family: Family, files: list[Path], *, device: torch.device, dtype: torch.dtype
) -> None:
    """Give every tensor of `network`, made within `WeightsLater`, its values out of `files`.

    The files must have passed `network.check_fit`. Raises CheckpointError where a tensor gets none.
    """
    tied: tuple[str, ...] = ()
    if network.config.tie_word_embeddings:
        tied = family.tied
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    own = [name for name in shapes if name not in tied]
    parts = parts_of_wholes(shapes, family.split)

    with contextlib.ExitStack() as stack:
        source = Source(family, files, stack)
        for name in own:
            kind = kind_of(name, family.stacked)
            if kind is None:
                part = parts.get(name)
                values = source.tensor(name) if part is None else source.rows(part)
                values = _placed(values, device, _dtype_of(network, name, dtype))
            else:
                shape = network.get_parameter(name).shape
                values = torch.empty(shape, dtype=dtype, device=device)
                _stack(values, name, kind, source)
            _put(network, name, values)

        embedding = network.get_input_embeddings().weight
        for name in tied:
            values = embedding
            if name in source:
                repeated = _placed(source.tensor(name), device, dtype)
                if not torch.equal(repeated, embedding):
                    values = repeated  # which `network.filled` refuses
            _put(network, name, values)
    _check_all_are_there(network, device)


def _stack(values: Tensor, name: str, kind: Stacked, source: Source) -> None:
    """Fill the stock tensor `name` [E, ...] with the experts' matrices."""
    for expert, matrices in enumerate(values):
        parts = parts_of(name, kind, expert)
        for matrix, part in zip(matrices.chunk(len(parts)), parts, strict=True):
            matrix.copy_(source.tensor(part))


def _dtype_of(network: Any, name: str, dtype: torch.dtype) -> torch.dtype:
    """`dtype`, but float32 of what the stock class keeps so in a network of any dtype: numbers by
    which close choices are made."""
    kept = getattr(network, "_keep_in_fp32_modules_strict", None) or ()
    return torch.float32 if set(kept) & set(name.split(".")) else dtype


def _placed(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """On `device` first: it converts, and no second copy is made on the host."""
    there = tensor.to(device)
    return there.to(dtype) if there.is_floating_point() else there


def _put(network: Any, name: str, values: Tensor) -> None:
    owner, _, own_name = name.rpartition(".")
    module = network.get_submodule(owner)
    if own_name in module._buffers:
        module._buffers[own_name] = values
    elif isinstance(values, torch.nn.Parameter):
        module._parameters[own_name] = values
    else:
        module._parameters[own_name] = torch.nn.Parameter(values, requires_grad=False)


def _check_all_are_there(network: Any, device: torch.device) -> None:
    tensors = [*network.named_parameters(), *network.named_buffers()]
    empty = [name for name, tensor in tensors if tensor.is_meta and device.type != "meta"]
    if empty:
        raise CheckpointError(
            f"the checkpoint has no values for {', '.join(empty[:10])}, which the stock class "
            f"{type(network).__name__} needs; report this with the versions of torch and "
            "transformers"
        )
