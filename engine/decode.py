"""The loop. It knows no model family, no policy and no metric by name. Shapes: B rows, G positions, D features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..kernels.head import Head, Proposal, Rows
from ..kernels.reference import LogitStats
from .canvas import Canvas
from .models.loading import MaskedDiffusionModel
from .prompts import Prompt
from .record import Finished, Recorder

if TYPE_CHECKING:
    from .policies.llada import LLaDAPolicy


@torch.inference_mode()
def decode(
    model: MaskedDiffusionModel,
    canvas: Canvas,
    head: Head,
    policy: LLaDAPolicy,
    recorder: Recorder,
    prompts: Iterator[Prompt],
) -> Iterator[Finished]:
    """Denoise every prompt; yields each problem as it finishes, in no particular order."""
    while canvas.fill(prompts):
        conditional, unconditional = _hidden(model, canvas)
        stats, proposal = _read(head, canvas, recorder, conditional, unconditional)
        update = policy.step(canvas, proposal)
        recorder.step(canvas, head.guide(conditional, unconditional), stats, update)
        for row in canvas.apply(update):
            yield recorder.finish(row)


def _hidden(model: MaskedDiffusionModel, canvas: Canvas) -> tuple[Tensor, Tensor | None]:
    packed = canvas.pack()
    hidden = model.hidden(packed.token_ids, packed.positions, packed.packing)
    apart = None if packed.unconditional_at is None else hidden[packed.unconditional_at]
    return hidden[packed.generated_at], apart


def _read(
    head: Head, canvas: Canvas, recorder: Recorder, conditional: Tensor, unconditional: Tensor | None
) -> tuple[LogitStats, Proposal]:
    """Statistics of the rows that somebody reads, laid out over all [B * G] generated positions."""
    counter = canvas.noise_counter() if head.sampling.temperature > 0 else None
    targets = recorder.targets(canvas)
    if head.ring is None:
        rows = Rows(conditional, unconditional, recorder.previous_hidden(canvas), targets, counter)
    else:
        place, first = canvas.places()
        rows = Rows(conditional, unconditional, None, targets, counter, place, first)
    if not recorder.masked_only:
        return head.step(rows, topk=recorder.topk)
    read = (canvas.generated.flatten() == canvas.mask_id).nonzero().squeeze(1)
    stats, proposal = head.step(rows.select(read), topk=recorder.topk)
    n = len(conditional)
    spread = LogitStats(*(_spread(column, read, n) for column in stats))
    return spread, Proposal(*(_spread(column, read, n) for column in proposal))


def _spread(column: Tensor, read: Tensor, n: int) -> Tensor:
    missing = float("nan") if column.is_floating_point() else 0 if column.dtype == torch.uint8 else -1
    full = column.new_full((n, *column.shape[1:]), missing)
    full[read] = column
    return full
