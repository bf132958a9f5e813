"""The effects of every intervention of a run's branches, as rows: one for each intervention and
step. An action at `each` position is one row, the mean over positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...engine.store.counts import count_text
from ...engine.store.errors import DamagedRun, NotARun, NotStored
from ...engine.store.read.branch_runs import branch_folders
from .branch_runs import read_branch_runs
from .effects import MEASURES, Effects, effects_of
from .resampling import Resampled, mean_interval
from .sensitivity import sensitivity_maps

if TYPE_CHECKING:
    from ...engine.store import Run


class EffectRow(NamedTuple):
    """What one intervention did at one step, in the branch run of this folder. `mean`, `low` and
    `high` by measure (`effects.MEASURES`), None where undefined; `n` problems. `apart`: tokens by
    which two branches of one state differ at which nothing was done, None without two."""

    folder: str
    intervention: str
    step: int
    n: int
    mean: dict[str, float | None]
    low: dict[str, float | None]
    high: dict[str, float | None]
    apart: float | None = None


class EffectTable(NamedTuple):
    """All rows, by branch run, intervention and step; `warnings`: what is not in them, and why."""

    rows: list[EffectRow]
    warnings: list[str]


def effect_table(run: Run, *, seed: int) -> EffectTable:
    """The table of all branch runs in a run's folder; empty without any."""
    table = EffectTable([], [])
    if not branch_folders(Path(run.path)):
        return table
    for branches in read_branch_runs(run).runs:
        folder = Path(branches.path).name
        with branches:
            has_some = branches.ids and len(branches.info["branches"].get("interventions", [])) > 1
            if not has_some:
                continue
            try:
                effects = effects_of(run, branches)
            except (DamagedRun, NotARun, NotStored) as error:
                table.warnings.append(f"effects of branch run {folder} are left out: {error}")
                continue
        table.rows.extend(_rows(effects, folder, seed=seed))
        if effects.uncontrolled:
            table.warnings.append(
                f"{count_text(effects.uncontrolled, 'branch')} of {folder} without the control "
                "that shares the noise, left out; run the same `diffengine branch` again"
            )
    return table


def _rows(effects: Effects, folder: str, *, seed: int) -> Iterator[EffectRow]:
    """The rows of one branch run."""
    apart = mean_interval(effects.apart_by_problem(effects.apart.tokens), seed=seed).mean
    for text, numbers in _together(effects):
        found = {name: _mean(effects, name, numbers, seed) for name in MEASURES}
        for place, step in enumerate(effects.steps.tolist()):
            n = int(found["total"].n[place])
            if n:
                yield EffectRow(
                    folder,
                    text,
                    step,
                    n,
                    {name: _plain(each.mean[place]) for name, each in found.items()},
                    {name: _plain(each.low[place]) for name, each in found.items()},
                    {name: _plain(each.high[place]) for name, each in found.items()},
                    _plain(apart[place]),
                )


def _together(effects: Effects) -> list[tuple[str, np.ndarray]]:
    """Texts, and the interventions behind each: several where an action was taken at each
    position."""
    maps = sensitivity_maps(effects)
    of_map = {int(number) for each in maps for number in each.numbers}
    rows = []
    for number, text in enumerate(effects.texts):
        if number and number not in of_map:
            rows.append((str(text), np.array([number])))
    return rows + [(each.text, each.numbers) for each in maps]


def _mean(effects: Effects, measure: str, numbers: np.ndarray, seed: int) -> Resampled:
    """[K] the mean over problems; within a problem over the interventions that have a value."""
    values = effects.by_problem(getattr(effects, measure))[:, numbers]
    finite = np.isfinite(values)
    n = finite.sum(axis=1)
    total = np.where(finite, values, 0.0).sum(axis=1)
    return mean_interval(np.where(n > 0, total / np.maximum(n, 1), np.nan), seed=seed)


def _plain(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return float(value) if np.isfinite(value) else None
