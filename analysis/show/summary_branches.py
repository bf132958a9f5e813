"""The summary's section on branches: how much of the answer is decided at a step, and beside it
what the run's own numbers say at the same steps."""

from __future__ import annotations

import numpy as np

from ...engine.store.counts import count_text
from ..branching.answers import ENTROPY, INFORMATION, LEVEL, RANKED, SHOWN, WORDS, cannot_tell
from ..branching.entropy import ESTIMATORS
from ..compare.columns import aligned
from ..results import Analysis, Quantity
from ..wording import value_text
from .values import is_of_blocks, method_of, usable

ABSENT = "no branches; `diffengine branch RUN --samples 16`, then `diffengine analyze RUN` again"
OF_BLOCKS = "no branches: one begins on a canvas that is whole, and this run goes block by block"
H = f"{ENTROPY}/{SHOWN}"
I_T = f"{INFORMATION}/{SHOWN}"
P = f"{INFORMATION}_p/{SHOWN}"

PATH_ONLY = (
    "I_t is what the visited states settle of answers drawn otherwise than they were: no mutual "
    "information, and it may fall"
)
MUTUAL = "the mean of I_t is the mutual information I(A; x_t) of this sampler"


def branch_lines(analysis: Analysis) -> list[str]:
    """What was asked, what is decided when, what comes of the branches, pivotal steps; then the
    table of all steps, and branches of other laws."""
    facts = analysis.info.get("branching")
    if facts is None:
        return [OF_BLOCKS if is_of_blocks(analysis) else ABSENT]
    if not facts:
        return ["no branches that can be read, or none with noise of their own; see the warnings"]
    others = [f"not pooled, not shown: {line}" for line in facts["others"]]
    if not usable(analysis, "decided/mode_share"):
        return [*what_lines(analysis), analysis["decided/mode_share"].status, *others]
    return [
        *what_lines(analysis),
        *_information(analysis),
        _decided(analysis),
        _pivotal(analysis),
        *_table(analysis),
        *_ranked(analysis),
        *others,
    ]


def what_lines(analysis: Analysis) -> list[str]:
    """What was branched, and what its I_t is."""
    facts = analysis.info["branching"]
    missing = ""
    if facts["missing"]:
        expected = count_text(facts["expected"], "branch")
        missing = f"; unfinished: {facts['missing']} of {expected} missing"
    meaning = MUTUAL if facts["is_mutual_information"] else PATH_ONLY
    steps = ", ".join(map(str, facts["at"]))
    problems = count_text(facts["n_problems"], "problem")
    return [
        f"{problems}, {facts['described']}, at steps {steps}{missing}",
        f"{facts['law']}: {meaning}",
    ]


def _information(analysis: Analysis) -> list[str]:
    """H at the first step, I_t at the steps behind it, by each estimator at the last."""
    entropy = analysis[H]
    decided = analysis[I_T]
    lines = []
    too_many = analysis.info["branching"]["saturated"]
    if too_many:
        limit = cannot_tell(analysis.info["branching"]["samples"])
        steps = ", ".join(map(str, too_many))
        lines.append(f"insufficient at steps {steps}: {limit}, and draws are nearly all different")
    if not entropy.ok:
        return [*lines, f"H(A | x_t): {entropy.status}"]
    first = int(_grid(entropy)[0])
    lines.append(
        f"H(A | x_{first}) = {value_text(entropy, first, form='.3g')}{_estimates(analysis, first)}"
    )
    if not decided.ok:
        return [*lines, f"I_t: {decided.status}"]
    lines.append(f"decided of it, I_t: {_half(analysis)}{_significant(analysis)}")
    return lines


def _half(analysis: Analysis) -> str:
    """From which step of the grid on half is decided, and how much at the last."""
    decided = analysis[I_T]
    grid = _grid(decided)
    last = int(grid[-1])
    text = f"{value_text(decided, last, form='.3g')} at step {last}"
    whole = float(analysis[H].values[0])
    reached = [int(step) for step in grid if whole > 0 and decided.values[step] >= whole / 2]
    return f"half by step {reached[0]}, {text}" if reached else text


def _estimates(analysis: Analysis, step: int) -> str:
    """The other estimators' values at a step, for their spread."""
    others = []
    for estimator in ESTIMATORS[1:]:
        value = float(analysis[f"{ENTROPY}/{estimator}"].values[step])
        others.append(f"{WORDS[estimator]} {value:.3g}")
    return f" by {WORDS[SHOWN]} ({', '.join(others)})"


def _significant(analysis: Analysis) -> str:
    p = analysis[P]
    if not p.ok:
        return ""
    steps = np.flatnonzero(p.values <= LEVEL)
    control = analysis[f"{INFORMATION}/dealt_out_anew"].values
    largest = f"control {np.nanmax(np.abs(control)):.2g} bits at most"
    if not steps.size:
        return f"; nowhere more than chance (max-T p, {LEVEL:g}; {largest})"
    return f"; more than chance from step {steps[0]} on (max-T p <= {LEVEL:g}; {largest})"


def _decided(analysis: Analysis) -> str:
    parts = []
    for name, words in (
        ("decided/nine_tenths", "one answer has 90 % of the draws"),
        ("decided/mode_is_final", "the most frequent answer is the parent's own"),
        ("decided/mode_is_gold", "it is gold"),
        ("branches/accuracy", "branches right"),
        ("branches/unextracted", "branches without an answer"),
    ):
        parts.append(f"{words} {_first_to_last(analysis[name])}")
    return "; ".join(parts)


def _pivotal(analysis: Analysis) -> str:
    share = analysis["pivotal/problems"]
    if not share.ok:
        return f"pivotal steps: {share.status}"
    drop = analysis["pivotal/drop"]
    size = f"; mean drop there {value_text(drop, form='.3g')}" if drop.ok else ""
    problems = count_text(int(share.n), "problem")
    return (
        f"pivotal steps: in {value_text(share)} of {problems} the largest drop of H between "
        f"neighbouring steps is more than chance (p <= {LEVEL:g}, so in {100 * LEVEL:g} % "
        f"if there were none){size}"
    )


def _table(analysis: Analysis) -> list[str]:
    """One line a step: what branches say, and what the run's own numbers say there."""
    columns = {
        "n": analysis[H],
        "H(A|x_t)": analysis[H],
        "I_t": analysis[I_T],
        "90 % agree": analysis["decided/nine_tenths"],
        "right": analysis["branches/accuracy"],
    }
    for name in (
        f"confidence/{method_of(analysis)}",
        "answer/confidence",
        "entropy/masked",
        "mi/ross",
        "mi/decoder",
        "mi_beyond/logistic",
    ):
        if usable(analysis, name):
            columns[name] = analysis[name]
    rows = [["step", *columns]]
    for step in analysis.info["branching"]["at"]:
        cells = [_cell(name, quantity, int(step)) for name, quantity in columns.items()]
        rows.append([str(step), *cells])
    title = "beside the run's own numbers at the same steps (bits; of problems, branches: shares)"
    return [title, *_indented(rows)]


def _indented(rows: list[list[str]]) -> list[str]:
    return [f"    {line}" for line in aligned(rows)]


def _cell(name: str, quantity: Quantity, step: int) -> str:
    if name == "n":
        return str(int(np.broadcast_to(quantity.n, quantity.values.shape)[step]))
    value = float(quantity.values[step])
    if not (quantity.ok and np.isfinite(value)):
        return "-"
    if name != "I_t" or quantity.interval is None or step == 0:
        return f"{value:.3g}"
    low, high = quantity.interval[:, step]
    return f"{value:.3g} ({low:.2g} to {high:.2g})" if np.isfinite(low) else f"{value:.3g}"


def _ranked(analysis: Analysis) -> list[str]:
    """The rank correlations over problems with the run's own numbers, first and last."""
    lines = []
    for name, metric in RANKED.items():
        quantity = analysis[f"{ENTROPY}_rank/{name}"]
        if not quantity.ok:
            continue
        lines.append(f"rank correlation of H(A | x_t) with {metric}: {_first_to_last(quantity)}")
    return lines


def _grid(quantity: Quantity) -> np.ndarray:
    """Steps with a value."""
    return np.flatnonzero(np.isfinite(quantity.values))


def _first_to_last(quantity: Quantity) -> str:
    if not quantity.ok:
        return quantity.status
    ends = _grid(quantity)[[0, -1]]
    return " -> ".join(f"{value_text(quantity, int(t), form='.2g')} (step {t})" for t in ends)
