"""A made-up analysis with branches: answers that grow certain as steps go by, drawn from laws of
known entropy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from diffengine.analysis.branching.answers import answer_information
from diffengine.analysis.branching.draws import ABSENT, Draws
from diffengine.analysis.results import Analysis

CLASSES = 12
LAW = "states of the greedy run, continued at temperature 1"


def draws_of(
    problems: int, grid: tuple[int, ...], *, steps: int = 48, samples: int = 16, seed: int = 0
) -> Draws:
    """At step t a problem's own answer has the share that a logistic curve of its own gives it; the
    rest is shared by eleven others."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(0.5 * steps, 0.15 * steps, problems)
    rest = rng.dirichlet(np.ones(CLASSES - 1), problems)
    label = np.full((problems, len(grid) + 1, samples), 0, np.int32)
    for place, step in enumerate(grid):
        own = 0.25 + 0.75 / (1 + np.exp(-(step - middle) / (0.06 * steps)))
        shares = np.concatenate([own[:, None], (1 - own)[:, None] * rest], axis=1)
        u = rng.random((problems, samples))[..., None]
        label[:, place] = (u > shares.cumsum(axis=1)[:, None, :-1]).sum(axis=-1)
    right = np.arange(problems) % 5 != 0
    gold = np.where(right, 0, 1).astype(np.int32)
    return Draws(
        steps=np.array([*grid, steps]),
        label=label,
        final=np.zeros(problems, np.int32),
        gold=gold,
        correct=(label == gold[:, None, None]).astype(np.float64),
        unextracted=np.full(problems, ABSENT, np.int32),
        is_certain=np.broadcast_to(np.append(np.zeros(len(grid), bool), True), label.shape[:2]),
        is_planned=np.broadcast_to(np.append(np.ones(len(grid), bool), False), label.shape[:2]),
        is_asked=np.ones(problems, bool),
        groups=np.arange(problems),
    )


def with_branches(analysis: Analysis, draws: Draws, **facts: Any) -> Analysis:
    """`analysis` with what these draws add to it."""
    steps = int(analysis.info["steps"])
    n = len(draws.label)
    near = np.linspace(0, 1, n)[:, None] * np.ones(steps)
    made = answer_information(
        draws, steps=steps, law=LAW, metrics={"answer/confidence": near, "entropy/masked": near}
    )
    grid = draws.steps[:-1]
    said = {
        "runs": ["c0ffee00"],
        "described": f"R = {draws.samples}, temperature 1, policy llada",
        "law": LAW,
        "is_mutual_information": False,
        "samples": draws.samples,
        "at": grid.tolist(),
        "end": int(draws.steps[-1]),
        "n_problems": n,
        "n_decodings": n,
        "not_branched": 0,
        "missing": draws.missing,
        "expected": n * len(grid) * draws.samples,
        "saturated": grid[made.saturated[:-1]].tolist(),
        "near_most": {},
        "others": [],
    }
    columns = {"id": np.array([f"p{row:04d}" for row in range(n)], object), **made.columns}
    return replace(
        analysis,
        quantities=analysis.quantities | made.quantities,
        problems=analysis.problems | columns,
        info={**analysis.info, "branching": said | facts},
    )
