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
    layout = layout_of(model, config)
    if layout is None:
        return Canvas(row_format, schedule, room, device=model.device)
    cache = None
    if keeps:
        cache = KeyValueCache(model.network.config, dtype=model.dtype, device=model.device)
    return BlockCanvas(row_format, schedule, room, layout=layout, cache=cache, device=model.device)


def layout_of(model: MaskedDiffusionModel, config: RunConfig) -> BlockLayout | None:
    """Where the blocks of a row lie; None for a model that attends fully."""
    blocks = model.family.blocks
    if blocks is None:
        return None
    return BlockLayout(blocks, config.positions_at_once, config.gen_length)


def row_tokens(model: MaskedDiffusionModel, config: RunConfig, prompt_length: int) -> int:
    """How many tokens a row with such a prompt has at most."""
    layout = layout_of(model, config)
    if layout is None:
        return prompt_length + config.gen_length
    return layout.tokens(prompt_length)
