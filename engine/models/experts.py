"""The experts of a mixture: a checkpoint has matrices for each of them, the stock class one tensor
for all.

They are stacked while they are loaded (`weights.py`). Here each matrix of the checkpoint is
accounted for before that, and a sample of each is compared after it. Shapes: E experts, D features,
I inner features.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import TensorEntry, rename, tensor_entries
from .family import CheckpointError, Family, Stacked

QWEN3_MOE = (
    Stacked(
        ".mlp.experts.gate_up_proj",
        (".mlp.experts.{}.gate_proj.weight", ".mlp.experts.{}.up_proj.weight"),
    ),
    Stacked(".mlp.experts.down_proj", (".mlp.experts.{}.down_proj.weight",)),
)
"""How transformers' Qwen3-MoE, and GLM4-MoE, keep experts: gate and up [E, 2 I, D], down
[E, D, I]."""


def apart(
    shapes: Mapping[str, tuple[int, ...]], stacked: Sequence[Stacked]
) -> dict[str, tuple[int, ...]]:
    """The tensors of a checkpoint, by name and shape, that make up the stock tensors of these
    `shapes`."""
    result: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        kind = kind_of(name, stacked)
        if kind is None:
            result[name] = shape
            continue
        experts, rows, columns = shape
        for expert in range(experts):
            for part in parts_of(name, kind, expert):
                result[part] = (rows // len(kind.parts), columns)
    return result


def check_stacked(network: Any, family: Family, files: list[Path]) -> None:
    """Raise CheckpointError where a stacked tensor of the loaded `network` does not hold each
    expert's matrices in their order.

    The first row of each matrix is compared: the rest was copied with it.
    """
    sources = sources_of(family, tensor_entries(files))
    with contextlib.ExitStack() as stack:
        opened = {file: stack.enter_context(open_weights(file)) for file in files}
        for name, tensor in network.state_dict().items():
            kind = kind_of(name, family.stacked)
            if kind is not None:
                _check_tensor(name, tensor, kind, sources, opened)


def open_weights(file: Path) -> Any:
    """A safetensors file, mapped and not read."""
    from safetensors import safe_open

    return safe_open(file, framework="pt")


def expert_count(config: Any) -> int:
    """Experts of a layer that has them, among which the router chooses; 0 in a config of
    transformers that knows of none."""
    for name in ("num_experts", "n_routed_experts"):
        count = getattr(config, name, None)
        if count:
            return int(count)
    return 0


def has_experts(config: Any, layer: int) -> bool:
    """Whether a layer of a network with this config of transformers is a mixture of experts.

    Configs that know nothing of dense layers among them have none.
    """
    dense = getattr(config, "mlp_only_layers", None) or ()
    if not expert_count(config) or layer in dense:
        return False
    if layer < getattr(config, "first_k_dense_replace", 0):
        return False
    return bool((layer + 1) % getattr(config, "decoder_sparse_step", 1) == 0)


def expert_width(config: Any) -> int:
    """Inner features of an expert."""
    return int(getattr(config, "moe_intermediate_size", config.intermediate_size))


def shared_width(config: Any) -> int:
    """Inner features of the MLP that every token goes through beside its experts; 0 without one."""
    return int(getattr(config, "n_shared_experts", None) or 0) * expert_width(config)


def inner_features(config: Any) -> int:
    """Of the widest MLP: the values of a token that it holds, three times as many in all. Where
    experts are chosen, each gets a copy of the token and gives one back."""
    layers = range(config.num_hidden_layers)
    kinds = {has_experts(config, layer) for layer in layers}
    widest = 0
    if False in kinds:
        widest = config.intermediate_size
    if True in kinds:
        copied = expert_width(config) + config.hidden_size
        widest = max(widest, config.num_experts_per_tok * copied, shared_width(config))
    return int(widest)


def sources_of(
    family: Family, entries: Mapping[str, TensorEntry]
) -> dict[str, tuple[str, TensorEntry]]:
    """By stock name: what the checkpoint calls a tensor, and where it lies."""
    return {rename(name, family.renames): (name, entry) for name, entry in entries.items()}


def kind_of(name: str, stacked: Iterable[Stacked]) -> Stacked | None:
    """How the stock tensor `name` is stacked; None where it is not."""
    for kind in stacked:
        if name.endswith(kind.stock):
            return kind
    return None


def parts_of(name: str, kind: Stacked, expert: int) -> list[str]:
    """The stock names of an expert's matrices, which stand under each other in tensor `name`."""
    layer = name.removesuffix(kind.stock)
    return [layer + part.format(expert) for part in kind.parts]


def _check_tensor(
    name: str,
    tensor: Tensor,
    kind: Stacked,
    sources: Mapping[str, tuple[str, TensorEntry]],
    opened: Mapping[Path, Any],
) -> None:
    part_rows = tensor.shape[1] // len(kind.parts)
    first_rows = tensor[:, ::part_rows].cpu()
    for expert, rows in enumerate(first_rows):
        names = parts_of(name, kind, expert)
        for part, first in zip(names, rows, strict=True):
            original, entry = sources[part]
            row = opened[entry.file].get_slice(original)[:1][0]
            if not torch.equal(first, row.to(first.dtype)):
                raise CheckpointError(
                    f"{entry.file}: {original} did not arrive where the network has {part}; report "
                    "this with the versions of torch and transformers"
                )
