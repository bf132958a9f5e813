"""Summary statistics: the run's key figures as a table of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ....engine.store.counts import count_text
from ...limits import UNDEFINED
from ...results import Analysis, Quantity
from ...samples.finding import MAJORITY, PASS
from ...wording import blocks_text, value_text
from ..summary_dataset import filter_share
from ..values import count, course_of, method_of, positions_read, spikes_of, usable, why_not
from . import style
from .frame import clear, heading
from .panel import Panel
from .text import change, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Summary statistics"
GRADED = {
    "n_correct": "correct",
    "n_wrong": "wrong",
    "n_unextracted": "no answer found",
    "n_no_gold": "no gold answer",
    "n_ambiguous": "ambiguous number",
}
FIRST_TO_LAST = {
    "confidence/{method}": "Confidence",
    "entropy/all": "Entropy, all positions",
    "entropy/masked": "Entropy, masked positions",
    "kl/all": "KL to the step before",
    "cka/consecutive": "CKA to the step before",
}
SPIKES_NAMED = 8
ROW = 0.085  # share of the axes, at most


def draw(ax: Axes, analysis: Analysis) -> None:
    """Figures of the run, left the name, right the value with its unit."""
    clear(ax)
    n = int(analysis.info.get("n_problems", 0))
    heading(ax, TITLE, f"first → last step, mean over problems · n = {n}")

    pairs = list(rows(analysis))
    pitch = min(1.0 / len(pairs), ROW)
    for index, (name, value) in enumerate(pairs):
        y = 1.0 - (index + 0.5) * pitch
        if index % 2 == 0:
            ax.axhspan(y - pitch / 2, y + pitch / 2, color=style.PAPER, zorder=0)
        _write(ax, 0.012, y, name, color=style.QUIET)
        _write(ax, 0.988, y, plain(value), ha="right")
    ax.set_ylim(0, 1)


def _write(ax: Axes, x: float, y: float, text: str, **look: Any) -> None:
    ax.text(
        x,
        y,
        text,
        fontsize=style.SMALL,
        va="center",
        transform=ax.transAxes,
        parse_math=False,
        **look,
    )


def rows(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """(name, value) of each figure, in reading order."""
    info = analysis.info
    samples = f", {count_text(info['n_samples'], 'sample')}" if "n_samples" in info else ""
    yield "Problems", f"{int(info.get('n_problems', 0))}{samples}"
    yield "Graded", _graded(analysis)
    yield "Accuracy", _accuracy(analysis)
    size = f"{int(info.get('steps', 0))} × {int(info.get('gen_length', 0))}"
    blocks = blocks_text(int(info.get("block_length", 0)))
    yield "Steps × positions", f"{size}, {blocks}"
    yield from _samples(analysis)
    yield from _ends(analysis)
    yield from _first_to_last(analysis)
    yield from _curve(analysis)
    yield from _emergence(analysis)
    yield "Spikes at steps", _spikes(analysis)


def _samples(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """What several samples of a problem say together."""
    if usable(analysis, PASS):
        quantity = analysis[PASS]
        most = len(quantity.values)
        yield f"pass@{most}", value_text(quantity, most - 1)
    if usable(analysis, MAJORITY):
        yield "Majority vote", value_text(analysis[MAJORITY])


def _ends(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """After how many steps the problems ended, where that differs."""
    ends = np.asarray(analysis.problems.get("end_step", ()))
    if ends.size and (ends != ends[0]).any():
        taken = ends + 1
        middle = int(np.median(taken))
        yield "Steps taken", f"{taken.min()} to {taken.max()}, median {middle}"


def _graded(analysis: Analysis) -> str:
    info: dict[str, Any] = dict(analysis.info)
    parts = [f"{int(info[key])} {word}" for key, word in GRADED.items() if info.get(key)]
    return ", ".join(parts) or "none"


def _accuracy(analysis: Analysis) -> str:
    if usable(analysis, "accuracy"):
        return _share(analysis["accuracy"])
    return why_not(analysis, "accuracy") if "accuracy" in analysis else "not graded"


def _share(quantity: Quantity) -> str:
    rate = float(quantity.values)
    n = count(quantity)
    if quantity.interval is None:
        return f"{100 * rate:.1f} % (n = {n})"
    low, high = (float(end) for end in quantity.interval)
    return f"{100 * rate:.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f}, n = {n})"


def _first_to_last(analysis: Analysis) -> Iterator[tuple[str, str]]:
    for pattern, label in FIRST_TO_LAST.items():
        name = pattern.format(method=method_of(analysis))
        if usable(analysis, name):
            unit = analysis[name].units
            moved = change(analysis, name) + (f" {unit}" if unit not in ("1", "") else "")
            label = label.replace("all positions", positions_read(analysis))
            yield label, moved + _fewer(analysis, name)


def _fewer(analysis: Analysis, name: str) -> str:
    """The number of problems behind a change, where it is not that of the heading."""
    course = course_of(analysis, name)
    if course is None or course.n == int(analysis.info.get("n_problems", 0)):
        return ""
    return f", n = {course.n}"


def _curve(analysis: Analysis) -> Iterator[tuple[str, str]]:
    curve = analysis.s_curve
    start = "never" if curve.transition_start is None else curve.transition_start
    end = "never" if curve.transition_end is None else curve.transition_end
    above = f"Confidence above {curve.threshold_low:g} / {curve.threshold_high:g}"
    if curve.reason.startswith(UNDEFINED):
        yield above, "undefined"
        return
    yield above, f"from step {start} / {end}"

    name = "Logistic midpoint, 10–90 % length"
    if curve.model == "constant":
        yield name, "none (best model constant)"
    elif np.isfinite(curve.midpoint):
        yield name, f"step {curve.midpoint:.1f}, {curve.length_10_90:.1f} steps"


def _emergence(analysis: Analysis) -> Iterator[tuple[str, str]]:
    if usable(analysis, "emergence/ever_pass"):
        yield "EverPass", _share(analysis["emergence/ever_pass"])
    lm_eval = analysis.info.get("lm_eval")
    if lm_eval:
        for name in ("strict", "flexible"):
            share = filter_share(analysis.info, name)
            yield f"lm-eval {name}", f"{share}, n = {lm_eval['n']}"


def _spikes(analysis: Analysis) -> str:
    spikes = spikes_of(analysis, method_of(analysis)) or []
    if not spikes:
        return "none"
    steps = ", ".join(str(spike.step) for spike in spikes[:SPIKES_NAMED])
    return steps + (" …" if len(spikes) > SPIKES_NAMED else "")


PANEL = Panel(TITLE, draw, height=1.15)
