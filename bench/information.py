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
    return x, 0.75 * x + np.sqrt(1 - 0.75**2) * noise


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


TASKS = (
    Task("normal .75", -0.5 * float(np.log(1 - 0.75**2)), False, normal),
    Task("two pairs in 5 + 5 columns", -float(np.log(1 - 0.8**2)), False, two_pairs),
    Task("two classes", 0.336831, True, binary),
    Task("two classes, 49 columns of noise", 0.336831, True, lambda n, rng: binary(n, rng, 49)),
)


def main(folder: Path = RESULTS, sizes: Sequence[int] = (1000, 10000)) -> Path:
    """Run everything and write `folder`/information.json; returns its path."""
    found = {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "versions": _versions(),
        },
        "unit": "nats, mean and standard deviation over samples; seconds for one estimate",
        "comparison": [row for size in sizes for row in compare(size)],
        "many_steps": many_steps(steps=128, problems=10000),
        "whole_analysis": whole_analysis(problems=1000, steps=48),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "information.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    log.info("written to %s", path)
    return path


def compare(n: int) -> Iterator[dict[str, Any]]:
    """One row for each task and estimator at samples of `n`."""
    for task in TASKS:
        for name, function in _estimators(task, n).items():
            values = []
            seconds = 0.0
            function(
                *task.sample(200, np.random.default_rng(SAMPLES))
            )  # what only the first call pays for
            for seed in range(SAMPLES):
                x, y = task.sample(n, np.random.default_rng(seed))
                begun = time.perf_counter()
                values.append(function(x, y))
                seconds += time.perf_counter() - begun
            mean = float(np.mean(values))
            row = {
                "task": task.name,
                "n": n,
                "estimator": name,
                "truth": task.truth,
                "mean": mean,
                "sd": float(np.std(values)),
                "error": mean - task.truth,
                "seconds": seconds / SAMPLES,
            }
            log.info("%s", row)
            yield row


def many_steps(*, steps: int, problems: int) -> dict[str, float]:
    """Seconds of KSG-1 at `steps` steps of `problems` problems, one column each."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=problems)
    begun = time.perf_counter()
    for step in range(steps):
        estimate("ksg1", step / steps * y + rng.normal(size=problems), y, k=K)
    return {"steps": steps, "problems": problems, "seconds": time.perf_counter() - begun}


def whole_analysis(*, problems: int, steps: int, width: int = 128) -> dict[str, float]:
    """Seconds of all curves with 199 permutations and subsampling, on a made-up run in memory."""
    run = made_up_run(problems, steps, width)
    begun = time.perf_counter()
    cpu = time.process_time()
    mutual_information(run)
    return {
        "problems": problems,
        "steps": steps,
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": time.process_time() - cpu,
    }


def made_up_run(problems: int, steps: int, width: int) -> Any:
    """What the analysis reads of a run, in memory: an answer of two positions that commits at the
    end."""
    rng = np.random.default_rng(0)
    y = (rng.random(problems) < 0.6).astype(np.uint8)
    signal = np.linspace(0, 1, steps) * (2.0 * y[:, None] - 1) + rng.normal(size=(problems, steps))
    at = signal[:, :, None] + 0.5 * rng.normal(size=(problems, steps, 8))
    state = rng.normal(size=(problems, steps, width)).astype(np.float32)
    state[:, :, 0] += signal
    committed = np.zeros((problems, steps, 8), np.uint8)
    committed[:, -1] = 1
    columns = {
        "logprob": -np.exp(-at),
        "margin": at + rng.normal(size=at.shape),
        "logsumexp": at + 9,
        "entropy": np.exp(-at + 0.3 * rng.normal(size=at.shape)),
        "logit_mean": at,
        "logit_std": np.exp(0.1 * at),
        "state_answer": state,
        "performed": np.ones((problems, steps), np.uint8),
        "committed": committed,
        "answer_start": np.full(problems, 6),
        "answer_end": np.full(problems, 8),
        "verdict": y,
    }
    ids = [str(row) for row in range(problems)]
    answers = rng.lognormal(3, 1, problems)

    class Made(dict[str, np.ndarray]):
        """The columns by name, and blocks of them."""

        def blocks(
            self, names: Sequence[str], *, max_problems: int = 64
        ) -> Iterator[dict[str, np.ndarray]]:
            """All problems, `max_problems` at a time."""
            for first in range(0, problems, max_problems):
                rows = np.arange(first, min(first + max_problems, problems))
                yield {name: self[name][rows] for name in names} | {"row": rows}

    made: Any = Made(columns)
    made.ids = ids
    made.info = {"config": {"steps": steps, "record": "all"}}
    made.problems = [
        SimpleNamespace(id=one, question=one, answer=f"{answers[int(one)]:.2f}") for one in ids
    ]
    return made


def _estimators(task: Task, n: int) -> dict[str, Estimator]:
    ours = (
        ("ross", "gao", "gcmi", "decoder", "ross_oof") if task.labels else ("ksg1", "ksg2", "gcmi")
    )
    found: dict[str, Estimator] = {name: _ours(name) for name in ours}
    columns = task.sample(8, np.random.default_rng(0))[0].shape[1]
    if columns == 1:
        found |= _sklearn(task.labels)
    if not task.labels:
        found["NPEET's way"] = npeet_way
        found |= _infomeasure()
    return found


def _ours(name: str) -> Estimator:
    return lambda x, y: estimate(name, x, y).bits * NATS


def npeet_way(x: np.ndarray, y: np.ndarray) -> float:
    """KSG-1 with the strict inequality made by an absolute 1e-15, and jitter of 1e-10 on raw
    values; in nats."""
    from scipy.spatial import cKDTree
    from scipy.special import digamma

    rng = np.random.default_rng(0)
    x, y = (part + 1e-10 * rng.random(part.shape) for part in (x, y))
    joint = np.concatenate([x, y], axis=1)
    eps = cKDTree(joint).query(joint, K + 1, p=np.inf)[0][:, -1] - 1e-15
    counts = [
        cKDTree(part).query_ball_point(part, eps, p=np.inf, return_length=True) for part in (x, y)
    ]
    return float(digamma(K) + digamma(len(x)) - np.mean(digamma(counts[0]) + digamma(counts[1])))


def _sklearn(labels: bool) -> dict[str, Estimator]:
    try:
        from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
    except ImportError:
        return {}
    function = mutual_info_classif if labels else mutual_info_regression
    return {
        "scikit-learn": lambda x, y: float(function(x, y.ravel(), n_neighbors=K, random_state=0)[0])
    }


def _infomeasure() -> dict[str, Estimator]:
    try:
        import infomeasure
    except ImportError:
        return {}

    def of_type(kind: int) -> Estimator:
        return lambda x, y: float(
            infomeasure.mutual_information(x, y, approach="ksg", k=K, ksg_id=kind, base="e")
        )

    return {f"infomeasure type {kind}": of_type(kind) for kind in (1, 2)}


def _versions() -> dict[str, str]:
    found = {}
    for name in (
        "numpy",
        "scipy",
        "torch",
        "faiss-cpu",
        "faiss-gpu",
        "scikit-learn",
        "infomeasure",
        "threadpoolctl",
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS)
