"""The sections of the summary on answer emergence, early exits, grading, mutual information and the
t-SNE map.

Reads only an `Analysis`; every number with its unit and n.
"""

from __future__ import annotations

import numpy as np

from ..findings.emergence import NAMES as EMERGENCE
from ..registry import EXIT_RULES
from ..results import Analysis, Quantity
from ..shares import share_of
from ..wording import n_text, of_n, plus_minus, value_text

LEVEL = 0.05


def grading_lines(analysis: Analysis) -> list[str]:
    """Which rules decided, and what lm-eval's filters say of the same texts."""
    rules = analysis.info.get("grade_rules", {})
    lines = (
        [f"rules: {', '.join(f'{name} {count}' for name, count in rules.items())}"] if rules else []
    )
    counts = analysis.info.get("lm_eval")
    if counts:
        strict = counts["strict"]
        flexible = counts["flexible"]
        n = counts["n"]
        pairs = (("strict", strict), ("flexible", flexible))
        said = ", ".join(f"{word} {right} of {n} = {share_of(right, n)}" for word, right in pairs)
        lines.append(f"lm-eval gsm8k filters on the same texts: {said}")
    return lines or ["no generated text recorded"]


def emergence_lines(analysis: Analysis) -> list[str]:
    """The table of `emergence/...`, final accuracy first."""
    rows = [("accuracy", "Pass: share correct in the end")]
    rows += [(f"emergence/{name}", "") for name in EMERGENCE]
    return [
        f"{text or analysis[name].label}: {_value(analysis[name])}"
        for name, text in rows
        if name in analysis
    ]


def exit_lines(analysis: Analysis) -> list[str]:
    """One line a rule: accuracy, its paired change, forward passes."""
    lines = []
    for rule in EXIT_RULES:
        parts = [
            analysis[f"early_exit/{rule}/{part}"]
            for part in ("accuracy", "accuracy_change", "steps")
            if f"early_exit/{rule}/{part}" in analysis
        ]
        if len(parts) == 3:
            accuracy, change, steps = (_value(part) for part in parts)
            lines.append(f"{rule}: accuracy {accuracy}; change {change}; {steps}")
    return lines


def information_lines(analysis: Analysis) -> list[str]:
    """First and last value of each estimator, and the steps at which it is significant."""
    lines = []
    for name, quantity in analysis.quantities.items():
        if not name.startswith(("mi/", "mi_beyond/", "mi_size/")) or quantity.dims != ("step",):
            continue
        if not quantity.ok or not np.isfinite(quantity.values).any():
            lines.append(f"{name}: {quantity.status if not quantity.ok else 'no value'}")
            continue
        first, last = np.flatnonzero(np.isfinite(quantity.values))[[0, -1]]
        ends = " -> ".join(_step(quantity, int(step)) for step in (first, last))
        lines.append(f"{name}: {ends} {quantity.units}{_significant(analysis, name)}")
    return lines or ["not computed (diffengine analyze computes it unless --no-mi)"]


def map_lines(analysis: Analysis) -> list[str]:
    """What the t-SNE map is of and how far it can be trusted."""
    found = analysis.info.get("tsne")
    if found is None:
        return ["not computed (diffengine analyze computes it unless --no-tsne)"]
    if found["status"] != "ok":
        return [str(found["status"])]
    rows = len(analysis.info["tsne_points"])
    problems = len(np.unique(analysis.info["tsne_problem"]))
    return [
        f"{found['tool']} of {found['state']}, all steps jointly: {rows} rows of {problems} "
        "problems, "
        f"perplexity {found['perplexity']:g}, seed 42",
        f"keeps {100 * found['kept']:.1f} % of the 10 nearest neighbours (chance "
        f"{100 * found['chance']:.2f} %); "
        "distances between clusters and cluster sizes mean nothing",
    ]


def _value(quantity: Quantity) -> str:
    if not quantity.ok:
        return quantity.status
    return f"{value_text(quantity)} ({n_text(quantity)})"


def _step(quantity: Quantity, step: int) -> str:
    n = quantity.n if isinstance(quantity.n, int) else int(quantity.n[step])
    stderr = None if quantity.stderr is None else float(quantity.stderr[step])
    return f"{quantity.values[step]:.3g}{plus_minus(stderr)} (step {step}, {of_n(n, stderr)})"


def _significant(analysis: Analysis, name: str) -> str:
    p = analysis.quantities.get(name.replace("/", "_p/", 1))
    if p is None or not p.ok:
        return ""
    at = np.flatnonzero(p.values <= LEVEL)
    if not at.size:
        return f"; at no step significant (max-T p, {LEVEL:g})"
    steps = int(np.isfinite(p.values).sum())
    return (
        f"; significant at {at.size} of {steps} steps, first at step {at[0]} (max-T p <= {LEVEL:g})"
    )
