"""A model of three tokens whose law of answers can be written down, and runs of it with branches.

Token by token, from left to right: at state t the first t tokens stand. The answer is all of them,
as a number. Everything about it can be summed over its 27 texts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffengine.engine.problems.read import Origin, Problem

TOKENS = 3
LENGTH = 3
CORRECT, WRONG, UNEXTRACTED, NO_GOLD = 1, 0, 2, 3

Text = tuple[int, ...]


class Toy:
    """`chance[t]` [3, ..., 3]: of the token at t, given those before it (one axis each)."""

    def __init__(self, seed: int, sharpness: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.chance = []
        for t in range(LENGTH):
            weights = rng.exponential(size=(TOKENS,) * (t + 1)) ** sharpness
            self.chance.append(weights / weights.sum(axis=-1, keepdims=True))

    def probability(self, text: Text, start: Text = ()) -> float:
        """Of the whole text from the state in which `start` stands."""
        if text[: len(start)] != start:
            return 0.0
        p = 1.0
        for t in range(len(start), LENGTH):
            p *= float(self.chance[t][text[: t + 1]])
        return p

    def entropy(self, start: Text = ()) -> float:
        """H(A | x_t) in bits, exactly."""
        chances = [self.probability(text, start) for text in texts()]
        return -sum(p * np.log2(p) for p in chances if p > 0)

    def mutual_information(self, t: int) -> float:
        """I(A; X_t) in bits: the mean of H(A | x_0) - H(A | x_t) over the states of the law."""
        given = 0.0
        for start in itertools.product(range(TOKENS), repeat=t):
            chance = sum(self.probability(text) for text in texts() if text[:t] == start)
            given += chance * self.entropy(start)
        return self.entropy() - given

    def draw(self, rng: np.random.Generator, start: Text = ()) -> Text:
        text = list(start)
        while len(text) < LENGTH:
            text.append(int(rng.choice(TOKENS, p=self.chance[len(text)][tuple(text)])))
        return tuple(text)

    def greedy(self) -> Text:
        text: list[int] = []
        while len(text) < LENGTH:
            text.append(int(self.chance[len(text)][tuple(text)].argmax()))
        return tuple(text)


def texts() -> Iterator[Text]:
    return itertools.product(range(TOKENS), repeat=LENGTH)


def answer_of(text: Text) -> str:
    return "".join(str(token + 1) for token in text)


class Row(NamedTuple):
    """One decoding as a run stores it."""

    id: str
    group: str
    answer: str
    verdict: int
    origin: Origin | None = None


class ToyRun:
    """What the analysis of branches reads of a run; `stored`: the ids that are there, all unless
    given."""

    def __init__(
        self,
        path: Path,
        rows: Sequence[Row],
        info: dict[str, Any],
        *,
        stored: Sequence[str] | None = None,
        performed: np.ndarray | None = None,
    ) -> None:
        self.path = path
        self.info = info
        self.problems = [
            Problem(row.id, "?", "1", group=row.group, origin=row.origin) for row in rows
        ]
        there = {row.id for row in rows} if stored is None else set(stored)
        kept = [row for row in rows if row.id in there]
        self.ids = [row.id for row in kept]
        origins = [row.origin or Origin("", 0, 0, 0) for row in kept]
        self._columns: dict[str, np.ndarray] = {
            "group_id": np.array([row.group for row in kept], object),
            "extracted_answer": np.array([row.answer for row in kept], object),
            "verdict": np.array([row.verdict for row in kept], np.uint8),
            "parent_id": np.array([origin.parent for origin in origins], object),
            "branch_step": np.array([origin.step for origin in origins], np.int32),
            "intervention": np.array([origin.intervention for origin in origins], np.int32),
            "branch": np.array([origin.branch for origin in origins], np.int32),
        }
        if performed is not None:
            self._columns["performed"] = performed

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def close(self) -> None:
        """Nothing is open."""


def parent_run(
    toys: Sequence[Toy],
    texts_of: Sequence[Text],
    golds: Sequence[str],
    *,
    groups: Sequence[str] = (),
    temperature: float = 1.0,
    performed: np.ndarray | None = None,
) -> ToyRun:
    rows = []
    for n, text in enumerate(texts_of):
        answer = answer_of(text)
        group = groups[n] if groups else f"p{n}"
        verdict = NO_GOLD if not golds[n] else CORRECT if answer == golds[n] else WRONG
        rows.append(Row(f"p{n}", group, answer, verdict))
    if performed is None:
        performed = np.ones((len(toys), LENGTH), np.uint8)
    config = {"steps": LENGTH, "policy": "llada", "temperature": temperature, "record": "all"}
    info = {"run_id": "parent", "config": config, "model": {"fingerprint": "toy"}}
    return ToyRun(Path("runs/toy"), rows, info, performed=performed)


def branch_run(
    toys: Sequence[Toy],
    texts_of: Sequence[Text],
    golds: Sequence[str],
    *,
    at: Sequence[int] = (0, 1, 2),
    samples: int = 16,
    seed: int = 0,
    name: str = "aaaa",
    **changes: Any,
) -> ToyRun:
    """Branches drawn from the law; `changes` go to its settings, `noise`, `stored` and `lost` [id]
    aside."""
    rng = np.random.default_rng(seed)
    rows = []
    for n, (toy, text) in enumerate(zip(toys, texts_of, strict=True)):
        for step in at:
            for branch in range(samples):
                answer = answer_of(toy.draw(rng, text[:step]))
                verdict = NO_GOLD if not golds[n] else CORRECT if answer == golds[n] else WRONG
                origin = Origin(f"p{n}", step, 0, branch)
                rows.append(Row(f"p{n}@{step}.0#{branch}", f"p{n}", answer, verdict, origin))
    request = {
        "parent": {"run_id": "parent", "fingerprint": "f"},
        "at": list(at),
        "samples": samples,
        "noise": changes.pop("noise", "fresh"),
        "interventions": ["nothing"],
    }
    lost = set(changes.pop("lost", ()))
    config = {
        "steps": LENGTH,
        "policy": "llada",
        "temperature": 1.0,
        "record": "answers",
        "seed": seed,
        **changes,
    }
    info = {
        "run_id": name,
        "config": config,
        "model": {"fingerprint": "toy"},
        "branches": request,
    }
    stored = [row.id for row in rows if row.id not in lost]
    return ToyRun(Path(f"runs/toy/branches/{name}"), rows, info, stored=stored)
