"""Made-up runs on disk for the tests of the report: word problems, committed block by block, a
value everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from diffengine.engine.store import write_shard

MASK = 300
ALPHABET = [chr(code) for code in range(32, 127)] + ["\n"]
IDS = {character: index for index, character in enumerate(ALPHABET)}


def make_run(
    path: Path,
    problems: int,
    *,
    steps: int = 48,
    positions: int = 48,
    block: int = 8,
    questions: list[str] | None = None,
    tokens: bool = True,
) -> Path:
    """A run directory with `problems` stored problems in shards of 50; every third is wrong, the
    last without gold."""
    path.mkdir(parents=True)
    config = {
        "steps": steps,
        "gen_length": positions,
        "block_length": block,
        "remasking": "low_confidence",
        "temperature": 0.0,
        "record": "all",
    }
    info = {
        "schema_version": "1.0",
        "run_id": path.name,
        "created_at": "2024-05-01T12:00:00+00:00",
        "fingerprint": "f00d",
        "config": config,
        "model": {
            "path": "models/tiny-llada",
            "architecture": "LLaDAModelLM",
            "mask_token_id": MASK,
            "vocab_size": 320,
        },
        "data": {"source": "data/held_out.jsonl", "sha256": "", "n_problems": problems},
    }
    (path / "run.json").write_text(json.dumps(info), encoding="utf-8")
    lines = [_problem(index, problems, questions) for index in range(problems)]
    (path / "problems.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    if tokens:
        (path / "tokens.json").write_text(
            json.dumps({str(index): text for text, index in IDS.items()}), encoding="utf-8"
        )
    for first in range(0, problems, 50):
        rows = [
            columns_of(index, lines[index], steps, positions, block)
            for index in range(first, min(first + 50, problems))
        ]
        columns = {
            name: [row[name] for row in rows]
            if isinstance(rows[0][name], str)
            else np.stack([row[name] for row in rows])
            for name in rows[0]
        }
        columns["block"] = (np.arange(steps) * (positions // block) // steps).astype(np.int32)
        write_shard(path, columns, attrs={"run_id": path.name, "fingerprint": "f00d"})
    return path


def _problem(index: int, problems: int, questions: list[str] | None) -> dict[str, object]:
    apples, friends = 12 + index % 40, 2 + index % 5
    question = (
        f"Tom has {apples} apples and gets {friends} more from each of his 3 friends. How "
        "many apples has he now?"
    )
    if questions is not None:
        question = questions[index % len(questions)]
    gold = None if index == problems - 1 and problems > 2 else str(apples + 3 * friends)
    return {
        "id": f"p{index:04d}",
        "question": question,
        "answer": gold,
        "messages": None,
        "solution": None,
        "source": "made",
        "line": index + 1,
    }


def columns_of(
    index: int, problem: dict[str, object], steps: int, positions: int, block: int
) -> dict[str, object]:
    """The schema's columns of one problem, without the leading problem dimension."""
    rng = np.random.default_rng(index)
    gold, right = problem["answer"], index % 3 != 0
    said = str(gold) if gold and right else "17"
    text = f"3 times {2 + index % 5} and {12 + index % 40} more.\nThe answer is {said}"
    text = (text if len(text) <= positions else f"It is {said}.").ljust(positions)
    final = np.array([IDS[character] for character in text], np.int32)
    commit = _commit_steps(rng, steps, positions, block)
    late = np.clip(
        (np.arange(steps)[:, None] - commit[None, :] + 2 * block) / (2 * block), 0, 1
    )  # [step, position]
    sure = 0.15 + 0.8 * late**2 + 0.05 * rng.random((steps, positions))
    prediction = np.where(
        rng.random((steps, positions)) < late,
        final,
        rng.integers(0, len(ALPHABET), (steps, positions)),
    ).astype(np.int32)
    prediction[commit, np.arange(positions)] = final
    done = np.arange(steps)[:, None] >= commit[None, :]
    start = text.rindex(said)
    ids = [IDS[character] for character in str(gold)][:3] if gold else []
    answer = np.array([*ids, *[-1] * (3 - len(ids))], np.int32)
    chance = np.where(
        (final[:, None] == answer[None, :])[None], sure[:, :, None], (1 - sure[:, :, None]) / 60
    )
    kl = np.where(
        np.arange(steps)[:, None] > 0, np.abs(np.diff(sure, axis=0, prepend=0)) * 3, np.nan
    )
    floats = {
        "logprob": np.log(sure),
        "margin": sure * 4,
        "logsumexp": sure + 9,
        "entropy": 5.5 * (1 - sure),
        "kl": kl,
        "logit_mean": sure - 1,
        "logit_std": sure + 1,
        "answer_logprob": np.where(answer >= 0, np.log(chance), np.nan),
        "cka_masked": rng.random(steps),
        "cka_committed": rng.random(steps),
        "cka": _cka(steps, block),
        "state_masked": rng.normal(size=(steps, 4)),
        "state_answer": rng.normal(size=(steps, 4)),
        "seconds": np.asarray(0.8),
    }
    verdict = 3 if gold is None else int(right)
    return {name: np.asarray(value, np.float32) for name, value in floats.items()} | {
        "problem_id": str(problem["id"]),
        "index": np.int32(index),
        "generated_text": text.rstrip(),
        "extracted_answer": said,
        "grade_rule": "number",
        "verdict": np.uint8(verdict),
        "answer_start": np.int32(start),
        "answer_end": np.int32(start + len(said)),
        "prompt_length": np.int32(60),
        "n_forwards": np.int32(steps),
        "answer_token_id": answer,
        "performed": np.ones(steps, np.uint8),
        "n_masked": (np.arange(steps)[:, None] <= commit).sum(1).astype(np.int32),
        "token": np.where(done, final, MASK).astype(np.int32),
        "prediction": prediction,
        "committed": (np.arange(steps)[:, None] == commit).astype(np.uint8),
    }


def _commit_steps(rng: np.random.Generator, steps: int, positions: int, block: int) -> np.ndarray:
    order = np.concatenate(
        [
            first + rng.permutation(min(block, positions - first))
            for first in range(0, positions, block)
        ]
    )
    commit = np.empty(positions, int)
    commit[order] = np.arange(positions) * steps // positions
    return commit


def _cka(steps: int, block: int) -> np.ndarray:
    step = np.arange(steps)
    return np.exp(
        -np.abs(step[:, None] - step) / steps
        - 0.12 * np.abs(step[:, None] // block - step // block)
    )
