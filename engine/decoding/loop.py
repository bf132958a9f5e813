"""The loop. It knows no model family, no policy and no metric by name. Shapes: B rows, G positions,
D features."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...kernels.head import Head, Proposal, Rows
from ...kernels.reference import LogitStats
from ...kernels.transfer import current
from ..models.flops import head_flops
from ..models.loading import MaskedDiffusionModel
from ..prompts.prompt import Prompt
from ..signals import Stop
from ..store.drawing import draw_key
from ..store.format.schema import missing
from .canvas import Canvas, Packed, Row
from .phases import Phases
from .recorder import Finished, Leaving, Recorder

if TYPE_CHECKING:
    from ..policies.llada import LLaDAPolicy

ROWS_AHEAD = 2
"""`rows_ahead` on a GPU: enough that it has work while the host grades, few enough for its memory.
"""


@torch.inference_mode()
def decode(
    model: MaskedDiffusionModel,
    canvas: Canvas,
    head: Head,
    policy: LLaDAPolicy,
    recorder: Recorder,
    prompts: Iterator[Prompt],
    phases: Phases | None = None,
    stop: Stop | None = None,
    between_steps: Callable[[], None] = lambda: None,
) -> Iterator[Finished]:
    """Denoise every prompt; yields each problem as it finishes, those of one step in drawing order:
    on the canvas they lie by length, and a shard may end between two of them.

    `between_steps` is called before each step, when every finished problem has been passed on.
    Raises KeyboardInterrupt between two steps once `stop` is asked.
    """
    phases = phases or Phases(model.device)
    stop = stop or Stop()
    while canvas.fill(prompts):
        stop.end_if_asked()
        between_steps()
        phases.mark("between")
        left = decode_step(model, canvas, head, policy, recorder, phases)
        # Rows that leave together leave in drawing order: a shard may end between two of them.
        left.sort(key=lambda row: draw_key(row.prompt.problem.id))
        for finished in _finished(left, recorder, model.device):
            phases.mark("finish")
            phases.settle()
            yield finished


def rows_ahead(device: torch.device) -> int:
    """How many rows that left are being reduced while an earlier one is graded; on a CPU nothing
    overlaps."""
    return ROWS_AHEAD if device.type == "cuda" else 0


def _finished(left: list[Row], recorder: Recorder, device: torch.device) -> Iterator[Finished]:
    """The rows that left, reduced and graded, in order.

    On CUDA a row is graded while the device reduces the next ones, so that it does not wait for the
    grade.
    """
    ahead = rows_ahead(device)
    begun: deque[Leaving] = deque()
    for row in left:
        with current(device):
            begun.append(recorder.begin(row))
        if len(begun) > ahead:
            with current(device):
                finished = recorder.complete(begun.popleft())
            yield finished
    while begun:
        with current(device):
            finished = recorder.complete(begun.popleft())
        yield finished


@torch.inference_mode()
def decode_step(
    model: MaskedDiffusionModel,
    canvas: Canvas,
    head: Head,
    policy: LLaDAPolicy,
    recorder: Recorder,
    phases: Phases,
) -> list[Row]:
    """One forward pass over a canvas that is not empty, and all that follows from it; returns the
    rows that left."""
    with current(model.device):
        recorder.admit(canvas)
        packed = canvas.pack()
        conditional, unconditional = _hidden(model, packed)
        phases.mark("forward")
        stats, proposal, rows = _read(head, canvas, recorder, conditional, unconditional)
        phases.mark("head_and_statistics")
        update = policy.step(canvas, proposal)
        phases.mark("policy")
        recorder.step(canvas, head.guide(conditional, unconditional), stats, update)
        phases.mark("record")
        phases.count(
            tokens=len(packed.token_ids), rows=rows, flops=_flops(model, canvas, packed, head, rows)
        )
        left = canvas.apply(update)
        phases.mark("policy")
        return left


def _flops(
    model: MaskedDiffusionModel, canvas: Canvas, packed: Packed, head: Head, rows: int
) -> int:
    vocabulary, width = head.weight.shape
    copies = 2 if canvas.guided else 1
    projected = 2 if head.ring is None else 1
    # Without a ring the step before is projected again, once: its guidance was applied to its
    # hidden states.
    of_head = head_flops((copies + projected - 1) * rows, width=width, vocabulary=vocabulary)
    return model.flops_read(packed.reads) + of_head


def _hidden(model: MaskedDiffusionModel, packed: Packed) -> tuple[Tensor, Tensor | None]:
    hidden = model.hidden_read(packed.token_ids, packed.positions, packed.packing, packed.reads)
    if packed.unconditional_at is None:
        return hidden, None
    conditional, unconditional = hidden.chunk(2)
    return conditional, unconditional


def _read(
    head: Head,
    canvas: Canvas,
    recorder: Recorder,
    conditional: Tensor,
    unconditional: Tensor | None,
) -> tuple[LogitStats, Proposal, int]:
    """Statistics of the rows that somebody reads, laid out over all [B * G] generated positions;
    and their number."""
    counter = canvas.noise_counter() if head.sampling.temperature > 0 else None
    targets = recorder.targets(canvas)
    if head.ring is None:
        rows = Rows(conditional, unconditional, recorder.previous_hidden(canvas), targets, counter)
    else:
        place, first = canvas.places()
        rows = Rows(conditional, unconditional, None, targets, counter, place, first)
    n = len(conditional)
    if not recorder.masked_only:
        return *head.step(rows, topk=recorder.topk), n
    read = canvas.masked_at()
    if read is None:
        stats, proposal = head.step(rows, topk=recorder.topk)
        masked = canvas.masked
        return LogitStats(*(_only(column, masked) for column in stats)), proposal, n
    stats, proposal = head.step(rows.select(read), topk=recorder.topk)
    spread = LogitStats(*(_spread(column, read, n) for column in stats))
    return spread, Proposal(*(_spread(column, read, n) for column in proposal)), len(read)


def _spread(column: Tensor, read: Tensor, n: int) -> Tensor:
    full = column.new_full((n, *column.shape[1:]), missing(column.dtype))
    full[read] = column
    return full


def _only(column: Tensor, rows: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (column.ndim - 1)), column, missing(column.dtype))
