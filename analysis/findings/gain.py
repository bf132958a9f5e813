"""Information gain: by how much the mean confidence rises from one step to the next, with its
paired standard error.

The same problems stand at both ends, so the standard error is that of the per-problem differences;
treating the two means as independent overstates it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..groups import Groups
from ..means import mean_over_problems
from ..quantity import Quantity
from ..registry import confidence_methods
from .finding import Finding, Material


class Gain(NamedTuple):
    """All [step]. `gain` = `after` - `before` over the `n` problems that have a value at both ends;
    NaN if n is 0."""

    gain: np.ndarray
    stderr: np.ndarray
    n: np.ndarray
    before: np.ndarray
    after: np.ndarray


def information_gain(values: np.ndarray, groups: Groups | None = None) -> Gain:
    """Gain of `values` [row, step] at each step over the latest earlier step at which the row has a
    value; `groups`: which rows are samples of one problem.

    Across a step that was not performed the difference thus spans the gap, and is booked at the
    step after it.
    """
    previous = value_before(values)
    paired = np.isfinite(values) & np.isfinite(previous)
    difference = mean_over_problems(np.where(paired, values - previous, np.nan), groups)
    before = mean_over_problems(np.where(paired, previous, np.nan), groups).mean
    after = mean_over_problems(np.where(paired, values, np.nan), groups).mean
    return Gain(difference.mean, difference.stderr, difference.n, before, after)


def value_before(values: np.ndarray) -> np.ndarray:
    """[problem, step] each problem's value at its latest earlier step that has one, NaN where there
    is none."""
    problems, steps = values.shape
    if not steps:
        return np.array(values)
    own_step = np.where(np.isfinite(values), np.arange(steps), -1)
    latest = np.maximum.accumulate(own_step, axis=1)
    none = np.full((problems, 1), -1)
    source = np.concatenate([none, latest[:, :-1]], axis=1)
    filled = np.take_along_axis(values, np.maximum(source, 0), axis=1)
    return np.where(source >= 0, filled, np.nan)


def change(values: np.ndarray, *, share: float = 0.0) -> np.ndarray:
    """[problem] last minus first value of each problem; with `share`, means over that share of its
    steps instead.

    Values that are NaN are left out before the steps are counted; NaN for a problem with fewer than
    two values.
    """
    changes = [_change(row[np.isfinite(row)], share) for row in values]
    return np.array(changes, dtype=np.float64)


def _change(row: np.ndarray, share: float) -> float:
    if len(row) < 2:
        return float("nan")
    count = max(1, int(len(row) * share))
    first = row[:count].mean()
    last = row[-count:].mean()
    return float(last - first)


def gains(material: Material) -> dict[str, Quantity]:
    """`gain/<method>` [step] of every confidence."""
    prefix = "confidence/"
    quantities = {}
    for name in material.metrics:
        if name.startswith(prefix):
            method = name.removeprefix(prefix)
            quantities[f"gain/{method}"] = _quantity(material, name)
    return quantities


def _quantity(material: Material, name: str) -> Quantity:
    confidence = material.metrics[name]
    gain = information_gain(material.recorded(name), material.groups)
    quantity = Quantity(
        gain.gain,
        ("step",),
        confidence.units,
        gain.n,
        gain.stderr,
        confidence.status,
        label=f"gain per step of: {confidence.label}",
    )
    if confidence.ok and not gain.n.max(initial=0):
        return quantity.insufficient("no problem has a value at two steps")
    return quantity


FINDING = Finding(tuple(f"gain/{method}" for method in confidence_methods()), gains)
