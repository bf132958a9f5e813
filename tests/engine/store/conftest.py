"""Small runs made of random columns that obey the schema and its invariants, for all tests of the
store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diffengine.engine.store import write_shard
from diffengine.engine.store.disk import file_sha256
from diffengine.engine.store.format.columns import Column
from diffengine.engine.store.format.schema import SCHEMA_VERSION, VARIABLES
from diffengine.engine.store.format.stamp import stamped

MASK_ID, VOCABULARY = 60, 64
ATTRS = {"run_id": "test", "fingerprint": "f00d"}


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """Finite float32 rounded to bfloat16 bit patterns (half up in magnitude)."""
    return (
        (np.ascontiguousarray(values, np.float32).view(np.uint32) + np.uint32(0x8000)) >> 16
    ).astype(np.uint16)


class Shape:
    """Sizes of a test shard."""

    def __init__(
        self, *, steps: int = 6, positions: int = 6, answers: int = 3, k: int = 4, features: int = 5
    ) -> None:
        self.steps, self.positions, self.answers, self.k, self.features = (
            steps,
            positions,
            answers,
            k,
            features,
        )


def make_columns(
    indices: list[int], *, shape: Shape | None = None, bf16: bool = False, extras: bool = False
) -> dict[str, Column]:
    """A shard's columns for the problems with these indices: softmax statistics of random logits,
    one commit a step.

    Every value depends on the problem's index alone, so that shards cut differently agree.
    """
    shape = shape or Shape()
    rows = [_one_problem(index, shape, bf16=bf16, extras=extras) for index in indices]
    columns: dict[str, Column] = {
        name: [row[name] for row in rows]
        if isinstance(rows[0][name], str)
        else np.stack([row[name] for row in rows])
        for name in rows[0]
    }
    columns["block"] = np.zeros(shape.steps, np.int32)
    if extras:
        hidden = np.asarray(columns["hidden"])
        wide = (hidden.astype(np.uint32) << 16).view(np.float32) if bf16 else hidden
        columns["hidden_sum"] = wide.sum(0, dtype=np.float64).astype(np.float32)
    return columns


def _one_problem(index: int, shape: Shape, *, bf16: bool, extras: bool) -> dict[str, Any]:
    rng = np.random.default_rng(index)
    s, p, a = shape.steps, shape.positions, shape.answers
    hidden = rng.normal(size=(s, p, shape.features)).astype(np.float32)
    if bf16:
        hidden = (bfloat16_bits(hidden).astype(np.uint32) << 16).view(np.float32)
    logits = hidden @ np.random.default_rng(99).normal(size=(shape.features, VOCABULARY)).astype(
        np.float32
    )
    logits[..., MASK_ID] = -50.0
    values = _statistics(logits, rng.integers(0, VOCABULARY, a), shape)
    values.update(_canvas(values["prediction"], rng.permutation(p), shape))
    values.update(_scalars(index, rng, shape))
    model = bfloat16_bits if bf16 else (lambda array: np.ascontiguousarray(array, np.float32))
    names = ("state_masked", "state_answer")
    states = {name: rng.normal(size=(s, shape.features)).astype(np.float32) for name in names}
    states["state_masked"][0] = hidden[0].mean(0)  # everything is masked at the first step
    values |= {name: model(state) for name, state in states.items()}
    values["topk_logit"] = model(values["topk_logit"])
    values["start_token"] = np.full(p, MASK_ID, np.int32)
    if extras:
        values.update(hidden=model(hidden), logits=model(logits))
        values["final_token"] = values["token"][-1]
    return values | _unmade(values, rng, shape)


def _unmade(values: dict[str, Any], rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    """Numbers that mean nothing for every variable of the schema that nobody made above, so that
    one that is added needs nothing here."""
    sizes = {
        "step": shape.steps,
        "other_step": shape.steps,
        "position": shape.positions,
        "answer_token": shape.answers,
        "k": shape.k,
    }
    made = {}
    for name, row in VARIABLES.items():
        always_stored = row.stored_if is None
        if name not in values and always_stored and not (row.per_shard or row.is_vector):
            numbers = rng.integers(0, 2, [sizes[dim] for dim in row.dims])
            made[name] = str(numbers) if row.dtype == "str" else numbers.astype(row.dtype)
    return made


def _statistics(logits: np.ndarray, answer: np.ndarray, shape: Shape) -> dict[str, Any]:
    peak = logits.max(-1, keepdims=True)
    lse = (peak[..., 0] + np.log(np.exp(logits - peak).sum(-1)))[..., None]
    logp = logits - lse
    order = np.argsort(-logits, axis=-1, kind="stable")[..., : max(shape.k, 2)]
    top = np.take_along_axis(logits, order, -1)
    kl = np.full(logits.shape[:2], np.nan)
    kl[1:] = (np.exp(logp[1:]) * (logp[1:] - logp[:-1])).sum(-1) / np.log(2)
    padded = np.where(np.arange(shape.answers) < shape.answers - 1, answer, -1)
    floats = {
        "logprob": logp.max(-1),
        "margin": top[..., 0] - top[..., 1],
        "logsumexp": lse[..., 0],
        "entropy": -(np.exp(logp) * logp).sum(-1) / np.log(2),
        "kl": kl,
        "logit_mean": logits.mean(-1),
        "logit_std": logits.std(-1),
        "answer_logprob": np.where(padded >= 0, logp[..., padded], np.nan),
        "null_answer_logprob": np.where(padded >= 0, logp[0][..., padded] - 1, np.nan),
    }
    return {name: value.astype(np.float32) for name, value in floats.items()} | {
        "prediction": order[..., 0].astype(np.int32),
        "topk_id": order[..., : shape.k].astype(np.int32),
        "topk_logit": top[..., : shape.k],
        "answer_token_id": padded.astype(np.int32),
    }


def _canvas(prediction: np.ndarray, order: np.ndarray, shape: Shape) -> dict[str, Any]:
    token = np.full(prediction.shape, MASK_ID, np.int32)
    committed = np.zeros(prediction.shape, np.uint8)
    for step in range(shape.steps):
        token[step] = token[step - 1] if step else MASK_ID
        here = order[
            step * shape.positions // shape.steps : (step + 1) * shape.positions // shape.steps
        ]
        token[step, here], committed[step, here] = prediction[step, here], 1
    before = np.vstack([np.full(shape.positions, MASK_ID), token[:-1]])
    return {
        "token": token,
        "committed": committed,
        "n_masked": (before == MASK_ID).sum(1).astype(np.int32),
        "performed": np.ones(shape.steps, np.uint8),
    }


def _scalars(index: int, rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    s = shape.steps
    return {
        "problem_id": f"p{index:04d}",
        "index": np.int32(index),
        "generated_text": f"täxt {index} ∑",
        "extracted_answer": str(index),
        "grade_rule": "number",
        "verdict": np.uint8(index % 4),
        "answer_start": np.int32(0),
        "answer_end": np.int32(2),
        "prompt_length": np.int32(10 + index),
        "n_forwards": np.int32(s),
        "seconds": np.float32(0.5),
        "cka_masked": rng.random(s).astype(np.float32),
        "cka_committed": rng.random(s).astype(np.float32),
        "cka": rng.random((s, s)).astype(np.float32),
    }


def make_run_dir(path: Path, *, n_problems: int = 8, config: dict[str, Any] | None = None) -> Path:
    """A run directory with run.json and problems.jsonl and no shards."""
    path.mkdir(parents=True)
    info = {
        "schema_version": SCHEMA_VERSION,
        "run_id": ATTRS["run_id"],
        "created_at": "2026-01-01T00:00:00+00:00",
        "fingerprint": ATTRS["fingerprint"],
        "config": {
            "policy": "llada",
            "numerics": "default",
            "record": "all",
            "save_logits": "topk",
            **(config or {}),
        },
        "model": {"mask_token_id": MASK_ID, "vocab_size": VOCABULARY},
        "data": {"n_problems": n_problems},
    }
    (path / "problems.jsonl").write_text(
        "".join(json.dumps(_problem(index)) + "\n" for index in range(n_problems))
    )
    info["problems_sha256"] = [file_sha256(path / "problems.jsonl")]
    (path / "run.json").write_text(json.dumps(stamped(info)))
    return path


def _problem(index: int) -> dict[str, Any]:
    return {
        "id": f"p{index:04d}",
        "question": f"what is {index}?",
        "answer": str(index),
        "messages": None,
        "solution": None,
        "source": "test",
        "line": index + 1,
    }


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """An empty run directory for eight problems p0000 ... p0007."""
    return make_run_dir(tmp_path / "run")


@pytest.fixture
def samples() -> SimpleNamespace:
    """The makers above, for test modules (which cannot import this one)."""
    return SimpleNamespace(
        columns=make_columns,
        run_dir=make_run_dir,
        bits=bfloat16_bits,
        Shape=Shape,
        attrs=ATTRS,
        mask_id=MASK_ID,
        vocabulary=VOCABULARY,
        file=__file__,
    )


@pytest.fixture(scope="session")
def stored_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that `stored` copies."""
    run_dir = make_run_dir(tmp_path_factory.mktemp("stored") / "run")
    for indices, worker in (([0, 1], "0"), ([4, 5], "0"), ([3, 2], "1")):
        write_shard(
            run_dir, make_columns(indices, bf16=True, extras=True), attrs=ATTRS, worker=worker
        )
    return run_dir


@pytest.fixture
def stored(stored_once: Path, run_dir: Path) -> Path:
    """A run with p0000 ... p0005 in three shards of two workers, bfloat16, hidden states and logits
    stored."""
    return Path(shutil.copytree(stored_once, run_dir, dirs_exist_ok=True))
