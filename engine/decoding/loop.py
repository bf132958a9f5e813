"""The loop. It knows no model family, no policy and no metric by name. Shapes: B rows, G positions,
D features."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.head import Head, Proposal, Rows
from ...kernels.reference import LogitStats
from ...kernels.transfer import current
from ..models.flops import head_flops
from ..models.loading import MaskedDiffusionModel
from ..policies import is_ours
from ..prompts.prompt import Prompt
from ..registry import PluginError
from ..signals import Stop
from ..store.drawing import drawing_place
from ..store.format.schema import missing
from .canvas import Canvas, Packed
from .constraints import under_constraints
from .patches import with_patches
from .phases import Phases
from .policy import Policy, Update
from .recorder import Finished, Leaving, Recorder
from .row import Row

logger = logging.getLogger(__name__)

ROWS_AHEAD = 2
"""`rows_ahead` on a GPU: enough that it has work while the host grades, few enough for its memory.
"""


@dataclass(frozen=True, eq=False)
class Decoder:
    """A model at work on one canvas, with all that a step needs; `phases` says where the time went.

    `decode` is the whole of it; `step` is one forward pass.
    """

    model: MaskedDiffusionModel
    canvas: Canvas
    head: Head
    policy: Policy
    recorder: Recorder
    phases: Phases

    @torch.inference_mode()
    def decode(
        self,
        prompts: Iterator[Prompt],
        *,
        stop: Stop | None = None,
        between_steps: Callable[[], None] = lambda: None,
    ) -> Iterator[Finished]:
        """Denoise every prompt; yields each problem as it finishes, those of one step in drawing
        order: on the canvas they lie by length, and a shard may end between two of them.

        `between_steps` is called before each step, when every finished problem has been passed on.
        Raises KeyboardInterrupt between two steps once `stop` is asked.
        """
        stop = stop or Stop()
        while self.canvas.fill(prompts):
            stop.end_if_asked()
            between_steps()
            self.phases.mark("between")

            leaving = self.step()
            leaving.sort(key=lambda row: drawing_place(row.prompt.problem))
            for finished in self._finished(leaving):
                self.phases.mark("finish")
                self.phases.settle()
                yield finished

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """One forward pass over a canvas that is not empty, and all that follows from it; returns
        the rows that left."""
        canvas = self.canvas
        phases = self.phases
        with current(self.model.device):
            self.recorder.admit(canvas)
            packed = canvas.pack()
            conditional, unconditional = self._hidden(packed)
            conditional = with_patches(self.model, canvas, conditional)
            phases.mark("forward")

            rows = self._rows(conditional, unconditional)
            stats, proposal, n_rows = self._read(rows)
            stats = LogitStats(*(_unread_missing(column, canvas) for column in stats))
            proposal = under_constraints(self.head, canvas, rows, proposal)
            sureness = _unread_missing(proposal.confidence, canvas)
            proposal = proposal._replace(confidence=sureness)
            phases.mark("head_and_statistics")

            update = self._update(proposal, stats)
            phases.mark("policy")

            hidden = _unread_missing(self.head.guide(conditional, unconditional), canvas)
            self.recorder.step(canvas, hidden, self._recorded(stats), update)
            phases.mark("record")

            flops = self._flops(packed, n_rows)
            tokens = self.model.forward.padded(len(packed.token_ids))
            phases.count(tokens=tokens, rows=n_rows, flops=flops)
            leaving = canvas.apply(update)
            phases.mark("policy")
            return leaving

    def _hidden(self, packed: Packed) -> tuple[Tensor, Tensor | None]:
        hidden = self.model.hidden_read(
            packed.token_ids, packed.positions, packed.packing, packed.reads
        )
        if not packed.guided:
            return hidden, None
        conditional, unconditional = hidden.chunk(2)
        return conditional, unconditional

    def _read(self, rows: Rows) -> tuple[LogitStats, Proposal, int]:
        """Statistics of the rows that somebody reads, laid out over all [B * G] generated
        positions; and their number."""
        topk = self.recorder.topk
        n = len(rows.hidden)
        if not self.recorder.masked_only:
            stats, proposal = self.head.step(rows, topk=topk)
            return stats, proposal, n

        masked_at = None if self._all_are_read else self.canvas.masked_at()
        if masked_at is None:
            stats, proposal = self.head.step(rows, topk=topk)
            return stats if self._all_are_read else self._of_masked(stats), proposal, n

        stats, proposal = self.head.step(rows.select(masked_at), topk=topk)
        all_stats = LogitStats(*(_spread(column, masked_at, n) for column in stats))
        all_proposals = Proposal(*(_spread(column, masked_at, n) for column in proposal))
        return all_stats, all_proposals, len(masked_at)

    @property
    def _all_are_read(self) -> bool:
        # A class that does not inherit from Policy, from before there was the attribute, lacks it.
        return getattr(self.policy, "reads_committed", False)

    def _recorded(self, stats: LogitStats) -> LogitStats:
        """What is kept of the statistics that the policy saw."""
        if self.recorder.masked_only and self._all_are_read:
            return self._of_masked(stats)
        return stats

    def _of_masked(self, stats: LogitStats) -> LogitStats:
        masked = self.canvas.masked
        return LogitStats(*(_only(column, masked) for column in stats))

    def _update(self, proposal: Proposal, stats: LogitStats) -> Update:
        """What the policy decided, as far as it may. Raises PluginError for whatever goes wrong in
        a policy from outside."""
        canvas = self.canvas
        try:
            return canvas.allowed(self.policy.step(canvas, proposal, stats))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if is_ours(type(self.policy)):
                raise
            logger.info("a policy from outside failed", exc_info=error)
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise PluginError(
                f"policy {type(self.policy).__qualname__}: its step raises {type(error).__name__}: "
                f"{error} ({place.filename}, line {place.lineno}); the "
                "log of the run has more"
            ) from error

    def _rows(self, conditional: Tensor, unconditional: Tensor | None) -> Rows:
        canvas = self.canvas
        counter = canvas.noise_counter() if self.head.sampling.temperature > 0 else None
        targets = self.recorder.targets(canvas)
        if self.head.ring is None:
            previous = self.recorder.previous_hidden(canvas)
            return Rows(conditional, unconditional, previous, targets, counter)
        place, first = canvas.places()
        return Rows(conditional, unconditional, None, targets, counter, place, first)

    def _flops(self, packed: Packed, n_rows: int) -> int:
        vocabulary, width = self.head.weight.shape
        copies = 2 if self.canvas.guided else 1
        # Without a ring the step before is projected again, once: its guidance was applied to its
        # hidden states.
        again = 1 if self.head.ring is None else 0
        projected = (copies + again) * n_rows
        of_head = head_flops(projected, width=width, vocabulary=vocabulary)
        return self.model.flops_read(packed.reads) + of_head

    def _finished(self, leaving: list[Row]) -> Iterator[Finished]:
        """The rows that left, reduced and graded, in order.

        On CUDA a row is graded while the device reduces the next ones, so that it does not wait for
        the grade.
        """
        device = self.model.device
        recorder = self.recorder
        ahead = rows_ahead(device)
        begun: deque[Leaving] = deque()
        for row in leaving:
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


def rows_ahead(device: torch.device) -> int:
    """How many rows that left are being reduced while an earlier one is graded; on a CPU nothing
    overlaps."""
    return ROWS_AHEAD if device.type == "cuda" else 0


def _spread(column: Tensor, read: Tensor, n: int) -> Tensor:
    full = column.new_full((n, *column.shape[1:]), missing(column.dtype))
    full[read] = column
    return full


def _unread_missing(column: Tensor, canvas: Canvas) -> Tensor:
    """A column [B * width, ...], missing where a pass has no prediction."""
    unread = canvas.unread()
    if unread is None or not column.numel():
        return column
    return column.index_fill(0, unread, missing(column.dtype))


def _only(column: Tensor, rows: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (column.ndim - 1)), column, missing(column.dtype))
