"""What is kept of a trajectory while it runs, and what becomes of it when its problem is finished.

During the loop everything stays on the device: one slot per row, written in place. When a row
leaves, its hidden trajectory is reduced (CKA, pooled states, sums) and its columns go to the host
once. Shapes: S steps, G positions, D features, A answer tokens, K top logits.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...kernels.geometry import LogitGeometry
from ...kernels.reference import LogitStats
from ...kernels.transfer import HostCopies, at_once, host_array, on_device
from ..answers.accepted import grade_any
from ..answers.span import token_span
from ..config import RunConfig
from ..models.loading import MaskedDiffusionModel
from ..problems.read import Origin, Problem
from ..prompts.prompt import Prompt
from ..store.format.schema import VARIABLES, missing, variables_in_flight
from ..store.format.verdicts import VERDICTS
from .block_canvas import BlockRow
from .block_record import Opened, cka_of_blocks, zero_where_unread
from .canvas import Canvas
from .null_beliefs import NullBeliefs
from .policy import Update
from .row import Row
from .slots import SEEN_MASKED, Slots
from .trajectory import all_logits, answer_states, cka_of, masked_states

HIDDEN = "hidden"
CKA = "cka"
NO_ORIGIN = Origin("", 0, 0, 0)


class Finished(NamedTuple):
    """One finished problem: its columns (a value or an array each, no problem dimension) as the
    shard stores them.

    Values are there at once, arrays once `ready()` has returned.
    """

    problem: Problem
    columns: dict[str, Any]
    ready: Callable[[], None] = at_once


class Leaving(NamedTuple):
    """A row on its way out: hidden [S, G, D] in its slot, token [S, G] there once `token_ready()`
    has returned, the steps that it `walked`, and the columns that need no grade. With `opened` G
    are the positions of the open block."""

    row: Row
    hidden: Tensor
    token: np.ndarray
    token_ready: Callable[[], None]
    walked: list[int]
    opened: Opened | None
    columns: dict[str, Any]


class Recorder:
    """Slots for `capacity` rows in flight, and the sum of hidden states since it was last taken."""

    def __init__(
        self,
        model: MaskedDiffusionModel,
        config: RunConfig,
        *,
        capacity: int,
        n_answer: int,
        null: NullBeliefs,
        geometry: LogitGeometry | None = None,
        looks_back: int = 1,
    ) -> None:
        """`geometry` of the model's head, where somebody has it already; `looks_back` of the
        policy."""
        self.model = model
        self.config = config
        self.masked_only = config.record != "all"
        self.answers_only = config.record == "answers"
        self.compares_steps = looks_back > 0 or not self.answers_only
        self.null = null
        self.topk = 0
        if config.save_logits != "none" and not self.answers_only:
            self.topk = min(config.topk, len(model.head_weight))
        self.geometry = geometry or LogitGeometry(model.head_weight)
        device = model.device
        self._slots = self._empty_slots(capacity, n_answer)
        self._last_step = torch.zeros(capacity, dtype=torch.int64, device=device)
        self._targets = torch.full((capacity, n_answer), -1, dtype=torch.int64, device=device)
        self._rows: dict[int, Row] = {}
        self._walked: dict[int, list[int]] = {}
        self._sum: Tensor | None = None
        self._copies = HostCopies(device)

    def _empty_slots(self, capacity: int, n_answer: int) -> Slots:
        sizes = {
            "step": self.config.steps,
            "position": self.config.positions_at_once,
            "answer_token": n_answer,
            "k": self.topk,
            "feature": self.model.head_weight.shape[1],
        }
        dtypes = {
            "model": self.model.dtype,
            "logits": self.model.logits_dtype(self.config.logits_dtype),
        }
        return Slots(
            variables_in_flight(self.config),
            capacity=capacity,
            sizes=sizes,
            dtypes=dtypes,
            device=self.model.device,
        )

    def admit(self, canvas: Canvas) -> None:
        """Empty the slots of rows that have just entered, so that none meets its predecessor's
        trajectory."""
        for row in canvas.rows:
            if self._rows.get(row.slot) is not row:
                self._rows[row.slot] = row
                self._walked[row.slot] = []
                self._clear(row.slot)
                answer = row.prompt.answer_ids
                self._targets[row.slot, : len(answer)] = canvas.on_device(list(answer))

    def targets(self, canvas: Canvas) -> Tensor | None:
        """Gold answer tokens [B * G, A] of every generated position, -1 where there are fewer; None
        where nobody asks how probable they are."""
        if self.answers_only:
            return None
        per_row = self._targets[self._slot_index(canvas)]
        return per_row.repeat_interleave(canvas.width, 0)

    def previous_hidden(self, canvas: Canvas) -> Tensor | None:
        """Hidden states [B * G, D] of each row's step before; NaN for a row at its first, or at the
        first of its open block. None where nobody asks how a step differs from the one before."""
        if not self.compares_steps:
            return None
        slots = self._slot_index(canvas)
        last_step = self._last_step[slots]
        hidden = self._slots.tensors[HIDDEN][slots, last_step]
        _, first = canvas.places()
        return hidden.flatten(0, 1).masked_fill_(first[:, None], torch.nan)

    def _slot_index(self, canvas: Canvas) -> Tensor:
        return canvas.on_device([row.slot for row in canvas.rows])

    def _clear(self, slot: int) -> None:
        self._slots.clear(slot)
        self._targets[slot] = -1
        self._last_step[slot] = 0

    def step(self, canvas: Canvas, hidden: Tensor, stats: LogitStats, update: Update) -> None:
        """Write one step of every row: hidden [B * G, D], statistics [B * G, ...] and the policy's
        update [B, G]; of rows that are decoded block by block G are the open positions."""
        slots = self._slot_index(canvas)
        steps = canvas.on_device(canvas.steps)
        revised = torch.zeros_like(update.commit) if update.revised is None else update.revised
        values = _of_statistics(stats)
        values |= {
            "token": torch.where(update.commit | revised, update.token, canvas.generated),
            "committed": update.commit,
            "revised": revised,
            "logprob": stats.top1_logit - stats.lse,
            "hidden": hidden,
            SEEN_MASKED: canvas.generated == canvas.mask_id,
        }
        self._slots.write(slots, steps, values)
        self._last_step[slots] = steps
        for row in canvas.rows:
            self._walked[row.slot].append(row.step)

    def begin(self, row: Row) -> Leaving:
        """Ask the device for all of a row that has left which needs no grade; waits for nothing.

        Its slot must stay untouched until `complete`.
        """
        seconds = time.perf_counter() - row.entered
        slot = self._slots.row(row.slot)
        to_host = self._copies.array
        token = to_host(slot["token"])
        token_ready = self._copies.ready()  # grading waits for the tokens alone

        first = row.first_step
        walked = self._walked[row.slot]
        opened = self._opened(row, walked)
        columns: dict[str, Any] = {}
        for name, values in slot.items():
            if self._is_column(name):
                whole = values if opened is None else opened.unfolded(values)
                columns[name] = to_host(_from_step(whole, first))

        if not self.answers_only:
            reduced = self._reduced(slot[HIDDEN], slot[SEEN_MASKED], walked, opened)
            for name, values in reduced.items():
                columns[name] = to_host(_from_step(values, first, square=name == CKA))

        targets = self._targets[row.slot]
        columns |= {
            "answer_token_id": to_host(targets.int()),
            "null_answer_logprob": to_host(self.null.of(targets)),
            "prompt_length": np.int32(row.prompt_length),
            "n_forwards": np.int32(row.n_forwards),
            "seconds": np.float32(seconds),
        }
        columns |= _of_prompt(row.prompt, self._start_of(row))
        if VARIABLES["logits"].is_stored(self.config):
            hidden = slot[HIDDEN] if opened is None else opened.unfolded(slot[HIDDEN])
            columns["logits"] = all_logits(_from_step(hidden, first), self.model.head_weight)
        if VARIABLES["open_start"].is_stored(self.config) and opened is not None:
            columns["open_start"], columns["open_end"] = opened.bounds(len(token))
        return Leaving(row, slot[HIDDEN], token, token_ready, walked, opened, columns)

    def _opened(self, row: Row, walked: list[int]) -> Opened | None:
        """Which positions were open at each step, of a row that was decoded block by block."""
        if not isinstance(row, BlockRow):
            return None
        return Opened(
            walked,
            row.opened,
            length=self.config.positions_at_once,
            gen_length=self.config.gen_length,
            read_offset=self.model.read_offset,
        )

    def _is_column(self, name: str) -> bool:
        """Whether what a slot holds under this name is stored as it is. The canvas is not: steps
        without a forward pass have to be filled in."""
        return name not in (SEEN_MASKED, "token") and VARIABLES[name].is_stored(self.config)

    def _reduced(
        self, hidden: Tensor, seen: Tensor, walked: list[int], opened: Opened | None
    ) -> dict[str, Tensor]:
        """What is made of a whole trajectory: hidden [S, G, D], positions `seen` masked [S, G]."""
        steps = on_device(walked, hidden.device)
        performed = torch.zeros_like(seen[:, 0]).index_fill_(0, steps, True)
        if opened is None:
            similarity = cka_of(self.geometry, hidden, seen, steps)
        else:
            hidden = zero_where_unread(hidden)
            seen = seen & (opened.positions(len(seen), seen.device) >= 0)
            similarity = cka_of_blocks(self.geometry, hidden, seen, opened)
        return similarity | {
            "state_masked": masked_states(hidden, seen).to(hidden.dtype),
            "performed": performed.to(torch.uint8),
            "n_masked": torch.where(performed, seen.sum(-1), -1).int(),
        }

    def complete(self, leaving: Leaving) -> Finished:
        """Grade what has begun to leave, and add what follows from the grade.

        Waits for the row's tokens alone; the arrays follow while the device goes on.
        """
        row = leaving.row
        hidden = leaving.hidden
        columns = leaving.columns
        leaving.token_ready()
        token = self._canvases(leaving)
        final = token[leaving.walked[-1]]
        text, verdict = self._grade(row, self._of_text(final.tolist()))
        answer = (int(verdict["answer_start"]), int(verdict["answer_end"]))
        columns |= verdict | {"generated_text": text}
        if self.answers_only:
            columns["final_token"] = final.astype(np.int32)
            return Finished(row.prompt.problem, columns, self._copies.ready())

        states = self._answer_states(leaving, answer).to(hidden.dtype)
        columns |= {
            "state_answer": self._copies.array(_from_step(states, row.first_step)),
            "token": token,
        }
        if self.config.mean_hidden:
            self._add_to_sum(hidden)
        return Finished(row.prompt.problem, columns, self._copies.ready())

    def _canvases(self, leaving: Leaving) -> np.ndarray:
        """The whole canvas [S, G] after each step; before a branch begins, the one it begins
        with."""
        start = self._start_of(leaving.row)
        if leaving.opened is not None:
            return leaving.opened.canvases(leaving.token, start)
        steps = np.arange(len(leaving.token))
        is_walked = np.isin(steps, leaving.walked) & (steps >= leaving.row.first_step)
        return _carry_forward(leaving.token, is_walked, start)

    def _answer_states(self, leaving: Leaving, answer: tuple[int, int]) -> Tensor:
        """Hidden states [S, D] averaged over the answer's positions; of open blocks, over those of
        them that are open."""
        hidden = leaving.hidden
        if leaving.opened is None:
            return answer_states(hidden, answer)
        positions = leaving.opened.positions(len(hidden), hidden.device)
        of_answer = (positions >= answer[0]) & (positions < answer[1])
        of_answer &= ~hidden[..., 0].isnan()
        return masked_states(zero_where_unread(hidden), of_answer)

    def _of_text(self, ids: list[int]) -> list[int]:
        """The tokens of the text among those of the canvas: of a model that attends block by block
        those before the first that ends the text, for nobody has asked what stands behind it."""
        if not self.config.of_blocks:
            return ids
        ends = {self.model.token_ids.eos, self.model.token_ids.eot}
        return list(itertools.takewhile(lambda token: token not in ends, ids))

    def _start_of(self, row: Row) -> np.ndarray:
        """The canvas [G] that the first step which is decoded sees."""
        if row.prompt.start is not None:
            return row.prompt.start.token.astype(np.int32)
        return np.full(self.config.gen_length, self.model.token_ids.mask, np.int32)

    def _add_to_sum(self, hidden: Tensor) -> None:
        if self._sum is None:
            # A copy: in float32 `hidden` is the slot itself, which the next row that enters writes
            # to.
            self._sum = hidden.to(torch.float32, copy=True)
        else:
            self._sum += hidden

    def take_hidden_sum(self) -> np.ndarray | None:
        """Sum of hidden states [S, G, D] over the problems finished since the last call, in
        float32."""
        taken = self._sum
        self._sum = None
        return None if taken is None else host_array(taken)

    def _grade(self, row: Row, ids: list[int]) -> tuple[str, dict[str, Any]]:
        def text_of(tokens: Any) -> str:
            return str(self.model.tokenizer.decode(list(tokens), skip_special_tokens=True))

        text = text_of(ids)
        result = grade_any(text, row.prompt.problem.answers)
        span = token_span(text_of, ids, result.start, result.end)
        start, end = span or (-1, -1)
        return text, {
            "extracted_answer": result.extracted or "",
            "grade_rule": result.rule,
            "verdict": np.uint8(VERDICTS[result.verdict].code),
            "answer_start": np.int32(start),
            "answer_end": np.int32(end),
        }


def _of_statistics(stats: LogitStats) -> dict[str, Tensor]:
    """The variables that are columns of the statistics."""
    values = {}
    for row in VARIABLES.values():
        if row.statistic is not None:
            values[row.name] = getattr(stats, row.statistic)
    return values


def _of_prompt(prompt: Prompt, start_token: np.ndarray) -> dict[str, Any]:
    """The columns that say which decoding this is, and where it began."""
    problem = prompt.problem
    origin = problem.origin or NO_ORIGIN
    return {
        "problem_id": problem.id,
        "index": np.int32(prompt.place),
        "group_id": problem.group_id,
        "sample": np.int32(problem.sample),
        "parent_id": origin.parent,
        "branch_step": np.int32(origin.step),
        "intervention": np.int32(origin.intervention),
        "branch": np.int32(origin.branch),
        "start_token": start_token,
    }


def _from_step(values: Tensor, first: int, *, square: bool = False) -> Tensor:
    """Values [S, ...] without those of the steps before `first`: a branch walks them for what comes
    of them, and they are its parent's. `square`: [S, S], of pairs of steps."""
    if first == 0:
        return values
    kept = values.clone()
    kept[:first] = missing(values.dtype)
    if square:
        kept[:, :first] = missing(values.dtype)
    return kept


def _carry_forward(token: np.ndarray, performed: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The canvas at steps without a forward pass is that of the step before; before the first, the
    `start` [G]."""
    own_step = np.where(performed, np.arange(len(token)), -1)
    last = np.maximum.accumulate(own_step)
    has_canvas = last >= 0
    canvas = token[last.clip(0)]
    filled = np.where(has_canvas[:, None], canvas, start)
    return filled.astype(np.int32)
