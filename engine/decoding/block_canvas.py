"""The canvas of models that attend block by block: of each row one block is open, and a pass brings
only the tokens whose keys and values are not kept.

A row enters with its prompt and first block; when a block is over, the next pass brings it once
more together with the next one, and from then on its keys and values stay as they are. Rows are at
blocks of their own, and share passes all the same. Shapes: B rows, K positions of a block, C places
of a row's sheet (see `block_layout.py`), T packed tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...kernels.matrix_product import safe_rows
from ..models.block_attention import BlockPacking, Span, seen_by_blocks
from ..models.block_reads import BlockReads
from ..models.cache import KeyValueCache
from ..prompts.prompt import Prompt
from .block_layout import BlockLayout
from .canvas import Canvas, Packed, Room, RowFormat, Schedule
from .policy import Update
from .row import Row

NOBODYS = -1
"""The slot of tokens that belong to no row."""


@dataclass(eq=False)
class BlockRow(Row):
    """A row whose block `block` of `n_blocks` is open; the first begins with `tail` tokens of the
    prompt.

    `n_masked` are those of the open block, which has made `steps_in_block` steps, the last
    `steps_without_masks` of them with no mask left. `cached` tokens from the row's first are kept.
    `opened[s]` is the first generated position that was open at step s, negative in a tail.
    """

    tail: int = 0
    n_blocks: int = 1
    block: int = 0
    steps_in_block: int = 0
    steps_without_masks: int = 0
    cached: int = 0
    opened: dict[int, int] = field(default_factory=dict)


class BlockCanvas(Canvas):
    """Rows in flight, of which `generated` [B, K] are the tokens of the open blocks.

    `sheets` [B, C] are all tokens from the first block on. `keeps`: with a cache; else every pass
    brings all tokens of a row.
    """

    rows: list[BlockRow]  # type: ignore[assignment]

    def __init__(
        self,
        row_format: RowFormat,
        schedule: Schedule,
        room: Room,
        *,
        layout: BlockLayout,
        cache: KeyValueCache | None,
        device: torch.device,
    ) -> None:
        super().__init__(row_format, schedule, room, device=device)
        self.layout = layout
        self.cache = cache
        self.width = layout.length
        self.sheets = torch.empty(0, layout.places, dtype=torch.int64, device=device)
        self.generated = torch.empty(0, self.width, dtype=torch.int64, device=device)
        self.position = torch.arange(self.width, device=device)
        self.filler = 0 if self.mask_id != 0 else 1
        self._open_at = self.generated
        self._written: Tensor | None = None
        self._unread: Tensor | None = None
        self._places: tuple[Tensor, Tensor] | None = None

    @property
    def decoded(self) -> float:
        """What has been decoded so far, in problems: rows that left, and of each other the share of
        blocks that are full."""
        return self._left + sum(row.block / row.n_blocks for row in self.rows)

    @property
    def steps_in_block(self) -> list[int]:
        """How many steps each row [B] has made in its open block."""
        return [row.steps_in_block for row in self.rows]

    @property
    def steps_without_masks(self) -> list[int]:
        """How many of these steps began without a mask in the block, of each row [B]."""
        return [row.steps_without_masks for row in self.rows]

    @property
    def written(self) -> Tensor:
        """Which positions [B, K] of the open blocks are generated: not the prompt's, and not behind
        the row's end."""
        if self._written is None:
            bounds = [self._bounds(row) for row in self.rows]
            first = self.on_device([bound.start for bound in bounds])[:, None]
            last = self.on_device([bound.stop for bound in bounds])[:, None]
            self._written = (self.position >= first) & (self.position < last)
        return self._written

    @property
    def block_tokens(self) -> list[int]:
        """How many positions of each row's open block [B] are generated."""
        return [len(self._bounds(row)) for row in self.rows]

    @property
    def masks_left(self) -> list[int]:
        """How many positions of each row's open block [B] are masked."""
        return [row.n_masked or 0 for row in self.rows]

    def _bounds(self, row: BlockRow) -> range:
        """The positions of the open block that are generated."""
        first = row.block * self.width
        start = max(row.tail - first, 0)
        stop = min(self.layout.end(row.tail) - first, self.width)
        return range(start, stop)

    def row_tokens(self, prompt_length: int) -> int:
        """How many tokens a row has at most."""
        return self.layout.tokens(prompt_length)

    @property
    def passed_tokens(self) -> int:
        """Tokens of rows that the next pass brings: those that are not kept."""
        reads = self.pack().reads
        assert isinstance(reads, BlockReads)
        return reads.tokens

    def _new_row(self, prompt: Prompt) -> Row:
        length = len(prompt.token_ids)
        tail = self.layout.tail(length)
        slot = self._free.pop()
        if self.cache is not None:
            self.cache.open(slot, self.layout.tokens(length))
        row = BlockRow(
            prompt,
            slot,
            0,
            self.schedule.of(prompt),
            None,
            tail=tail,
            n_blocks=self.layout.blocks_of(tail),
        )
        row.n_masked = len(self._bounds(row))
        return row

    def _enter(self, entering: Sequence[Row]) -> None:
        """Put rows beside those that are there."""
        shape = (len(entering), self.layout.places)
        fresh = torch.full(shape, self.filler, dtype=torch.int64, device=self.device)
        for index, row in enumerate(entering):
            tail = self.layout.tail(row.prompt_length)
            fresh[index, tail : self.layout.end(tail)] = self.mask_id
            if tail:
                fresh[index, :tail] = self.on_device(list(row.prompt.token_ids[-tail:]))
        self._arrange([*self.rows, *entering], torch.cat([self.sheets, fresh]))

    def _arrange(self, rows: Sequence[Row], sheets: Tensor) -> None:
        def by_length(index: int) -> tuple[int, int]:
            return rows[index].prompt_length, rows[index].slot

        order = sorted(range(len(rows)), key=by_length)
        self.rows = [rows[index] for index in order]  # type: ignore[misc]
        self.sheets = sheets[self.on_device(order)]
        self._open()

    def _open(self) -> None:
        """Look at each row's open block anew, and forget what followed from those before."""
        first = self.on_device([row.block * self.width for row in self.rows])
        self._open_at = first[:, None] + self.position
        self.generated = self.sheets.gather(1, self._open_at)
        self._packed = None
        self._written = None
        self._unread = self._unread_now()
        self._places = None

    def pack(self) -> Packed:
        """The tokens of all rows that are not kept, each row's open block last."""
        if self._packed is None:
            self._packed = self._build()
        packed = self._packed
        reads = packed.reads
        assert isinstance(reads, BlockReads)
        packed.token_ids[reads.written] = self.generated.flatten()[reads.source]
        return packed

    def _build(self) -> Packed:
        ids: list[int] = []
        from_sheet: list[int] = []  # of tokens that are not the prompt's: where they come from
        sheet_at: list[int] = []
        positions: list[int] = []
        written: list[int] = []
        source: list[int] = []
        read: list[int] = []
        spans: list[Span] = []
        for number, row in enumerate(self.rows):
            start = len(ids)
            border = row.prompt_length - row.tail
            opens = border + row.block * self.width
            stop = min(opens + self.width, border + self.layout.end(row.tail))
            new = range(row.cached, stop)
            generated = range(max(row.cached, border), stop)
            ids += row.prompt.token_ids[row.cached : border]
            sheet_at += range(len(ids), len(ids) + len(generated))
            first = number * self.layout.places - border
            from_sheet += range(first + generated.start, first + generated.stop)
            ids += [0] * len(generated)
            positions += new
            spans.append(self._span(row, start, new, opens))

            first = start + opens - row.cached
            written += range(first, first + stop - opens)
            source += range(number * self.width, number * self.width + stop - opens)
            last = start + len(new) - 1
            first += self.read_offset
            read += [min(max(at, start), last) for at in range(first, first + self.width)]

        tokens = len(ids)
        # A row of masks that nobody reads: else the last bits of a small batch would depend on its
        # size.
        lacking = safe_rows() - tokens
        if lacking > 0:
            ids += [self.mask_id] * lacking
            positions += range(lacking)
            spans.append(Span(tokens, lacking, 0, NOBODYS, None))

        token_ids = self.on_device(ids)
        token_ids[self.on_device(sheet_at)] = self.sheets.flatten()[self.on_device(from_sheet)]
        reads = BlockReads(
            written=self.on_device(written),
            source=self.on_device(source),
            read=self.on_device(read),
            tokens=tokens,
            pairs=sum(span.pairs for span in spans if span.slot != NOBODYS),
        )
        packing = BlockPacking(tuple(spans), self.cache, self.device)
        return Packed(token_ids, self.on_device(positions), packing, reads, False)

    def _span(self, row: BlockRow, start: int, new: range, opens: int) -> Span:
        allowed = None
        if new.start < opens:
            allowed = seen_by_blocks(
                new,
                block_length=self.width,
                shift=self.layout.shift(row.prompt_length),
                open_from=opens if self.layout.blocks.causal_context else None,
                device=self.device,
            )
        return Span(start, len(new), new.start, row.slot, allowed)

    def unread(self) -> Tensor | None:
        """Which of the open positions [B * K] have no prediction in this pass: those behind a row's
        end, and, where predictions stand one position before their token, a block's first one once
        its pass with the block before is over."""
        return self._unread

    def _unread_now(self) -> Tensor | None:
        if self.read_offset == 0 and self.layout.blocks.whole_last:
            return None
        without: list[int] = []
        for number, row in enumerate(self.rows):
            first = number * self.width
            if self.read_offset < 0 and row.steps_in_block > 0:
                without.append(first)
            without += range(first + self._bounds(row).stop, first + self.width)
        return self.on_device(without) if without else None

    def noise_counter(self) -> Tensor:
        """Counters [B * K, 3] of the noise at each open position: problem key, generated position,
        step."""
        shape = self.generated.shape
        keys = self.on_device([row.prompt.key for row in self.rows])
        steps = self.on_device(self.steps)
        tails = self.on_device([row.tail for row in self.rows])
        position = (self._open_at - tails[:, None]).clamp_min(0)
        counters = (keys[:, None].expand(shape), position, steps[:, None].expand(shape))
        return torch.stack(counters, dim=-1).flatten(0, 1)

    def places(self) -> tuple[Tensor, Tensor]:
        """For each open position [B * K]: its place by slot, and whether its block has no step
        before."""
        if self._places is None:
            slots = self.on_device([row.slot for row in self.rows])
            is_new = [int(row.steps_in_block == 0) for row in self.rows]
            first = self.on_device(is_new).bool()
            places = slots[:, None] * self.width + self.position
            self._places = (places.flatten(), first.repeat_interleave(self.width))
        return self._places

    def allowed(self, update: Update) -> Update:
        """The update less what cannot be: commits of positions that are not masked, revisions of
        those that are, that are not generated or that stay what they are, and the mask token."""
        update = super().allowed(update)
        if update.revised is None:
            return update
        holds = self.written & (self.generated != self.mask_id)
        changes = (update.token != self.generated) & (update.token != self.mask_id)
        return update._replace(revised=update.revised & holds & changes)

    def apply(self, update: Update) -> list[Row]:
        """Write commits and revisions, move every row on, open the next block where one is over,
        and let finished rows leave; returns those."""
        changed = update.commit if update.revised is None else update.commit | update.revised
        after = torch.where(changed, update.token, self.generated)
        self.sheets.scatter_(1, self._open_at, after)
        self.generated = after
        ended = self._move_on(update)

        leaving = [row for row, over in zip(self.rows, ended, strict=True) if over]
        if leaving:
            self._left += len(leaving)
            for row in leaving:
                self._free.append(row.slot)
                if self.cache is not None:
                    self.cache.close(row.slot)
            staying = [index for index, over in enumerate(ended) if not over]
            rows = [self.rows[index] for index in staying]
            self._arrange(rows, self.sheets[self.on_device(staying)])
        elif any(row.steps_in_block <= 1 for row in self.rows):
            self._open()  # a block has been opened, or what it brought along is kept now
        return list(leaving)

    def _move_on(self, update: Update) -> list[bool]:
        """Move every row to its next step; returns which rows leave. The one place where decoding
        waits for the device."""
        n_masked, closed, stopped = self._told(update)
        ended = []
        for index, row in enumerate(self.rows):
            row.opened[row.step] = row.block * self.width - row.tail
            if self.cache is not None:
                row.cached = row.prompt_length - row.tail + row.block * self.width
            row.n_forwards += 1
            row.step += 1
            row.steps_in_block += 1
            row.steps_without_masks += row.n_masked == 0
            row.n_masked = n_masked[index]
            if closed[index]:
                row.block += 1
                row.steps_in_block = 0
                row.steps_without_masks = 0
                row.n_masked = len(self._bounds(row))
            done = row.block == row.n_blocks or row.step >= len(row.performed)
            ended.append(done or stopped[index])
        return ended

    def _told(self, update: Update) -> tuple[list[int], list[bool], list[bool]]:
        """Of each row: masks left in its block, whether the block is over, whether the row ends."""
        masked = (self.generated == self.mask_id).sum(-1)
        closed = masked == 0 if update.closed is None else update.closed
        stopped = torch.zeros_like(closed) if update.stopped is None else update.stopped
        assert self._copies is not None, "blocks are of a free schedule"
        counted = self._copies.array(torch.stack([masked, closed.long(), stopped.long()]))
        self._copies.ready()()
        n_masked, over, ends = counted.tolist()
        return n_masked, [bool(x) for x in over], [bool(x) for x in ends]
