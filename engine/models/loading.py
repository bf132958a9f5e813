"""Load a checkpoint directory of any supported family into a stock transformers class, made
bidirectional.

Nothing in the directory is executed, nothing is asked on stdin, nothing is fetched. What a family
calls its tensors, tokens and settings is in its `Family` alone. Shapes: T packed tokens, R of them
read, D features, V rows of the head.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..registry import OURS, PluginError, Row
from . import FAMILIES
from .block_lengths import block_length_of
from .checkpoint import fingerprint, read_json, weight_files
from .config_keys import AskedConfig, refuse_quantised
from .family import CheckpointError, Family, TokenIds, checked_family
from .forward import AnyPacking, AnyReads, Forward
from .host_memory import keep_freed_memory
from .known_families import hub_hint, looks_like_hub_name, unsupported
from .network import check_fit, empty, filled, stock_of
from .reading import forward_of
from .tokens import check_within, load_tokenizer, special_tokens

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, repr=False)
class MaskedDiffusionModel:
    """A loaded model: `hidden` runs the backbone over a packed batch, `head_weight` [V, D] projects
    what is wanted.

    A decoding step calls `hidden_read`, which runs the network as `forward` does.
    """

    network: Any
    tokenizer: Any
    token_ids: TokenIds
    n_candidates: int
    max_length: int
    path: Path
    architecture: str
    fingerprint: str
    sampler_defaults: dict[str, Any]
    family: Family
    forward: Forward

    @property
    def head_weight(self) -> Tensor:
        weight: Tensor = self.network.lm_head.weight
        return weight

    @property
    def dtype(self) -> torch.dtype:
        return self.head_weight.dtype

    @property
    def device(self) -> torch.device:
        return self.head_weight.device

    @property
    def read_offset(self) -> int:
        """The prediction of position p is read at position p + read_offset: 0 or -1."""
        return self.family.read_offset

    def __repr__(self) -> str:
        rows, features = self.head_weight.shape
        dtype = str(self.dtype).removeprefix("torch.")
        shape = f"{rows} x {features} head, {dtype} on {self.device}"
        return f"<MaskedDiffusionModel {self.architecture} at {self.path}: {shape}>"

    def logits_dtype(self, name: str) -> torch.dtype:
        """What the run's setting `logits_dtype` means for this model: "model" is its own dtype."""
        return DTYPES.get(name, self.dtype)

    def hidden(self, token_ids: Tensor, positions: Tensor, packing: AnyPacking) -> Tensor:
        """Final hidden states [T, D] (after the last norm) of packed token ids [T] at RoPE
        positions [T], by the stock class whatever `forward` is."""
        return Forward(self.network).hidden(token_ids, positions, packing)

    def hidden_read(
        self, token_ids: Tensor, positions: Tensor, packing: AnyPacking, reads: AnyReads
    ) -> Tensor:
        """Of the states that `hidden` gives, those [R, D] that are read.

        Tokens outside of `reads.written` must be those of the call before with the same `reads`.
        """
        return self.forward.hidden_read(token_ids, positions, packing, reads)

    def flops_read(self, reads: AnyReads) -> int:
        """FLOPs of the last call of `hidden_read` with these `reads`, padding not counted."""
        return self.forward.flops(reads)


def load_model(
    path: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    weights: bool = True,
) -> MaskedDiffusionModel:
    """Load the checkpoint in directory `path`.

    `device` defaults to CUDA where there is one; `dtype` ("float32", "bfloat16") to bfloat16 on
    CUDA and float32 on a CPU. Without `weights` the model has shapes and a tokenizer but cannot
    run: for a process that only hands out work. Raises CheckpointError naming file and field when
    the directory is missing, incomplete, damaged or unsupported, PluginError where the code of a
    family from outside is at fault.
    """
    directory = Path(path)
    config = _read_config(directory)
    row = _row_of(config, directory)
    family = _family_of(row, config, directory)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    kind = _dtype(dtype, target)

    with _translating(row, directory):
        refuse_quantised(config)
        if family.refuse is not None:
            family.refuse(directory, config)
        stock = stock_of(family, family.stock_config(config))
        network = empty(stock)
        n_candidates = family.n_candidates(config)
    files = weight_files(directory)
    with _translating(row, directory):
        check_fit(network, family, files)
    if weights and target.type == "cpu":
        keep_freed_memory()
    if weights:
        network = filled(stock, family, directory, device=target, dtype=kind)
    else:
        network = network.to(kind)
    if family.adapted is not None:
        network = family.adapted(network)
    forward = family.forward or (Forward if family.blocks is not None else forward_of)

    with _translating(row, directory):
        defaults = _sampler_defaults(directory)
        defaults |= block_length_of(family.blocks, config, defaults)
    tokenizer = load_tokenizer(directory, family)
    token_ids = special_tokens(family.tokens, config, tokenizer, directory)
    check_within(token_ids, n_candidates, directory)
    _tell_of_others(config, family, directory)
    return MaskedDiffusionModel(
        network=network,
        tokenizer=tokenizer,
        token_ids=token_ids,
        n_candidates=n_candidates,
        max_length=stock.config.max_position_embeddings,
        path=directory,
        architecture=row.name,
        fingerprint=fingerprint(directory, files),
        sampler_defaults=defaults,
        family=family,
        forward=forward(network),
    )


def published_policy(path: str | Path) -> str:
    """The policy that the family of the checkpoint in directory `path` is published with; reads no
    weights. Raises CheckpointError and PluginError as `load_model` does."""
    directory = Path(path)
    config = _read_config(directory)
    return _family_of(_row_of(config, directory), config, directory).policy


def refuse_blocks(model: MaskedDiffusionModel, option: str) -> None:
    """Raise CheckpointError where `option` asks for layers that see whole rows, and the model
    attends block by block."""
    if model.family.blocks is not None:
        raise CheckpointError(
            f"{option}: {model.architecture} attends block by block, and the layers that {option} "
            f"puts in see whole rows; run without {option}"
        )


def _dtype(name: str | None, device: torch.device) -> torch.dtype:
    if not name:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise CheckpointError(f"dtype {name!r} is not supported; use one of {', '.join(DTYPES)}")
    return DTYPES[name]


def _tell_of_others(config: AskedConfig, family: Family, directory: Path) -> None:
    keys = config.passed_over(family.harmless)
    if keys:
        logger.warning(
            "%s/config.json: this family knows nothing of %s and passes over it; if that changes "
            "the network, what it computes is not what was published",
            directory,
            ", ".join(keys),
        )


def _read_config(directory: Path) -> AskedConfig:
    if not directory.exists():
        hub = f"; {hub_hint(str(directory))}" if looks_like_hub_name(str(directory)) else ""
        raise CheckpointError(
            f"{directory}: no such directory; give --model a checkpoint directory{hub}"
        )
    if not directory.is_dir():
        raise CheckpointError(
            f"{directory}: is a file; give --model the directory that holds config.json"
        )
    return AskedConfig(read_json(directory / "config.json"))


def _sampler_defaults(directory: Path) -> dict[str, Any]:
    generation = directory / "generation_config.json"
    return read_json(generation) if generation.is_file() else {}


def _row_of(config: AskedConfig, directory: Path) -> Row:
    """The row of the family that config.json names."""
    names = config.get("architectures")
    if not (isinstance(names, list) and names and isinstance(names[0], str)):
        raise CheckpointError(
            f"{directory}/config.json: architectures must name a model class, got {names!r}"
        )
    # Compared with the names of the table one by one: a `module:attribute`, which a table would
    # import, must not be taken from a checkpoint.
    if names[0] not in list(FAMILIES):
        raise CheckpointError(f"{directory}/config.json: {unsupported(names[0], FAMILIES)}")
    return FAMILIES.row(names[0])


def _family_of(row: Row, config: AskedConfig, directory: Path) -> Family:
    """The family in this row of the table; where it has several kinds, the one that the checkpoint
    is of."""
    family = checked_family(FAMILIES.load(row.name), row)
    if family.kind is None:
        return family
    with _translating(row, directory):
        kind = family.kind(directory, config)
    return checked_family(kind, row)


@contextlib.contextmanager
def _translating(row: Row, directory: Path) -> Iterator[None]:
    """Errors of a family's own code become messages: which file it refuses, or whose code it is
    that fails."""
    try:
        yield
    except PluginError:
        raise
    except CheckpointError as error:
        said = str(error)
        if said.startswith("config.json"):
            said = f"{directory}/{said}"
        raise CheckpointError(said) from None
    except Exception as error:
        if row.package == OURS:
            raise
        raise PluginError(
            f"model architecture {row.name!r} ({row.target}, {row.package}) fails on {directory}: "
            f"{type(error).__name__}: {error}; report it to its authors"
        ) from error
