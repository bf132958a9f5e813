"""A run in memory with the surface of `engine.store.Run` that the analysis uses, and columns to
fill it with. Lets the tests here import `sampled_runs` by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

WRONG, CORRECT, UNEXTRACTED, NO_GOLD = range(4)


class FakeProblem(NamedTuple):
    id: str
    answer: str | None
    question: str = ""
    accepted: tuple[str, ...] = ()
    group: str = ""
    sample: int = 0
    origin: None = None

    @property
    def group_id(self) -> str:
        return self.group or self.id

    @property
    def answers(self) -> tuple[str, ...]:
        return () if self.answer is None else (self.answer, *self.accepted)


class FakeRun:
    """`columns` as in the schema, leading axis the problems; `block`, `hidden_sum` without it."""

    def __init__(
        self,
        columns: dict[str, np.ndarray],
        *,
        path: Path = Path("runs/fake"),
        record: str = "all",
        block_length: int = 4,
    ) -> None:
        problems, steps, positions = columns["token"].shape
        self.path, self._columns = path, columns
        self.ids = [f"p{row}" for row in range(problems)]
        self.problems = [FakeProblem(name, "1") for name in self.ids]
        self.missing: list[str] = []
        self.info: dict[str, Any] = {
            "run_id": "fake",
            "config": {
                "steps": steps,
                "gen_length": positions,
                "block_length": block_length,
                "record": record,
            },
            "model": {"path": "fake-model"},
            "data": {"source": "fake.jsonl", "sha256": "", "n_problems": problems},
        }

    @property
    def groups(self) -> list[str]:
        group_of = {each.id: getattr(each, "group_id", each.id) for each in self.problems}
        return [group_of[name] for name in self.ids]

    @property
    def samples(self) -> np.ndarray:
        sample_of = {each.id: getattr(each, "sample", 0) for each in self.problems}
        return np.array([sample_of[name] for name in self.ids], np.int32)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: str) -> bool:
        return bool(self.ids) and name in self._columns

    def __getitem__(self, name: str) -> np.ndarray:
        if not self.ids:
            raise KeyError("the run holds no finished problem yet")
        return self._columns[name]

    def blocks(
        self, names: Sequence[str], *, max_problems: int = 64
    ) -> Iterator[dict[str, np.ndarray]]:
        for first in range(0, len(self.ids), max_problems):
            rows = np.arange(first, min(first + max_problems, len(self.ids)))
            yield {name: self._columns[name][rows] for name in names} | {"row": rows}

    def shard_sum(self, name: str) -> tuple[np.ndarray, int]:
        return np.asarray(self._columns[name], np.float64), len(self.ids)


def columns_of(
    problems: int,
    steps: int,
    positions: int,
    *,
    answer: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Consistent random columns: positions commit in random order, spread over the steps; the
    answer is the last."""
    rng = np.random.default_rng(seed)
    shape = (problems, steps, positions)
    order = np.array([rng.permutation(positions) for _ in range(problems)]).reshape(
        problems, positions
    )
    commit = order * steps // positions
    committed = (np.arange(steps)[None, :, None] == commit[:, None, :]).astype(np.uint8)
    gold = [list(answer[row]) if answer is not None else [5] for row in range(problems)]
    width = max((len(tokens) for tokens in gold), default=0)
    tokens = np.full((problems, width), -1, np.int32)
    for row, each in enumerate(gold):
        tokens[row, : len(each)] = each
    logprob = -rng.exponential(1.0, (*shape, width)).astype(np.float32)
    logprob[np.broadcast_to(tokens[:, None, None, :] < 0, logprob.shape)] = np.nan
    null = -np.random.default_rng(seed + 1).exponential(3.0, (problems, positions, width))
    kl = rng.exponential(0.1, shape).astype(np.float32)
    kl[:, :1] = np.nan
    cka = rng.uniform(0.2, 1.0, (problems, steps, steps)).astype(np.float32)
    cka = (cka + cka.transpose(0, 2, 1)) / 2
    return {
        "verdict": np.arange(problems, dtype=np.uint8) % 2,
        "answer_start": np.full(problems, positions - 1, np.int32),
        "answer_end": np.full(problems, positions, np.int32),
        "n_forwards": np.full(problems, steps, np.int32),
        "seconds": np.ones(problems, np.float32),
        "answer_token_id": tokens,
        "performed": np.ones((problems, steps), np.uint8),
        "n_masked": (np.arange(steps)[None, :, None] <= commit[:, None, :])
        .sum(axis=2)
        .astype(np.int32),
        "cka_masked": rng.uniform(0.2, 1.0, (problems, steps)).astype(np.float32),
        "cka_committed": rng.uniform(0.2, 1.0, (problems, steps)).astype(np.float32),
        "cka": cka,
        "token": np.zeros(shape, np.int32),
        "prediction": np.zeros(shape, np.int32),
        "logprob": -rng.exponential(1.0, shape).astype(np.float32),
        "margin": rng.exponential(3.0, shape).astype(np.float32),
        "state_masked": rng.normal(size=(problems, steps, 4)).astype(np.float32),
        "state_answer": rng.normal(size=(problems, steps, 4)).astype(np.float32),
        "committed": committed,
        "entropy": rng.uniform(0.0, 5.0, shape).astype(np.float32),
        "kl": kl,
        "answer_logprob": logprob,
        "null_answer_logprob": np.where(tokens[:, None] < 0, np.nan, null).astype(np.float32),
        "block": np.arange(steps, dtype=np.int32) * 4 // max(steps, 1),
    }


@pytest.fixture
def make_columns() -> Callable[..., dict[str, np.ndarray]]:
    return columns_of


@pytest.fixture(scope="session")
def make_run() -> Callable[..., FakeRun]:
    def make(
        problems: int = 6,
        steps: int = 8,
        positions: int = 8,
        *,
        record: str = "all",
        **keywords: Any,
    ) -> FakeRun:
        return FakeRun(columns_of(problems, steps, positions, **keywords), record=record)

    return make


@pytest.fixture
def fake_run() -> type[FakeRun]:
    return FakeRun
