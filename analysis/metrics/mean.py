"""The mean over problems of every metric, and why a run may have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..groups import Groups
from ..limits import NULL_OF_FIRST_BLOCK, OF_ONE_BLOCK, OF_OPEN, OF_OPENED, OF_RUNNING
from ..quantity import Quantity
from .loading import Metrics
from .metric import Metric
from .trajectories import Trajectories, unrecorded

if TYPE_CHECKING:
    from ...engine.store import Run

TO_FINAL = "cka/to_final"
PVI = "pvi/gold_answer"
MASKED_ONLY = "needs all positions, the run recorded masked ones (--record masked)"


def metric_quantities(
    run: Run, metrics: Metrics, trajectories: Trajectories
) -> dict[str, Quantity]:
    """The quantity of every metric [step], by its name."""
    quantities = {}
    for name, metric in metrics.by_name.items():
        quantity = _mean(metric, trajectories.metrics[name], trajectories.groups)
        if trajectories.of_blocks:
            quantity = _of_blocks(quantity, name, metric, trajectories)
        if trajectories.ends_differ and not metric.kept:
            quantity = quantity._replace(label=quantity.label + OF_RUNNING)
        quantities[name] = quantity.insufficient(_why_none(run, name, metric, trajectories))
    return quantities


def _of_blocks(
    quantity: Quantity, name: str, metric: Metric, trajectories: Trajectories
) -> Quantity:
    """The quantity of a run that is decoded block by block, with what it is over."""
    if metric.every_position:
        quantity = quantity._replace(label=quantity.label + OF_OPEN)
    elif "answer_start" in metric.variables and trajectories.grows(name):
        quantity = quantity._replace(label=quantity.label + OF_OPENED)
    if name == TO_FINAL:
        return quantity.undefined(OF_ONE_BLOCK)
    if name == PVI and not quantity.ok:
        return quantity.undefined(NULL_OF_FIRST_BLOCK)
    return quantity


def _mean(metric: Metric, values: np.ndarray, groups: Groups) -> Quantity:
    if metric.share:
        return Quantity.share_of_problems(
            values, label=metric.label, missing=metric.missing, groups=groups
        )
    return Quantity.over_problems(
        values, units=metric.units, label=metric.label, missing=metric.missing, groups=groups
    )


def _why_none(run: Run, name: str, metric: Metric, trajectories: Trajectories) -> str:
    """Why the run can have no such quantity, or nothing."""
    if name in trajectories.failures:
        return trajectories.failures[name]
    if name in trajectories.incomplete:
        return MASKED_ONLY
    lacking = unrecorded(run, metric) if run.ids else ""
    return f"the run did not store {lacking}" if lacking else ""
