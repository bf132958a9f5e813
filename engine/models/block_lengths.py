"""How long the blocks of a checkpoint are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import Blocks
from .stock_decoder import positive


def block_length_of(
    blocks: Blocks | None, config: Mapping[str, Any], sampler: Mapping[str, Any]
) -> dict[str, int]:
    """`block_length` as a sampler's default: what generation_config.json (`sampler`) says, else
    config.json, else the family; empty for a family without blocks. Raises CheckpointError."""
    if blocks is None or sampler.get("block_length") is not None:
        return {}
    for key in blocks.keys:
        if config.get(key) is not None:
            return {"block_length": positive(config, key)}
    return {"block_length": blocks.length}
