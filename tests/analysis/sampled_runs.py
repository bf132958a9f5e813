"""Runs in memory whose problems have several samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

STEPS, POSITIONS = 12, 8
CORRECT, WRONG, UNEXTRACTED, NO_GOLD = 1, 0, 2, 3


class Sampled(NamedTuple):
    """What an analysis reads of a problem."""

    id: str
    question: str
    answer: str | None
    group_id: str
    sample: int
    accepted: tuple[str, ...] = ()
    origin: None = None

    @property
    def answers(self) -> tuple[str, ...]:
        return () if self.answer is None else (self.answer, *self.accepted)


def telling_columns(columns: dict[str, np.ndarray], seed: int = 7) -> dict[str, np.ndarray]:
    """The columns of one sample each, where confidence rises in a curve and correctness shows in
    belief, logits and state from half of the steps on."""
    rng = np.random.default_rng(seed)
    problems, steps, positions = columns["token"].shape
    y = rng.integers(0, 2, problems)
    told = (2 * y - 1)[:, None] * (np.arange(steps) >= steps // 2)
    signal = told + rng.normal(size=(problems, steps))
    at = signal[:, :, None] + 0.3 * rng.normal(size=(problems, steps, positions))
    state = rng.normal(size=(problems, steps, 6))
    state[:, :, 0] += signal
    narrow = {
        "logprob": -np.exp(-at),
        "entropy": np.exp(-at),
        "margin": at,
        "logsumexp": at + 9,
        "logit_mean": at - 1,
        "logit_std": np.exp(0.1 * at),
        "state_answer": state,
        "state_masked": state[::-1],
    }
    columns |= {name: values.astype(np.float32) for name, values in narrow.items()}
    curve = 0.1 + 0.8 / (1 + np.exp(-(np.arange(steps) - steps / 2)))
    curve = curve + rng.normal(0, 0.03, (problems, steps))
    columns["answer_logprob"][:] = np.log(np.clip(curve, 0.01, 0.99))[:, :, None, None]
    verdict = y.astype(np.uint8)
    verdict[::17] = UNEXTRACTED
    verdict[-1] = NO_GOLD
    columns["verdict"] = verdict
    commit = np.arange(positions) * steps // positions
    columns["committed"] = np.zeros_like(columns["committed"])
    columns["committed"][:, commit, np.arange(positions)] = 1
    unread = verdict == UNEXTRACTED
    columns["answer_start"] = np.where(unread, -1, columns["answer_start"])
    columns["answer_end"] = np.where(unread, -1, columns["answer_end"])
    answers = np.where(verdict == CORRECT, "5", rng.integers(6, 9, problems).astype(str))
    columns["extracted_answer"] = np.where(unread, "", answers).astype(object)
    columns["generated_text"] = columns["extracted_answer"]
    columns["grade_rule"] = np.full(problems, "number", object)
    return columns


def run_of(
    fake_run: Callable[..., Any],
    columns: dict[str, np.ndarray],
    groups: Sequence[str],
    samples: Sequence[int],
    *,
    asked: int | None = None,
) -> Any:
    """A run of rows with these problems and numbers of samples; `asked` samples of each, where
    more were asked for than are stored."""
    run = fake_run(columns)
    sizes = np.random.default_rng(3).lognormal(3, 1, len(groups))
    size_of = {name: f"{sizes[place]:.3f}" for place, name in enumerate(dict.fromkeys(groups))}
    verdict_of = dict(zip(groups, columns["verdict"].tolist(), strict=True))
    run.ids = [name_of(group, sample) for group, sample in zip(groups, samples, strict=True)]
    run.problems = []
    for group in dict.fromkeys(groups):
        gold = None if verdict_of[group] == NO_GOLD else size_of[group]
        numbers = sorted(
            sample for name, sample in zip(groups, samples, strict=True) if name == group
        )
        for sample in range(asked) if asked is not None else numbers:
            run.problems.append(Sampled(name_of(group, sample), f"of {group}", gold, group, sample))
    run.info["data"]["n_problems"] = len(set(groups))
    run.info["drawing"] = "sha256 of the problem id"
    return run


def name_of(group: str, sample: int) -> str:
    return f"{group}#{sample}" if sample else group


def repeated(columns: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The columns with these rows, the same one more often than once."""
    of_run = ("block", "hidden_sum")
    return {name: each if name in of_run else each[rows] for name, each in columns.items()}
