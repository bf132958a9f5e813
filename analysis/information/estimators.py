"""The table of estimators, and the curves that those in it add to an analysis.

Adding an estimator of ours is one file and one row here. Packages of others bring theirs through
entry points of the group "diffengine.estimators"; `package.module:NAME` names one outright.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...engine.registry import OURS, Plugin, PluginError, Registry, Row
from ..errors import check_named
from .curve import Curve
from .estimator import Estimator

ESTIMATORS = Registry(
    "estimator",
    {
        "ross": "diffengine.analysis.information.ross:ROSS",
        "ksg1": "diffengine.analysis.information.ksg1:KSG1",
        "ksg2": "diffengine.analysis.information.ksg2:KSG2",
        "gao": "diffengine.analysis.information.gao:GAO",
        "binning": "diffengine.analysis.information.binning:BINNING",
        "gcmi": "diffengine.analysis.information.gcmi:GCMI",
        "decoder": "diffengine.analysis.information.decoder:DECODER",
        "ross_oof": "diffengine.analysis.information.ross_oof:ROSS_OOF",
        "pvi": "diffengine.analysis.information.v_information:PVI",
    },
    group="diffengine.estimators",
)


class EstimatorCurve(NamedTuple):
    """A curve, the estimator that makes it, and where that comes from."""

    curve: Curve
    estimator: Estimator
    row: Row

    @property
    def is_ours(self) -> bool:
        """Whether the estimator is part of this package."""
        return self.row.package == OURS


class CurveTable(NamedTuple):
    """All curves, the one shown first in front; a sentence for each estimator that was refused."""

    curves: tuple[EstimatorCurve, ...]
    refused: tuple[str, ...]

    def plugins(self) -> list[Plugin]:
        """What an analysis keeps of the estimators that are not ours."""
        rows = {member.row.name: member.row for member in self.curves if not member.is_ours}
        return [ESTIMATORS.plugin(row) for row in rows.values()]


def whose(row: Row) -> str:
    """The estimator as a message names it: "estimator 'mine' (of somebody 1.2)"."""
    source = f"of {row.package} {row.version}" if row.package else f"from {row.target}"
    return f"estimator {row.name!r} ({source})"


def load_estimator(name: str) -> Estimator:
    """The estimator `name` of the table, or `package.module:NAME`.

    Raises SettingError (a ValueError) for an unknown name, PluginError (a ValueError) for what
    cannot be imported or is no Estimator.
    """
    if ":" not in name:
        check_named(ESTIMATORS.kind, ESTIMATORS, name)
    estimator = ESTIMATORS.load(name)
    if not isinstance(estimator, Estimator):
        raise PluginError(
            f"{whose(ESTIMATORS.row(name))} is {type(estimator).__name__}, expected an Estimator; "
            "declare it as diffengine.analysis.information.Estimator(function, method=..., "
            "source=..., caution=..., targets=...)"
        )
    return estimator


def curve_table(asked: Sequence[str] = ()) -> CurveTable:
    """The curves of every estimator in the table and of those `asked` for by name or as
    `package.module:NAME`.

    An installed package that brings no usable estimator, or a curve whose name is taken, is refused
    in a sentence. Raises SettingError and PluginError (ValueErrors) for one that was asked for.
    """
    curves: list[EstimatorCurve] = []
    refused: list[str] = []
    for name in dict.fromkeys([*ESTIMATORS, *asked]):
        try:
            curves += _curves_of(name, curves)
        except PluginError as error:
            if name in asked:
                raise
            refused.append(f"{error}; its curves are left out")
    curves.sort(key=lambda each: each.curve.order)
    return CurveTable(tuple(curves), tuple(refused))


def quantity_names() -> list[str]:
    """Names of the quantities that the curves become, estimates and p-values."""
    names = []
    for each in curve_table().curves:
        names += [each.curve.quantity, each.curve.p_quantity]
    return names


def off_dashboard() -> set[str]:
    """Names of the quantities that their estimators do not want in the panel of mutual
    information."""
    curves = [each.curve for each in curve_table().curves]
    return {curve.quantity for curve in curves if not curve.on_dashboard}


def _curves_of(name: str, others: list[EstimatorCurve]) -> list[EstimatorCurve]:
    estimator = load_estimator(name)
    row = ESTIMATORS.row(name)
    owners = {other.curve.quantity: other.row.name for other in others}
    curves = []
    for curve in estimator.curves:
        if curve.quantity in owners:
            raise PluginError(
                f"{whose(row)} adds a curve {curve.quantity!r}, whose name estimator "
                f"{owners[curve.quantity]!r} has taken; rename it"
            )
        owners[curve.quantity] = name
        curves.append(EstimatorCurve(curve, estimator, row))
    return curves
