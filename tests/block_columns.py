"""Hand-made problems that were decoded block by block, as the columns of a shard, and runs of them
on the disk. Loaded by path.

A problem is a script: for each step the open positions, what was committed there and what was
revised. All statistics are drawn at random where a pass read a position, and are missing elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffengine.engine.store import write_shard

MASK, EOS, VOCABULARY, STATE = 99, 98, 100, 5
POSITIONS, STEPS, LENGTH = 6, 7, 4
NAN = np.float32(np.nan)


class Step(NamedTuple):
    """Open positions `start` to `end`, and tokens by position."""

    start: int
    end: int
    commits: dict[int, int]
    revises: dict[int, int] = {}


class Script(NamedTuple):
    """The steps of a problem, where its answer stands, and the gold answer."""

    steps: Sequence[Step]
    answer: tuple[int, int]
    gold: Sequence[int]
    verdict: int = 1


TWO_BLOCKS = Script(
    [
        Step(0, 2, {1: 11}),
        Step(0, 2, {0: 10}),
        Step(2, 6, {4: 14}),
        Step(2, 6, {2: 12, 3: 13}),
        Step(2, 6, {5: 15}),
    ],
    answer=(3, 5),
    gold=[13, 14],
)
"""The first block has two positions, for the prompt's tail is in it."""

STOPPED = Script([Step(0, 2, {0: 20}), Step(0, 2, {1: EOS})], (0, 1), [20, 21], verdict=0)
"""The second block is never opened; the gold answer reaches into the end token."""

REVISED = Script(
    [
        Step(0, 4, {0: 30, 1: 31}),
        Step(0, 4, {2: 32, 3: 33}, {1: 41}),
        Step(0, 4, {}, {0: 40}),
        Step(4, 6, {4: 34}),
        Step(4, 6, {5: 35}),
    ],
    answer=(0, 2),
    gold=[40, 41],
)
BORDER = Script(
    [
        Step(0, 3, {0: 50, 2: 52}),
        Step(0, 3, {1: 51}),
        Step(3, 6, {3: 53, 4: 54, 5: EOS}),
    ],
    answer=(2, 3),
    gold=[52],
)
"""What stands behind the answer is of the next block."""

SCRIPTS = (TWO_BLOCKS, STOPPED, REVISED, BORDER)


def columns_of(script: Script, number: int) -> dict[str, Any]:
    """The schema's columns of one problem."""
    rng = np.random.default_rng(number)
    cell = (STEPS, POSITIONS)
    read = np.zeros(cell, bool)
    masked = np.zeros(cell, bool)
    token = np.full(cell, MASK, np.int32)
    committed = np.zeros(cell, np.uint8)
    revised = np.zeros(cell, np.uint8)
    start = np.full(STEPS, -1, np.int32)
    end = np.full(STEPS, -1, np.int32)
    canvas = np.full(POSITIONS, MASK, np.int32)
    for step, each in enumerate(script.steps):
        start[step], end[step] = each.start, each.end
        read[step, each.start : each.end] = True
        masked[step] = read[step] & (canvas == MASK)
        for written, at in ((each.commits, committed), (each.revises, revised)):
            for position, new in written.items():
                canvas[position] = new
                at[step, position] = 1
        token[step] = canvas
    token[len(script.steps) :] = canvas

    def at_read(values: np.ndarray) -> np.ndarray:
        where = read.reshape(*cell, *[1] * (values.ndim - 2))
        return np.where(where, values.astype(np.float32), NAN)

    logits = rng.normal(size=(*cell, VOCABULARY)) * 2
    logits[..., MASK] = -30
    lse = np.log(np.exp(logits).sum(-1))
    order = np.argsort(-logits, axis=-1)[..., :3]
    top = np.take_along_axis(logits, order, axis=-1)
    is_first = np.zeros(STEPS, bool)
    is_first[: len(script.steps)] = [
        step == 0 or start[step] != start[step - 1] for step in range(len(script.steps))
    ]
    kl = at_read(rng.exponential(size=cell))
    kl[is_first] = np.nan
    same = (start[:, None] == start) & (start >= 0)
    gold = np.array([*script.gold, *[-1] * (2 - len(script.gold))], np.int32)
    answer = np.where(gold >= 0, logits[..., gold] - lse[..., None], np.nan)
    not_first = (start >= 0) & ~is_first
    in_answer = read & (np.arange(POSITIONS) >= script.answer[0])
    in_answer &= np.arange(POSITIONS) < script.answer[1]
    null = np.full((POSITIONS, 2), NAN)
    null[:2] = np.where(gold >= 0, -1.0 - rng.random((2, 2)), np.nan)
    states = rng.normal(size=(STEPS, 2, STATE)).astype(np.float32)
    return {
        "problem_id": f"p{number}",
        "group_id": f"p{number}",
        "parent_id": "",
        "generated_text": "text",
        "extracted_answer": "1",
        "grade_rule": "number",
        "index": np.int32(number),
        "sample": np.int32(0),
        "branch_step": np.int32(0),
        "intervention": np.int32(0),
        "branch": np.int32(0),
        "verdict": np.uint8(script.verdict),
        "answer_start": np.int32(script.answer[0]),
        "answer_end": np.int32(script.answer[1]),
        "prompt_length": np.int32(7),
        "n_forwards": np.int32(len(script.steps)),
        "seconds": np.float32(1),
        "answer_token_id": gold,
        "start_token": np.full(POSITIONS, MASK, np.int32),
        "null_answer_logprob": null,
        "performed": (start >= 0).astype(np.uint8),
        "n_masked": np.where(start >= 0, masked.sum(1), -1).astype(np.int32),
        "open_start": start,
        "open_end": end,
        "cka_masked": np.where(not_first, rng.random(STEPS), np.nan).astype(np.float32),
        "cka_committed": np.where(not_first, rng.random(STEPS), np.nan).astype(np.float32),
        "cka": np.where(same, rng.random((STEPS, STEPS)), np.nan).astype(np.float32),
        "state_masked": np.where(masked.any(1)[:, None], states[:, 0], NAN),
        "state_answer": np.where(in_answer.any(1)[:, None], states[:, 1], NAN),
        "token": token,
        "prediction": np.where(read, order[..., 0], -1).astype(np.int32),
        "committed": committed,
        "revised": revised,
        "logprob": at_read(top[..., 0] - lse),
        "margin": at_read(top[..., 0] - top[..., 1]),
        "logsumexp": at_read(lse),
        "entropy": at_read(rng.exponential(size=cell)),
        "kl": kl,
        "logit_mean": at_read(logits.mean(-1)),
        "logit_std": at_read(logits.std(-1)),
        "answer_logprob": at_read(answer),
        "topk_id": np.where(read[..., None], order, -1).astype(np.int32),
        "topk_logit": at_read(top),
    }


def stacked(scripts: Sequence[Script]) -> dict[str, Any]:
    """The columns of several problems, with the problem first."""
    rows = [columns_of(script, number) for number, script in enumerate(scripts)]
    columns: dict[str, Any] = {}
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        columns[name] = values if isinstance(first, str) else np.stack(values)
    return columns


def write_run(path: Path, scripts: Sequence[Script], **changed: np.ndarray) -> Path:
    """A run directory of these problems, written by the store; `changed` columns instead."""
    path.mkdir(parents=True)
    info = {
        "schema_version": "1.3",
        "run_id": path.name,
        "created_at": "2026-01-01T00:00:00+00:00",
        "fingerprint": "f00d",
        "schedule": "free",
        "config": {
            "policy": "made",
            "steps": STEPS,
            "gen_length": POSITIONS,
            "block_length": LENGTH,
            "temperature": 0.0,
            "record": "all",
            "save_logits": "topk",
        },
        "model": {
            "path": "made",
            "architecture": "Made",
            "mask_token_id": MASK,
            "eos_token_id": EOS,
            "vocab_size": VOCABULARY,
        },
        "data": {"source": "made", "sha256": "", "n_problems": len(scripts)},
    }
    (path / "run.json").write_text(json.dumps(info), encoding="utf-8")
    lines = []
    for number in range(len(scripts)):
        lines.append(
            {
                "id": f"p{number}",
                "question": "How many?",
                "answer": "1",
                "messages": None,
                "solution": None,
                "source": "made",
                "line": number + 1,
            }
        )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "problems.jsonl").write_text(text, encoding="utf-8")
    columns = stacked(scripts) | changed
    columns["block"] = np.full(STEPS, -1, np.int32)
    write_shard(path, columns, attrs={"run_id": path.name, "fingerprint": "f00d"})
    return path
