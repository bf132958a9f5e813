"""The metrics of an analysis: ours, those of installed packages, and those asked for by
`module:object`.

What was asked for and cannot be used is refused before any work. An installed package that brings
something unusable costs a warning: it must not keep anyone from analysing a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...engine.registry import OURS, Plugin, PluginError, Row
from ...engine.store.format.schema import VARIABLES
from ..registry import METRICS
from ..results_hdf5 import stored_name
from .metric import Metric


class Metrics(NamedTuple):
    """`by_name` in the order of the analysis, ours first; `plugins` those by name that are not
    ours; `warnings` say which installed ones could not be used and why."""

    by_name: dict[str, Metric]
    plugins: dict[str, Row]
    warnings: list[str]

    def records(self) -> list[Plugin]:
        """What an analysis keeps of the code that is not ours."""
        return [METRICS.plugin(row) for row in self.plugins.values()]


def load_metrics(asked: Sequence[str] = (), *, taken: Iterable[str] = ()) -> Metrics:
    """Every metric of the table and those `asked` for by name or as `module:object`.

    `taken`: names of other quantities. Raises UnknownNameError, and PluginError for one that was
    asked for and cannot be used.
    """
    metrics = Metrics({}, {}, [])
    names = {stored_name(name): name for name in taken}
    for name in dict.fromkeys([*METRICS, *asked]):
        row = METRICS.row(name)
        try:
            metric = _checked(row, METRICS.load(name), names)
        except PluginError as error:
            if name in asked:
                raise
            metrics.warnings.append(f"{error}; its quantity is left out")
            continue
        names[stored_name(name)] = name
        metrics.by_name[name] = metric
        if row.package != OURS:
            metrics.plugins[name] = row
    return metrics


def whose(row: Row) -> str:
    """The metric as a message names it: "metric 'depth' of somebody 1.2"."""
    source = f" of {row.package} {row.version}" if row.package else ""
    return f"metric {row.name!r}{source}"


def _checked(row: Row, thing: object, names: dict[str, str]) -> Metric:
    """`thing` if it is a metric that can be computed and stored beside the quantities `names`."""
    if not isinstance(thing, Metric):
        raise PluginError(
            f"{whose(row)} is {type(thing).__name__}, expected a Metric; declare it as "
            "diffengine.analysis.metrics.metric.Metric(function, units=..., label=..., "
            "variables=...)"
        )
    if unknown := [name for name in thing.variables if name not in VARIABLES]:
        raise PluginError(
            f"{whose(row)} reads {', '.join(map(repr, unknown))}, which no run records; there are: "
            f"{', '.join(VARIABLES)}"
        )
    if other := names.get(stored_name(row.name)):
        raise PluginError(f"{whose(row)} has the name of the quantity {other!r}; rename it")
    return thing
