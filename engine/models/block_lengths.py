"""How long the blocks of a checkpoint are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import Blocks, CheckpointError
from .stock_decoder import positive


def block_length_of(
    blocks: Blocks | None, config: Mapping[str, Any], sampler: Mapping[str, Any]
) -> dict[str, int]:
    """`block_length` as a sampler's default: what generation_config.json (`sampler`) says, else
    config.json, else the family; empty for a family without blocks, and where `sampler` says it
    itself. Raises CheckpointError where config.json says no length, or several."""
    if blocks is None:
        return {}
    said = {key: positive(config, key) for key in blocks.keys if config.get(key) is not None}
    if len(set(said.values())) > 1:
        several = " and ".join(f"{key} {length}" for key, length in said.items())
        raise CheckpointError(
            f"config.json: says {several}, but blocks have one length; leave the one that the "
            "checkpoint was trained with"
        )
    if sampler.get("block_length") is not None:
        return {}
    return {"block_length": next(iter(said.values()), blocks.length)}
