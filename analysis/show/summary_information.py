"""The summary's sections on mutual information and the t-SNE map.

Every number with its unit and n.
"""

from __future__ import annotations

import numpy as np

from ...engine.store.counts import count_text
from ..results import Analysis, Quantity
from ..wording import of_n, plus_minus
from .values import ends_of

LEVEL = 0.05
KINDS = ("mi/", "mi_beyond/", "mi_size/")


def information_lines(analysis: Analysis) -> list[str]:
    """First and last value of each estimator, and the steps at which it is significant."""
    lines = [
        f"{name}: {_first_to_last(analysis, name)}"
        for name, quantity in analysis.quantities.items()
        if name.startswith(KINDS) and quantity.dims == ("step",)
    ]
    return lines or ["not computed (diffengine analyze computes it unless --no-mi)"]


def map_lines(analysis: Analysis) -> list[str]:
    """What the t-SNE map is of and how far it can be trusted."""
    made = analysis.info.get("tsne")
    if made is None:
        return ["not computed (diffengine analyze computes it unless --no-tsne)"]
    if made["status"] != "ok":
        return [str(made["status"])]
    rows = len(analysis.info["tsne_points"])
    problems = len(np.unique(analysis.info["tsne_problem"]))
    return [
        f"{made['tool']} of {made['state']}, all steps jointly: {count_text(rows, 'row')} of "
        f"{count_text(problems, 'problem')}, perplexity {made['perplexity']:g}, seed 42",
        f"keeps {100 * made['kept']:.1f} % of the 10 nearest neighbours (chance "
        f"{100 * made['chance']:.2f} %); distances between clusters and cluster sizes mean nothing",
    ]


def _first_to_last(analysis: Analysis, name: str) -> str:
    quantity = analysis[name]
    if not quantity.ok:
        return quantity.status
    ends = ends_of(quantity)
    if ends is None:
        return "no value"
    values = " -> ".join(_value(quantity, step) for step in ends)
    return f"{values} {quantity.units}{_significant(analysis, name)}"


def _value(quantity: Quantity, step: int) -> str:
    n = quantity.n if isinstance(quantity.n, int) else int(quantity.n[step])
    stderr = None if quantity.stderr is None else float(quantity.stderr[step])
    return f"{quantity.values[step]:.3g}{plus_minus(stderr)} (step {step}, {of_n(n, stderr)})"


def _significant(analysis: Analysis, name: str) -> str:
    p = analysis.quantities.get(name.replace("/", "_p/", 1))
    if p is None or not p.ok:
        return ""
    steps = np.flatnonzero(p.values <= LEVEL)
    if not steps.size:
        return f"; at no step significant (max-T p, {LEVEL:g})"
    tested = int(np.isfinite(p.values).sum())
    return (
        f"; significant at {steps.size} of {count_text(tested, 'step')}, first at step {steps[0]} "
        f"(max-T p <= {LEVEL:g})"
    )
