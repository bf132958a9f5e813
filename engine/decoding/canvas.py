"""The packed canvas: which problems are being denoised right now, their tokens, and which step each
is at.

Rows of any length lie end to end without padding. A row enters when there is room, moves through
its steps, and leaves when they are done; its neighbours never notice. Shapes: B rows, G generated
positions, T packed tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...kernels.matrix_product import safe_rows
from ...kernels.transfer import HostCopies, on_device
from ..models.attention import packing_of
from ..models.forward import AnyPacking, AnyReads
from ..models.reads import reads_of
from ..prompts.prompt import Prompt
from ..registry import PluginError
from .policy import Update
from .refit import Reach
from .row import Row, next_performed


class Packed(NamedTuple):
    """The batch as the network sees it.

    `guided`: behind the rows come their copies with a masked prompt, and every index of generated
    positions, [B * G], has those of the copies behind it, [2 * B * G].
    """

    token_ids: Tensor
    positions: Tensor
    packing: AnyPacking
    reads: AnyReads
    guided: bool

    @property
    def write_at(self) -> Tensor:
        """Where the generated tokens stand among the T tokens."""
        return self.reads.written

    @property
    def read_at(self) -> Tensor:
        """Where the prediction of each generated position is read among the T tokens."""
        return self.reads.read


@dataclass(frozen=True)
class RowFormat:
    """What every row looks like: `gen_length` positions of `mask_id` behind its prompt. The
    prediction of a position is read `read_offset` positions from it. `guided`: each row has a copy
    with a masked prompt."""

    gen_length: int
    mask_id: int
    read_offset: int = 0
    guided: bool = False


@dataclass(frozen=True)
class Schedule:
    """When a row moves and leaves. `performed[s]` says whether step s has a forward pass; the
    others are stepped over. `performed_for` says it of the problem with one noise key, where the
    policy draws that.

    `free`: a row leaves when it has no mask left or its policy stops it, which the host learns from
    the device once a step.
    """

    performed: Sequence[bool]
    free: bool = False
    performed_for: Callable[[int], Sequence[bool]] | None = None

    def of(self, prompt: Prompt) -> Sequence[bool]:
        """Whether each step of this prompt's row has a forward pass."""
        if self.performed_for is None:
            return self.performed
        return self.performed_for(prompt.key)


@dataclass(frozen=True)
class Room:
    """How many rows and packed tokens there is room for at once. Without `refill` nobody enters
    before all have left."""

    rows: int
    tokens: int
    refill: bool = True


class Canvas:
    """Rows in flight, all of one format. A pass is read at `width` generated positions of each row,
    here all of them."""

    def __init__(
        self, row_format: RowFormat, schedule: Schedule, room: Room, *, device: torch.device
    ) -> None:
        self.gen_length = row_format.gen_length
        self.width = row_format.gen_length
        self.mask_id = row_format.mask_id
        self.read_offset = row_format.read_offset
        self.guided = row_format.guided
        self.schedule = schedule
        self.room = room
        self.device = device
        self.rows: list[Row] = []
        self.generated = torch.empty(0, self.gen_length, dtype=torch.int64, device=device)
        self.position = torch.arange(self.gen_length, device=device)
        self._free = list(range(room.rows))[::-1]
        self._left = 0
        self._waiting: Prompt | None = None
        self._packed: Packed | None = None
        self._copies = HostCopies(device) if schedule.free else None

    @property
    def steps(self) -> list[int]:
        return [row.step for row in self.rows]

    @property
    def decoded(self) -> float:
        """What has been decoded so far, in problems: rows that left, and of each other its share.

        Under a free schedule the share is that of the tokens committed, for nobody knows at which
        step the row will end.
        """
        decoded = float(self._left)
        for row in self.rows:
            if self.schedule.free and row.n_masked is not None:
                decoded += 1 - row.n_masked / self.gen_length
            else:
                decoded += row.step / len(row.performed)
        return decoded

    @property
    def prompt_lengths(self) -> list[int]:
        return [row.prompt_length for row in self.rows]

    def due(self, counts: Sequence[int], ends: Sequence[int] | None = None) -> list[int]:
        """How many commits each row makes at its step: what a policy's `counts` [S] say, or what
        they become where the canvas was changed. `ends` [S]: each step commits positions before
        its own; None: any."""
        reach = Reach(counts, ends or [self.gen_length] * len(counts))
        return [row.due(reach, self.mask_id) for row in self.rows]

    def on_device(self, values: list[int]) -> Tensor:
        """A host list as an int64 tensor on the canvas's device, without waiting for it."""
        return on_device(values, self.device)

    @property
    def masked(self) -> Tensor:
        """Which generated positions [B * G] are masked."""
        return self.generated.flatten() == self.mask_id

    def unread(self) -> Tensor | None:
        """Which of the positions [B * width] have no prediction in this pass, by their places among
        them; None, as here, where all have."""
        return None

    def masked_at(self) -> Tensor | None:
        """Where among the generated positions [B * G] the masked ones are, ascending; None where
        the host does not know how many they are, and finding out would mean to wait for the device.
        """
        total = 0
        for row in self.rows:
            if row.n_masked is None:
                return None
            total += row.n_masked
        return (~self.masked).argsort(stable=True)[:total]

    def fill(self, prompts: Iterator[Prompt]) -> bool:
        """Let waiting prompts enter while the token budget has room; False when nobody is left at
        all."""
        if self.rows and not self.room.refill:
            return True
        entering = self._entering(prompts)
        if entering:
            self._enter(entering)
        return bool(self.rows)

    def _enter(self, entering: Sequence[Row]) -> None:
        """Put rows beside those that are there."""
        shape = (len(entering), self.gen_length)
        fresh = torch.full(shape, self.mask_id, dtype=torch.int64, device=self.device)
        for index, row in enumerate(entering):
            if row.prompt.start is not None:
                fresh[index] = self.on_device(row.parents_canvas)
        self._arrange([*self.rows, *entering], torch.cat([self.generated, fresh]))

    def row_tokens(self, prompt_length: int) -> int:
        """How many tokens a row has at most."""
        return prompt_length + self.gen_length

    @property
    def passed_tokens(self) -> int:
        """Tokens of rows that the next pass brings, each row once."""
        return sum(self.row_tokens(length) for length in self.prompt_lengths)

    def _entering(self, prompts: Iterator[Prompt]) -> list[Row]:
        """The rows that there is room for; a row longer than the budget still runs, alone."""
        used = sum(self.row_tokens(row.prompt_length) for row in self.rows)
        entering: list[Row] = []
        while self._free:
            self._waiting = self._waiting or next(prompts, None)
            if self._waiting is None:
                break
            used += self.row_tokens(len(self._waiting.token_ids))
            if used > self.room.tokens and (self.rows or entering):
                break
            entering.append(self._new_row(self._waiting))
            self._waiting = None
        return entering

    def _new_row(self, prompt: Prompt) -> Row:
        performed = self.schedule.of(prompt)
        start = prompt.start
        if start is not None:
            performed = start.performed(performed)
        first_step = next_performed(performed, 0)
        row = Row(prompt, self._free.pop(), first_step, performed, self.gen_length)
        if start is not None:
            row.n_masked = self._masks_of_parent(row)
        return row

    def _masks_of_parent(self, row: Row) -> int | None:
        """The masks of `row.parents_canvas`. None where the schedule is fixed and does not fit a
        canvas that was changed: then what a policy counts need not be what commits."""
        if row.is_changed and not self.schedule.free:
            return None
        return row.parents_canvas.count(self.mask_id)

    def _arrange(self, rows: Sequence[Row], generated: Tensor) -> None:
        # Neighbours of one length share an attention call, so rows are kept in order of length.
        def by_length(index: int) -> tuple[int, int]:
            row = rows[index]
            return row.prompt_length, row.slot

        order = sorted(range(len(rows)), key=by_length)
        self.rows = [rows[index] for index in order]
        self.generated = generated[self.on_device(order)]
        self._packed = None

    def pack(self) -> Packed:
        """The packed batch with the current tokens; under guidance a second copy of each row with a
        masked prompt."""
        if self._packed is None:
            self._packed = self._build()
        packed = self._packed
        tokens = self.generated.flatten()
        packed.token_ids[packed.write_at] = tokens.repeat(2) if self.guided else tokens
        return packed

    def _build(self) -> Packed:
        blank = [self.mask_id] * self.gen_length
        sequences = [[*row.prompt.token_ids, *blank] for row in self.rows]
        if self.guided:
            masked = [[self.mask_id] * len(sequence) for sequence in sequences]
            sequences += masked
        n_rows = len(sequences)

        # A row of masks that nobody reads: else the last bits of a small batch would depend on its
        # size.
        lacking = safe_rows() - sum(map(len, sequences))
        if lacking > 0:
            sequences.append([self.mask_id] * lacking)

        ids: list[int] = []
        positions: list[int] = []
        for sequence in sequences:
            ids += sequence
            positions += range(len(sequence))
        ids_on_device = self.on_device(ids)
        positions_on_device = self.on_device(positions)

        lengths = [len(sequence) for sequence in sequences]
        packing = packing_of(lengths, self.device)
        reads = reads_of(
            lengths,
            packing,
            rows=n_rows,
            each=self.gen_length,
            offset=self.read_offset,
        )
        return Packed(ids_on_device, positions_on_device, packing, reads, self.guided)

    def noise_counter(self) -> Tensor:
        """Counters [B * G, 3] of the noise at each generated position: problem key, position,
        step."""
        shape = self.generated.shape
        keys = self.on_device([row.prompt.key for row in self.rows])
        steps = self.on_device(self.steps)
        counters = (
            keys[:, None].expand(shape),
            self.position.expand(shape),
            steps[:, None].expand(shape),
        )
        return torch.stack(counters, dim=-1).flatten(0, 1)

    def places(self) -> tuple[Tensor, Tensor]:
        """For each generated position [B * G]: its place by slot and position, and whether it has
        no step before."""
        slots = self.on_device([row.slot for row in self.rows])
        is_new = [int(row.n_forwards == 0) for row in self.rows]
        first = self.on_device(is_new).bool()
        places = slots[:, None] * self.gen_length + self.position
        return places.flatten(), first.repeat_interleave(self.gen_length)

    def allowed(self, update: Update) -> Update:
        """The update less the commits that cannot be: of positions that are not masked, and of the
        mask token itself. Raises PluginError for one that does not fit the canvas."""
        shape = self.generated.shape
        if update.token.shape != shape or update.commit.shape != shape:
            raise PluginError(
                f"token is {list(update.token.shape)}, commit {list(update.commit.shape)}; "
                f"expected {list(shape)}, as canvas.generated is"
            )
        masked = self.generated == self.mask_id
        commit = update.commit & masked & (update.token != self.mask_id)
        return update._replace(commit=commit)

    def apply(self, update: Update) -> list[Row]:
        """Write the commits, move every row to its next step, and let finished rows leave; returns
        those."""
        self.generated = torch.where(update.commit, update.token, self.generated)
        replaying = [index for index, row in enumerate(self.rows) if row.is_replaying]
        ended = self._count(update)
        passes = 2 if self.guided else 1
        leaving: list[Row] = []
        staying: list[int] = []
        for row in self.rows:
            row.n_forwards += passes
            row.step = next_performed(row.performed, row.step + 1)
        for index in replaying:
            row = self.rows[index]
            self.generated[index] = self.on_device(row.parents_canvas)
            row.n_masked = self._masks_of_parent(row)
            ended[index] = False

        for index, row in enumerate(self.rows):
            if ended[index] or row.step >= len(row.performed):
                leaving.append(row)
            else:
                staying.append(index)

        if leaving:
            self._left += len(leaving)
            self._free.extend(row.slot for row in leaving)
            rows = [self.rows[index] for index in staying]
            generated = self.generated[self.on_device(staying)]
            self._arrange(rows, generated)
        return leaving

    def _count(self, update: Update) -> list[bool]:
        """Note how many positions of each row are masked now; returns which rows a free schedule
        ends."""
        if self._copies is not None:
            return self._count_on_device(update, self._copies)
        for index, row in enumerate(self.rows):
            if row.n_masked is None or update.counts is None:
                row.n_masked = None
            else:
                row.n_masked -= update.counts[index]
        return [False] * len(self.rows)

    def _count_on_device(self, update: Update, copies: HostCopies) -> list[bool]:
        """The same of a free schedule: the one place where decoding waits for the device."""
        masked = (self.generated == self.mask_id).sum(-1)
        ended = masked == 0
        if update.stopped is not None:
            ended = ended | update.stopped
        counted = copies.array(torch.stack([masked, ended.to(masked.dtype)]))
        copies.ready()()

        n_masked, over = counted.tolist()
        for row, count in zip(self.rows, n_masked, strict=True):
            row.n_masked = count
        return [bool(end) for end in over]


def capacity_for(prompts: Iterable[Prompt], *, gen_length: int, token_budget: int) -> int:
    """The most rows that can ever be on a canvas at once: what the shortest prompts allow, at least
    one."""
    lengths = [len(prompt.token_ids) + gen_length for prompt in prompts]
    shortest = min(lengths, default=1)
    affordable = token_budget // shortest
    return max(1, min(len(lengths), affordable))
