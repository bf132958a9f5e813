"""The table of effects and its sentences, of runs that hold what is asked for and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from diffengine.analysis.branching.effect_table import EffectRow, _rows
from diffengine.analysis.branching.effects import Apart, Effects
from diffengine.analysis.show.summary_interventions import intervention_lines

G = 3
TEXTS = ["nothing", "remask answer", "remask 0", "remask 1", "remask 2"]


def effects() -> Effects:
    """24 problems; at step 5 position 1 was never acted on alone, and of problem 0 only 0 was."""
    cells = []
    for row in range(24):
        cells += [(row, 2, 1), (row, 5, 2), (row, 2, 2), (row, 2, 3)]
        if row:
            cells.append((row, 2, 4))
    rng = np.random.default_rng(0)
    row, step, intervention = np.array(cells).T
    changed = rng.random((len(cells), G)) < 0.5
    acted = np.zeros_like(changed)
    acted[:, 0] = True
    return Effects(
        texts=TEXTS,
        groups=np.array([str(n) for n in range(24)], object),
        row=row,
        step=step,
        intervention=intervention,
        branch=np.zeros(len(cells), int),
        changed=changed,
        acted=acted,
        answer_changed=changed[:, 1].astype(float),
        correctness=np.full(len(cells), np.nan),
        gold_logprob=np.linspace(-1, 0, len(cells)),
        span=np.zeros((24, 2), int),
        apart=Apart(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0)),
    )


def test_an_action_at_each_position_is_one_row_a_step() -> None:
    found = effects()
    rows = list(_rows(found, "abc", seed=0))
    assert [(row.intervention, row.step, row.n) for row in rows] == [
        ("remask answer", 2, 24),
        ("remask each", 2, 24),
        ("remask each", 5, 24),
    ]
    by_problem = []
    for problem in range(24):
        of_problem = (found.row == problem) & (found.step == 2) & (found.intervention > 1)
        by_problem.append(found.total[of_problem].mean())
    row = rows[1]
    assert row.mean["total"] == pytest.approx(np.mean(by_problem))
    assert row.mean["direct"] + row.mean["collateral"] == pytest.approx(row.mean["total"])
    assert row.low["total"] < row.mean["total"] < row.high["total"]
    assert row.mean["correctness"] is None
    json.dumps([row._asdict() for row in rows], allow_nan=False)


def row_of(**changes: dict[str, float | None]) -> EffectRow:
    mean = {
        "total": 2.5,
        "direct": 1.0,
        "collateral": 1.5,
        "answer_changed": 0.25,
        "correctness": -0.125,
        "gold_logprob": -0.75,
    }
    low = {name: value - 0.125 for name, value in mean.items()}
    high = {name: value + 0.125 for name, value in mean.items()}
    row = EffectRow("abc", "remask answer", 4, 30, mean, low, high, 3.25)
    return row._replace(**changes)  # type: ignore[arg-type]


def test_a_row_in_words() -> None:
    (line,) = intervention_lines([row_of()._asdict()])
    assert line == (
        "remask answer at step 4: 2.5 [2.38, 2.62] tokens change (1 where it acted + 1.5 "
        "elsewhere), another answer in 25 % [12.5, 37.5], accuracy -12.5 % [-25, 0], "
        "log p(gold answer) -0.75 [-0.875, -0.625] nats, 3.25 tokens between two draws with "
        "nothing done, n = 30"
    )


def test_what_was_not_measured_is_not_said() -> None:
    row = row_of()
    mean = row.mean | {"correctness": None, "gold_logprob": None}
    nothing = dict.fromkeys(mean)
    row = row._replace(mean=mean, low=nothing, high=nothing, apart=None)
    (line,) = intervention_lines([row._asdict()])
    assert line == (
        "remask answer at step 4: 2.5 tokens change (1 where it acted + 1.5 elsewhere), "
        "another answer in 25 %, n = 30"
    )
