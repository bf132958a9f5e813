"""The problems of the report page: which are shown, what is read of each, and its coding in bytes.

S steps, P positions. A value is coded in one byte, of 255 levels; 255 itself is no value.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.store.format.schema import VARIABLES
from ...engine.store.format.verdicts import (
    AMBIGUOUS,
    CORRECT,
    NO_ANSWER_EXTRACTED,
    NO_GOLD_ANSWER,
    WRONG,
)
from ...engine.store.read.tokens import run_tokens
from ..metrics.block import also, digit_ids, kept_after_end, read_block
from ..metrics.confidence import answer_slot
from .report_curves import rounded

if TYPE_CHECKING:
    from ...engine.store import Run

ROWS_AT_ONCE = 16
NO_VALUE = 255
LEVELS = 254

VERDICTS = {
    WRONG: "wrong",
    CORRECT: "correct",
    NO_ANSWER_EXTRACTED: "unextracted",
    NO_GOLD_ANSWER: "ungraded",
    AMBIGUOUS: "ambiguous",
}
"""The page's words, by which it colours and filters."""

VALUES = (
    "token",
    "prediction",
    "committed",
    "performed",
    "logprob",
    "entropy",
    "kl",
    "answer_logprob",
    "answer_token_id",
)
TOPK = ("topk_id", "topk_logit", "logsumexp")
FIELDS = (
    "generated_text",
    "extracted_answer",
    "grade_rule",
    "verdict",
    "answer_start",
    "answer_end",
    "n_forwards",
    "seconds",
)
TEXTS = ("id", "question", "generated_text", "extracted_answer", "grade_rule")
OF_BLOCKS = ("block_starts", "block_at")
NUMBERS = ("answer_start", "answer_end", "n_forwards")


class Coding(NamedTuple):
    """How values become bytes: value = scale * (byte / 254) ** power; 255 is no value."""

    scale: float
    power: int
    unit: str

    def encode(self, values: np.ndarray) -> str:
        """`values` in 0..scale as base64 of uint8, rounded; what lies outside is drawn at the
        nearest end."""
        finite = np.nan_to_num(values, nan=0.0, posinf=self.scale)
        share = np.clip(finite / self.scale, 0.0, 1.0) ** (1 / self.power)
        codes = np.where(np.isnan(values), NO_VALUE, np.rint(LEVELS * share))
        return _base64(codes.astype(np.uint8))


def choose(verdicts: np.ndarray, limit: int) -> list[int]:
    """At most `limit` rows in run order: all, or half correct and half not where there are, evenly
    spaced in each."""
    if len(verdicts) <= limit:
        return list(range(len(verdicts)))
    correct = np.flatnonzero(verdicts == CORRECT)
    others = np.flatnonzero(verdicts != CORRECT)
    n_correct = min(len(correct), max(limit // 2, limit - len(others)))
    return sorted(_spaced(correct, n_correct) + _spaced(others, limit - n_correct))


def _spaced(rows: np.ndarray, number: int) -> list[int]:
    """`number` of the rows, evenly spaced."""
    places = np.arange(number) * len(rows) // max(number, 1)
    return [int(row) for row in rows[places]]


def read_problems(run: Run, rows: list[int], steps: int) -> Iterator[dict[str, Any]]:
    """The raw arrays of the first `steps` steps and the texts of the problems in `rows`, a few read
    at once."""
    problem_of = {problem.id: problem for problem in run.problems}
    for first in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[first : first + ROWS_AT_ONCE]
        columns, gold = _read(run, part, steps)
        masked = columns["token"] == run.info.get("model", {}).get("mask_token_id")
        for index, row in enumerate(part):
            problem = problem_of[run.ids[row]]
            own = {name: column[index] for name, column in columns.items()}
            yield {
                "id": problem.id,
                "question": problem.question,
                "answer": " or ".join(problem.answers[:3]) or None,
                "gold": gold[index],
                **_canvas(own, masked[index]),
                **{name: own[name] for name in FIELDS},
                **_blocks(own, run),
            }


def _read(run: Run, rows: list[int], steps: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of some problems, and the probability of their gold answers [row, S]; a step without
    a forward pass predicts what the one before it did."""
    names = [*VALUES, *FIELDS, *also(run)]
    if all(name in run for name in TOPK):
        names += TOPK
    columns = {name: np.asarray(run[name][rows]) for name in names}
    for name, values in columns.items():
        if "step" in VARIABLES[name].dims:
            columns[name] = values[:, :steps]
    block = read_block(columns, digit_ids(Path(run.path)))
    gold = kept_after_end(answer_slot(block), block.performed)
    columns["prediction"] = block.latest_prediction
    columns["unopened"] = np.zeros(block.masked.shape, bool)
    if block.opened is not None:
        steps_before = np.arange(block.n_steps)[:, None] < block.opened.first[:, None, :]
        columns["unopened"] = steps_before
    return columns, gold


def _blocks(own: dict[str, np.ndarray], run: Run) -> dict[str, Any]:
    """Of a problem that was decoded block by block: the first position of each block, and which
    block was open at each step, -1 without a pass."""
    if "open_start" not in own:
        return {}
    opened = own["open_start"]
    starts = np.unique(opened[opened >= 0])
    length = int(run.info["config"]["block_length"])
    behind = int(own["open_end"].max(initial=0))
    unopened = np.arange(behind, own["token"].shape[1], length)
    number = np.where(opened >= 0, np.searchsorted(starts, opened), -1)
    return {
        "block_starts": [int(first) for first in [*starts, *unopened]],
        "block_at": [int(block) for block in number],
    }


def _canvas(own: dict[str, np.ndarray], masked: np.ndarray) -> dict[str, np.ndarray]:
    """What the page draws at each step and position [S, P] of a problem; `shown` is the canvas, the
    prediction where it is still masked. `flags`: 1 masked, 2 written by this step, 4 of a block
    that is not open yet."""
    shown = np.where(masked, own["prediction"], own["token"])
    written = own["committed"] == 1
    if "revised" in own:
        written = written | (own["revised"] == 1)
    return {
        "performed": own["performed"],
        "shown": shown.astype(np.int64),
        "flags": (masked + 2 * written + 4 * own["unopened"]).astype(np.uint8),
        "confidence": np.exp(own["logprob"].astype(np.float64)),
        "entropy": own["entropy"],
        "kl": own["kl"],
    }


def token_texts(run: Run, ids: list[int]) -> list[str]:
    """The text of each token id from the run's tokens.json, else the id itself."""
    texts = run_tokens(Path(run.path))
    return ["" if token < 0 else str(texts.get(str(token), f"#{token}")) for token in ids]


def codings(problems: list[dict[str, Any]]) -> dict[str, Coding]:
    """Confidence linear; entropy and KL over the square root, where their small values keep
    apart."""
    return {
        "confidence": Coding(1.0, 1, "probability"),
        "entropy": Coding(_largest(problems, "entropy"), 2, "bits"),
        "kl": Coding(_largest(problems, "kl"), 2, "bits"),
    }


def _largest(problems: list[dict[str, Any]], name: str) -> float:
    """The largest finite value of all problems; 1 where there is none above 0."""
    largest = 0.0
    for problem in problems:
        values = problem[name]
        largest = max(largest, float(np.max(values[np.isfinite(values)], initial=0.0)))
    return largest or 1.0


def pack(problem: dict[str, Any], ids: np.ndarray, coding_of: dict[str, Coding]) -> dict[str, Any]:
    """One problem as JSON values; tokens as their place in `ids`."""
    wide = np.dtype("<u2" if len(ids) <= 1 << 16 else "<u4")
    packed: dict[str, Any] = {name: str(problem[name]) for name in TEXTS}
    packed |= {name: int(problem[name]) for name in NUMBERS}
    packed |= {
        "answer": problem["answer"],
        "seconds": rounded(float(problem["seconds"])),
        "verdict": VERDICTS[int(problem["verdict"])],
        "performed": [int(done) for done in problem["performed"]],
        "gold": [rounded(value) for value in problem["gold"]],
        "shown": _base64(np.searchsorted(ids, problem["shown"]).astype(wide)),
        "flags": _base64(problem["flags"]),
    }
    packed |= {name: problem[name] for name in OF_BLOCKS if name in problem}
    for name, coding in coding_of.items():
        packed[name] = coding.encode(np.asarray(problem[name], np.float64))
    return packed


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
