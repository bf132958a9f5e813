"""Confidence, entropy and V-information of the problems that came out right, and of those that came
out wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...engine.store.format.verdicts import CORRECT, WRONG
from ..quantity import Quantity
from .finding import Finding, Material

OUTCOMES = {"correct": CORRECT, "wrong": WRONG}


class Split(NamedTuple):
    """One metric over the problems with one verdict."""

    name: str
    metric: str
    outcome: str


def _splits() -> Iterator[Split]:
    for metric in ("confidence/answer_slot", "entropy/all", "pvi/gold_answer"):
        group, _, method = metric.partition("/")
        for outcome in OUTCOMES:
            yield Split(f"{group}_{outcome}/{method}", metric, outcome)


SPLITS = tuple(_splits())


def by_verdict(material: Material) -> dict[str, Quantity]:
    """`confidence_correct/answer_slot` and so on [step]; a metric without a result has none here
    either, for the same reason."""
    return {split.name: _mean_of(split, material) for split in SPLITS}


def _mean_of(split: Split, material: Material) -> Quantity:
    whole = material.metrics[split.metric]
    chosen = material.verdict == OUTCOMES[split.outcome]
    values = material.trajectories.metrics[split.metric][chosen]
    quantity = Quantity.over_problems(
        values,
        units=whole.units,
        label=f"{whole.label}; {split.outcome} problems",
        missing=f"no {split.outcome} problem with a value",
        groups=material.groups.chosen(chosen),
    )
    return quantity if whole.ok else quantity._replace(status=whole.status)


FINDING = Finding(tuple(split.name for split in SPLITS), by_verdict)
