"""The canvas that a model and a policy need."""

from __future__ import annotations

from ..config import RunConfig
from ..models.cache import KeyValueCache
from ..models.loading import MaskedDiffusionModel
from .block_canvas import BlockCanvas
from .block_layout import BlockLayout
from .canvas import Canvas, Room, RowFormat, Schedule
from .policy import Policy


def make_canvas(
    model: MaskedDiffusionModel, config: RunConfig, policy: Policy, room: Room, *, keeps: bool
) -> Canvas:
    """An empty canvas with this room; one of open blocks where the model attends so, with a cache
    if it `keeps` what does not change any more."""
    row_format = RowFormat(
        gen_length=config.gen_length,
        mask_id=model.token_ids.mask,
        read_offset=model.read_offset,
        guided=config.guided,
    )
    schedule = Schedule(
        policy.performed, free=policy.free_schedule, performed_for=policy.performed_for
    )
    blocks = model.family.blocks
    if blocks is None:
        return Canvas(row_format, schedule, room, device=model.device)
    cache = None
    if keeps:
        cache = KeyValueCache(model.network.config, dtype=model.dtype, device=model.device)
    layout = BlockLayout(blocks, config.positions_at_once, config.gen_length)
    return BlockCanvas(row_format, schedule, room, layout=layout, cache=cache, device=model.device)
