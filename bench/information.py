"""Mutual information here and elsewhere: value, error against the truth, and seconds, in one run.

    python -m diffengine.bench.information [folder of results]

Peers: scikit-learn and infomeasure where they are installed, and the way NPEET does it (k-d trees,
an absolute 1e-15 taken off the radius), written anew. Every estimator gets the same samples. Also
timed: KSG-1 over 128 steps of 10 000 problems, and the whole analysis of a made-up run of 1 000
problems and 48 steps. Writes JSON; knows no command line.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from ..analysis.information import estimate
from ..analysis.information.over_steps import mutual_information

log = logging.getLogger(__name__)

RESULTS = Path(__file__).parent / "results"
NATS = float(np.log(2))
SAMPLES = 5
K = 3
OURS_OF_NUMBERS = ("ksg1", "ksg2", "gcmi")
OURS_OF_LABELS = ("ross", "gao", "gcmi", "decoder", "ross_oof")
PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "faiss-cpu",
    "faiss-gpu",
    "scikit-learn",
    "infomeasure",
    "threadpoolctl",
)
"""What the values and seconds depend on."""
Pair = tuple[np.ndarray, np.ndarray]
Estimator = Callable[[np.ndarray, np.ndarray], float]


class Task(NamedTuple):
    """A sampler with known information in nats; `labels` says whether y is a label."""

    name: str
    truth: float
    labels: bool
    sample: Callable[[int, np.random.Generator], Pair]


def normal(n: int, rng: np.random.Generator) -> Pair:
    """Bivariate normal, correlation .75."""
    x, noise = rng.normal(size=(2, n, 1))
    share_of_noise = np.sqrt(1 - 0.75**2)
    y = 0.75 * x + share_of_noise * noise
    return x, y


def two_pairs(n: int, rng: np.random.Generator) -> Pair:
    """Five columns on each side; two pairs correlate by .8."""
    x, y = rng.normal(size=(2, n, 5))
    y[:, :2] = 0.8 * x[:, :2] + 0.6 * y[:, :2]
    return x, y


def binary(n: int, rng: np.random.Generator, noise: int = 0) -> Pair:
    """A unit Gaussian with mean -1 or 1 by label, and columns of noise."""
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 1 + noise))
    x[:, 0] += 2 * y - 1
    return x, y


def noisy_binary(n: int, rng: np.random.Generator) -> Pair:
    """`binary` with 49 columns of noise."""
    return binary(n, rng, noise=49)


TASKS = (
    Task(
        name="normal .75",
        truth=-0.5 * float(np.log(1 - 0.75**2)),
        labels=False,
        sample=normal,
    ),
    Task(
        name="two pairs in 5 + 5 columns",
        truth=-float(np.log(1 - 0.8**2)),
        labels=False,
        sample=two_pairs,
    ),
    Task(
        name="two classes",
        truth=0.336831,
        labels=True,
        sample=binary,
    ),
    Task(
        name="two classes, 49 columns of noise",
        truth=0.336831,
        labels=True,
        sample=noisy_binary,
    ),
)


def main(folder: Path = RESULTS, sizes: Sequence[int] = (1000, 10000)) -> Path:
    """Run everything and write `folder`/information.json; returns its path."""
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": _versions(),
    }
    comparison: list[dict[str, Any]] = []
    for size in sizes:
        comparison.extend(compare(size))
    result = {
        "machine": machine,
        "unit": "nats, mean and standard deviation over samples; seconds for one estimate",
        "comparison": comparison,
        "many_steps": many_steps(steps=128, problems=10000),
        "whole_analysis": whole_analysis(problems=1000, steps=48),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "information.json"
    text = json.dumps(result, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    log.info("written to %s", path)
    return path


def compare(n: int) -> Iterator[dict[str, Any]]:
    """One row for each task and estimator at samples of `n`."""
    for task in TASKS:
        for name, function in _estimators(task, n).items():
            row = {"task": task.name, "n": n, "estimator": name}
            row |= _measured(function, task, n)
            log.info("%s", row)
            yield row


def _measured(function: Estimator, task: Task, n: int) -> dict[str, float]:
    """Value, error and seconds of one estimator over all samples of `n`."""
    # What only the first call pays for.
    x, y = task.sample(200, np.random.default_rng(SAMPLES))
    function(x, y)

    values = []
    seconds = 0.0
    for seed in range(SAMPLES):
        x, y = task.sample(n, np.random.default_rng(seed))
        begun = time.perf_counter()
        value = function(x, y)
        seconds += time.perf_counter() - begun
        values.append(value)
    mean = float(np.mean(values))
    return {
        "truth": task.truth,
        "mean": mean,
        "sd": float(np.std(values)),
        "error": mean - task.truth,
        "seconds": seconds / SAMPLES,
    }


def many_steps(*, steps: int, problems: int) -> dict[str, float]:
    """Seconds of KSG-1 at `steps` steps of `problems` problems, one column each."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=problems)
    begun = time.perf_counter()
    for step in range(steps):
        noise = rng.normal(size=problems)
        x = step / steps * y + noise
        estimate("ksg1", x, y, k=K)
    seconds = time.perf_counter() - begun
    return {"steps": steps, "problems": problems, "seconds": seconds}


def whole_analysis(*, problems: int, steps: int, width: int = 128) -> dict[str, float]:
    """Seconds of all curves with 199 permutations and subsampling, on a made-up run in memory."""
    run = made_up_run(problems, steps, width)
    begun = time.perf_counter()
    cpu = time.process_time()
    mutual_information(run)
    seconds = time.perf_counter() - begun
    cpu_seconds = time.process_time() - cpu
    return {
        "problems": problems,
        "steps": steps,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }


def made_up_run(problems: int, steps: int, width: int) -> Any:
    """What the analysis reads of a run, in memory: an answer of two positions that commits at the
    end."""
    rng = np.random.default_rng(0)
    correct = (rng.random(problems) < 0.6).astype(np.uint8)
    columns = _made_up_columns(correct, steps, width, rng)
    answers = rng.lognormal(3, 1, problems)
    return MadeUpRun(columns, answers, steps)


def _made_up_columns(
    correct: np.ndarray, steps: int, width: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Columns in which whether a problem is answered `correct` [problems] shows more with every
    step."""
    problems = len(correct)
    side = 2.0 * correct[:, None] - 1
    growth = np.linspace(0, 1, steps)
    signal = growth * side + rng.normal(size=(problems, steps))

    canvas = (problems, steps, 8)
    logit = signal[:, :, None] + 0.5 * rng.normal(size=canvas)
    state = rng.normal(size=(problems, steps, width)).astype(np.float32)
    state[:, :, 0] += signal
    committed = np.zeros(canvas, np.uint8)
    committed[:, -1] = 1
    margin = logit + rng.normal(size=canvas)
    log_entropy = -logit + 0.3 * rng.normal(size=canvas)
    return {
        "logprob": -np.exp(-logit),
        "margin": margin,
        "logsumexp": logit + 9,
        "entropy": np.exp(log_entropy),
        "logit_mean": logit,
        "logit_std": np.exp(0.1 * logit),
        "state_answer": state,
        "performed": np.ones((problems, steps), np.uint8),
        "committed": committed,
        "answer_start": np.full(problems, 6),
        "answer_end": np.full(problems, 8),
        "verdict": correct,
    }


class MadeUpRun(dict[str, np.ndarray]):
    """The columns by name, and blocks of them; `answers` [problems] are the problems' numbers."""

    def __init__(self, columns: dict[str, np.ndarray], answers: np.ndarray, steps: int) -> None:
        super().__init__(columns)
        self.ids = [str(row) for row in range(len(answers))]
        self.groups = self.ids
        self.info = {"config": {"steps": steps, "record": "all"}}
        self.problems = []
        for name, answer in zip(self.ids, answers, strict=True):
            problem = SimpleNamespace(id=name, group_id=name, question=name, answer=f"{answer:.2f}")
            self.problems.append(problem)

    def blocks(
        self, names: Sequence[str], *, max_problems: int = 64
    ) -> Iterator[dict[str, np.ndarray]]:
        """All problems, `max_problems` at a time."""
        problems = len(self.ids)
        for first in range(0, problems, max_problems):
            end = min(first + max_problems, problems)
            rows = np.arange(first, end)
            block = {name: self[name][rows] for name in names}
            block["row"] = rows
            yield block


def _estimators(task: Task, n: int) -> dict[str, Estimator]:
    names = OURS_OF_LABELS if task.labels else OURS_OF_NUMBERS
    estimators: dict[str, Estimator] = {name: _ours(name) for name in names}

    x, _ = task.sample(8, np.random.default_rng(0))
    columns = x.shape[1]
    if columns == 1:
        estimators |= _sklearn(task.labels)
    if not task.labels:
        estimators["NPEET's way"] = npeet_way
        estimators |= _infomeasure()
    return estimators


def _ours(name: str) -> Estimator:
    return lambda x, y: estimate(name, x, y).bits * NATS


def npeet_way(x: np.ndarray, y: np.ndarray) -> float:
    """KSG-1 with the strict inequality made by an absolute 1e-15, and jitter of 1e-10 on raw
    values; in nats."""
    from scipy.spatial import cKDTree
    from scipy.special import digamma

    rng = np.random.default_rng(0)
    x = x + 1e-10 * rng.random(x.shape)
    y = y + 1e-10 * rng.random(y.shape)
    joint = np.concatenate([x, y], axis=1)
    distances, _ = cKDTree(joint).query(joint, K + 1, p=np.inf)
    radius = distances[:, -1] - 1e-15

    def neighbours(side: np.ndarray) -> Any:
        return cKDTree(side).query_ball_point(side, radius, p=np.inf, return_length=True)

    of_counts = digamma(neighbours(x)) + digamma(neighbours(y))
    nats = digamma(K) + digamma(len(x)) - np.mean(of_counts)
    return float(nats)


def _sklearn(labels: bool) -> dict[str, Estimator]:
    try:
        from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
    except ImportError:
        return {}
    function = mutual_info_classif if labels else mutual_info_regression

    def estimator(x: np.ndarray, y: np.ndarray) -> float:
        of_columns = function(x, y.ravel(), n_neighbors=K, random_state=0)
        return float(of_columns[0])

    return {"scikit-learn": estimator}


def _infomeasure() -> dict[str, Estimator]:
    try:
        import infomeasure
    except ImportError:
        return {}

    def of_type(kind: int) -> Estimator:
        def estimator(x: np.ndarray, y: np.ndarray) -> float:
            nats = infomeasure.mutual_information(x, y, approach="ksg", k=K, ksg_id=kind, base="e")
            return float(nats)

        return estimator

    return {f"infomeasure type {kind}": of_type(kind) for kind in (1, 2)}


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS)
