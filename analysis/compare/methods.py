"""The policies among several runs, and the accuracy under parallelism of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..limits import OK, status_of
from ..quantity import Quantity
from .aup import MOST_LOST, UNITS, Point, accuracy_under_parallelism
from .standing import ACCURACY, TOKENS_PER_FORWARD, Standing

NOT_COMPARED = ("model", "policy")
"""Settings that are no setting of a policy."""


class Method(NamedTuple):
    """The runs of one policy that are measured from the same reference.

    `places` are theirs among the standings, slowest first, the reference among them; `settings`
    the names of the options in which its runs differ. `aup` has a status where it is undefined.
    `dropped`: places of the runs that lost too much accuracy for it.
    """

    policy: str
    reference: int
    places: list[int]
    settings: list[str]
    aup: Quantity
    dropped: list[int]


def methods(rows: Sequence[Standing]) -> list[Method]:
    """Each policy with a run besides its reference, in order of appearance."""
    members: dict[tuple[str, int], list[int]] = {}
    for place, row in enumerate(rows):
        if row.reference != place:
            key = (row.run.policy, row.reference)
            members.setdefault(key, []).append(place)

    result = []
    for (policy, reference), places in members.items():
        result.append(_method(rows, policy, reference, places))
    return result


def _method(rows: Sequence[Standing], policy: str, reference: int, members: list[int]) -> Method:
    def tokens_per_forward(place: int) -> float:
        return float(rows[place].quantities[TOKENS_PER_FORWARD].values)

    places = sorted([reference, *members], key=tokens_per_forward)
    settings = varying([rows[place].run.config for place in members])
    aup, dropped = _aup(rows, places)
    return Method(policy, reference, places, settings, aup, dropped)


def varying(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that are not the same in all of these."""
    first = configs[0]
    names = []
    for name, value in first.items():
        differs = any(config.get(name) != value for config in configs)
        if differs and name not in NOT_COMPARED:
            names.append(name)
    return names


def setting_text(row: Standing, method: Method) -> str:
    """What sets a run apart from the others of its policy: its value, or names and values where
    several options differ; the run's name where none does."""
    config = row.run.config
    if not method.settings:
        return row.run.name
    if len(method.settings) == 1:
        return _value_text(config.get(method.settings[0]))
    parts = []
    for name in method.settings:
        parts.append(f"{name} {_value_text(config.get(name))}")
    return ", ".join(parts)


def _value_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _aup(rows: Sequence[Standing], places: Sequence[int]) -> tuple[Quantity, list[int]]:
    reason = why_no_aup(rows, places)
    if reason:
        return _quantity(np.nan, len(places), reason), []

    best = max(_point(row).accuracy for row in rows)
    points = [_point(rows[place]) for place in places]
    result = accuracy_under_parallelism(points, best=best)
    dropped = []
    for place, point in zip(places, points, strict=True):
        if point in result.dropped:
            dropped.append(place)
    return _quantity(result.value, len(result.used), ""), dropped


def why_no_aup(rows: Sequence[Standing], places: Sequence[int]) -> str:
    """Why accuracies of these runs cannot be put on one curve, or nothing."""
    for row in rows:
        if not row.quantities[ACCURACY].ok:
            return f"{row.run.name} has no accuracy"
    problems = set(rows[places[0]].run.keys)
    for row in rows:
        if set(row.run.keys) != problems:
            return f"{row.run.name} holds other problems than {rows[places[0]].run.name}"
    if max(_point(row).accuracy for row in rows) <= 0:
        return "no run answers any problem correctly"
    return ""


def _point(row: Standing) -> Point:
    quantities = row.quantities
    tokens = float(quantities[TOKENS_PER_FORWARD].values)
    return Point(tokens, 100 * float(quantities[ACCURACY].values))


def _quantity(value: float, n: int, reason: str) -> Quantity:
    return Quantity(
        values=np.asarray(value),
        dims=(),
        units=UNITS,
        n=n,
        stderr=None,
        status=status_of(reason) if reason else OK,
        label=f"accuracy under parallelism, points that lose at most {MOST_LOST:g} percent",
    )
