"""A checkpoint's weights in a stock transformers class, made bidirectional.

Every tensor of the checkpoint is accounted for before the weights are read, and again after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..registry import PluginError
from .attention import NAME, packed_attention
from .checkpoint import check_tensors, rename, tensor_entries, weight_files
from .experts import apart, check_stacked
from .family import CheckpointError, Family
from .splits import check_split, joined
from .weights import WeightsLater, load_weights


class Stock(NamedTuple):
    """A stock class of transformers and a config of it."""

    cls: Any
    config: Any


def stock_of(family: Family, arguments: dict[str, Any]) -> Stock:
    """The family's stock class, with a config of these `arguments` that makes attention our own.

    Raises PluginError where the installed transformers has no such class.
    """
    import transformers

    transformers.AttentionInterface.register(NAME, packed_attention)
    logging: Any = transformers.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cls: Any = getattr(transformers, family.stock_class, None)
    if cls is None:
        raise PluginError(
            f"stock class {family.stock_class!r} is not in transformers "
            f"{transformers.__version__}; install a transformers that has it"
        )
    config = cls.config_class(
        **arguments, is_causal=False, use_cache=False, attn_implementation=NAME
    )
    return Stock(cls, config)


def check_fit(network: Any, family: Family, files: list[Path]) -> None:
    """Raise CheckpointError where the tensors of `files` are not those that `network` needs."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    expected = joined(apart(shapes, family.stacked), family.split)
    entries = tensor_entries(files)
    if network.config.tie_word_embeddings:
        expected = {name: shape for name, shape in expected.items() if name not in family.tied}
        entries = {
            name: entry
            for name, entry in entries.items()
            if rename(name, family.renames) not in family.tied
        }
    check_tensors(entries, expected, family.renames)


def empty(stock: Stock) -> Any:
    """The network without weights: shapes alone."""
    with torch.device("meta"):
        return stock.cls(stock.config)


def filled(
    stock: Stock, family: Family, directory: Path, *, device: torch.device, dtype: torch.dtype
) -> Any:
    """The network with the weights of the checkpoint in `directory`, on `device`.

    Raises CheckpointError where a tensor was left out.
    """
    files = weight_files(directory)
    with WeightsLater():
        network = stock.cls(stock.config)
    network.config.dtype = dtype
    load_weights(network, family, files, device=device, dtype=dtype)
    _refuse_second_head(network, directory)
    check_stacked(network, family, files)
    check_split(network, family, files)
    if family.float32_rope:
        network.model.rotary_emb = _float32_rope(network)
    network = network.eval().requires_grad_(False).to(device)
    if not _frequencies_are_float32(network.model.rotary_emb):
        raise CheckpointError(
            "rotary inv_freq is not float32: its rounding would shift phases by radians; report "
            "this"
        )
    return network


def _refuse_second_head(network: Any, directory: Path) -> None:
    """Where config.json ties the head to the embedding and the checkpoint has a head that is
    another, transformers 4 takes the embedding and transformers 5 the head; neither is guessed."""
    head = network.get_output_embeddings().weight
    embedding = network.get_input_embeddings().weight
    if network.config.tie_word_embeddings and head is not embedding:
        raise CheckpointError(
            f"{directory}: config.json says that the head is the embedding, but the checkpoint has "
            "a head of its own with other values; if that head is meant, say in config.json that "
            "the two are not tied"
        )


def _frequencies_are_float32(rotary: torch.nn.Module) -> bool:
    kinds = {buffer.dtype for name, buffer in rotary.named_buffers() if name.endswith("inv_freq")}
    return kinds == {torch.float32}


def _float32_rope(network: Any) -> torch.nn.Module:
    base = type(network.model.rotary_emb)

    class Float32Rope(base):  # type: ignore[misc, valid-type]
        """cos and sin stay float32, whatever the network's dtype; queries and keys promote to
        them."""

        def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
            wide: tuple[Tensor, Tensor] = super().forward(
                x.new_empty((), dtype=torch.float32), position_ids
            )
            return wide

    return Float32Rope(network.config)
