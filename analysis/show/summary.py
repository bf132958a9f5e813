"""The text summary of an analysis (`analysis_summary.txt`): made from the numbers, each with its
unit and n.

Reads only an `Analysis`; says "insufficient" where the analysis does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...engine.store.write.results import publish
from ..limits import MIN_CLASS
from ..results import Analysis, Quantity, Spike
from ..wording import error_of, known, n_text, plus_minus, value_text
from .summary_dataset import dataset_lines, mark_of
from .summary_emergence import (
    emergence_lines,
    exit_lines,
    grading_lines,
    information_lines,
    map_lines,
)

SPIKES_SHOWN = 10
TRAJECTORY_VALUES = "first -> last step with a value (mean over problems +- standard error)"


def write_summary(analysis: Analysis, path: str | Path) -> None:
    """Write `summarise(analysis)` to `path`, complete or not at all. Raises OSError."""
    publish(path, summarise(analysis).encode())


def summarise(analysis: Analysis) -> str:
    """The whole text, sections as in the seed: dataset, S-curve, spikes, statistics, patterns,
    insights, warnings."""
    sections = {
        "Dataset": dataset_lines(analysis),
        "Grading": grading_lines(analysis),
        "S-curve": _s_curve(analysis),
        f"Information spikes (rule {_rule(analysis)})": _spikes(analysis),
        f"Trajectories, {TRAJECTORY_VALUES}": _trajectories(analysis),
        "Mutual information I(State; Correct), first -> last step": information_lines(analysis),
        "Answer emergence (mean over problems +- standard error)": emergence_lines(analysis),
        "Early exits, replayed on the exact trajectories (counterfactual)": exit_lines(analysis),
        "t-SNE map": map_lines(analysis),
        "Patterns": [
            f"[{p.kind}] {p.name}: {p.verdict}\n    {p.evidence}" for p in analysis.patterns
        ],
        "Key insights": key_insights(analysis),
        "Warnings": analysis.info["warnings"] or ["none"],
    }
    mark = mark_of(analysis)
    blocks = [
        f"{title}\n{'-' * len(title)}\n" + "\n".join(_marked(line, mark) for line in lines)
        for title, lines in sections.items()
    ]
    head = f"diffengine analysis of run {analysis.info['run']}"
    stale = f"STALE: {analysis.info['stale']}\n\n" if analysis.info.get("stale") else ""
    return f"{head}\n{'=' * len(head)}\n\n{stale}" + "\n\n".join(blocks) + "\n"


def _marked(line: str, mark: str) -> str:
    return line if line.startswith("unfinished:") else f"{line}{mark}"


def key_insights(analysis: Analysis) -> list[str]:
    """Plain sentences about accuracy, confidence, entropy, spikes and stability, computed from the
    quantities."""
    sentences = [
        _accuracy_sentence(analysis),
        _confidence_sentence(analysis),
        _emergence_sentence(analysis),
        _separation_sentence(analysis),
        _moved("entropy/all", "The entropy over all positions", analysis),
        _spike_sentence(analysis),
        _moved("cka/consecutive", "The CKA with the step before", analysis),
    ]
    return [sentence for sentence in sentences if sentence]


def _s_curve(analysis: Analysis) -> list[str]:
    curve = analysis.s_curve
    n = _n(_confidence(analysis).n)
    unit = _confidence(analysis).units
    lines = [
        f"mean confidence above {curve.threshold_low:g}: {_from(curve.transition_start)}; "
        f"above {curve.threshold_high:g}: "
        f"{_from(curve.transition_end)}{_length(curve.transition_length)} "
        f"(n = {n} problems)",
        f"largest {known(curve.max_confidence, '.3f')}, final "
        f"{known(curve.final_confidence, '.3f')} {unit} "
        f"(n = {n} problems)",
    ]
    if curve.model == "constant":
        lines.append(f"best model constant, so no midpoint and no length (n = {n} problems)")
    elif curve.model:
        lines.append(
            f"best model {curve.model}; logistic: midpoint step {curve.midpoint:.1f}"
            f"{plus_minus(curve.midpoint_stderr, '.1f')}, "
            f"10-90 % in {curve.length_10_90:.1f} steps, amplitude {curve.amplitude:.3f}"
            f"{plus_minus(curve.amplitude_stderr, '.3f')}, delta AICc {curve.delta_aicc:.1f} (n = "
            f"{n} problems)"
        )
    return [*lines, f"verdict: {curve.verdict} ({curve.reason})"]


def _spikes(analysis: Analysis) -> list[str]:
    rule = _rule(analysis)
    status = analysis.info["spike_status"][rule]
    totals = analysis.info["spike_totals"][rule]
    spikes = analysis.spikes[rule]
    if status != "ok":
        return [status]
    n = _n(analysis[f"gain/{_method(analysis)}"].n)
    total = f"total gain {totals['total_gain']:+.3f} (n = {n} problems)"
    head = f"{_count(spikes)}, {_boundaries(spikes)} at a block boundary; {total}"
    shown = [_spike_line(spike, _confidence(analysis).units) for spike in spikes[:SPIKES_SHOWN]]
    more = (
        [f"... and {len(spikes) - SPIKES_SHOWN} more in analysis.h5"]
        if len(spikes) > SPIKES_SHOWN
        else []
    )
    return [head, *shown, *more]


def _spike_line(spike: Spike, units: str) -> str:
    boundary = ", block boundary" if spike.at_block_boundary else ""
    z = "" if np.isnan(spike.z) else f", z = {spike.z:.1f}"
    return (
        f"step {spike.step}: {spike.confidence_before:.3f} -> {spike.confidence_after:.3f} "
        f"{units}, "
        f"gain {spike.gain:+.3f}{plus_minus(spike.stderr, '.3f')}{z}{boundary}"
    )


def _trajectories(analysis: Analysis) -> list[str]:
    return [
        f"{name}: {_first_to_last(q)}"
        for name, q in analysis.quantities.items()
        if q.dims == ("step",) and name != "s_curve/fit" and not name.startswith("mi")
    ]


def _first_to_last(quantity: Quantity) -> str:
    ends = _ends(quantity)
    if not quantity.ok or ends is None:
        return quantity.status if not quantity.ok else "no value"
    return " -> ".join(_value(quantity, step) for step in ends) + _unit(quantity)


def _value(quantity: Quantity, step: int) -> str:
    n = n_text(quantity, step)
    if quantity.interval is not None:
        return f"{value_text(quantity, step)} (step {step}, {n})"
    return f"{quantity.values[step]:.4g}{plus_minus(error_of(quantity, step))} (step {step}, {n})"


def _accuracy_sentence(analysis: Analysis) -> str:
    accuracy = analysis["accuracy"]
    if not accuracy.ok:
        return ""
    low, high = analysis.info["accuracy_interval"]
    lost = (
        f"; {analysis.info['n_unextracted']} gave no answer that could be read"
        if analysis.info["n_unextracted"]
        else ""
    )
    return (
        f"The model answered {analysis.info['n_correct']} of {accuracy.n} problems correctly "
        f"({100 * low:.0f} to {100 * high:.0f} % with 95 % confidence){lost}."
    )


def _confidence_sentence(analysis: Analysis) -> str:
    confidence = _confidence(analysis)
    ends = _ends(confidence)
    if not confidence.ok or ends is None:
        return f"The confidence in the gold answer could not be measured ({confidence.status})."
    curve = analysis.s_curve
    middle = (
        f"; the logistic fit has its midpoint at step {curve.midpoint:.0f}"
        if curve.verdict == "s-curve"
        else ""
    )
    before, after = (float(confidence.values[step]) for step in ends)
    return (
        f"The confidence in the gold answer ({_method(analysis)}) {_verb(confidence, ends)} "
        f"from {before:.2f} to {after:.2f} {confidence.units} (n = {_n(confidence.n)}); "
        f"its shape is judged: {curve.verdict}{middle}."
    )


def _emergence_sentence(analysis: Analysis) -> str:
    names = ("emergence/stable_hit_by_50", "emergence/ever_pass")
    if any(name not in analysis or not analysis[name].ok for name in names):
        return ""
    stable, ever = (analysis[name] for name in names)
    return (
        f"By half the steps {value_text(stable)} of the problems have the gold answer for good, "
        "at some step "
        f"{value_text(ever)}, in the end {value_text(analysis['accuracy'])} (n = {stable.n})."
    )


def _separation_sentence(analysis: Analysis) -> str:
    """The step from which correct and wrong problems differ by more than 1.96 SE; empty where a
    class is small."""
    correct = analysis["confidence_correct/answer_slot"]
    wrong = analysis["confidence_wrong/answer_slot"]
    if (
        min(_n(correct.n), _n(wrong.n)) < MIN_CLASS
        or correct.stderr is None
        or wrong.stderr is None
    ):
        return ""
    apart = np.abs(correct.values - wrong.values) > 1.96 * np.hypot(correct.stderr, wrong.stderr)
    lasting = np.flatnonzero(apart & ~_later_together(apart, correct.values - wrong.values))
    ns = f"n = {_n(correct.n)} and {_n(wrong.n)}"
    if not len(lasting):
        return (
            "Correct and wrong problems do not differ lastingly in answer_slot confidence "
            f"(1.96 SE; {ns})."
        )
    return (
        f"From step {lasting[0]} of {len(apart)} on, correct and wrong problems differ in "
        "answer_slot confidence "
        f"at every step (1.96 SE, each step by itself; {ns})."
    )


def _later_together(apart: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """[step] whether any later step with a value is not `apart`."""
    together = ~apart & np.isfinite(difference)
    return np.flip(np.logical_or.accumulate(np.flip(together)))


def _moved(name: str, subject: str, analysis: Analysis) -> str:
    quantity = analysis[name]
    ends = _ends(quantity)
    if not quantity.ok or ends is None:
        return ""
    before, after = (float(quantity.values[step]) for step in ends)
    return (
        f"{subject} {_verb(quantity, ends)} from {before:.3g} to {after:.3g}{_unit(quantity)} "
        f"(n = {_n(quantity.n)})."
    )


def _spike_sentence(analysis: Analysis) -> str:
    rule = _rule(analysis)
    spikes = analysis.spikes[rule]
    if analysis.info["spike_status"][rule] != "ok":
        return f"Spikes: {analysis.info['spike_status'][rule]}."
    if not spikes:
        return f"No step gains more confidence than rule {rule} demands."
    largest = max(spikes, key=lambda spike: spike.gain)
    return (
        f"Rule {rule} marks {_count(spikes)}, {_boundaries(spikes)} at a block boundary; the "
        "largest is "
        f"{largest.gain:+.3f}{plus_minus(largest.stderr, '.3f')} {_confidence(analysis).units} at "
        f"step {largest.step}."
    )


def _verb(quantity: Quantity, ends: tuple[int, int]) -> str:
    """Direction of the change from first to last step; a difference within 1.96 SE of its two ends
    has none."""
    first, last = ends
    moved = float(quantity.values[last] - quantity.values[first])
    error = (
        np.nan
        if quantity.stderr is None
        else 1.96 * np.hypot(quantity.stderr[first], quantity.stderr[last])
    )
    if not abs(moved) > error:
        return "shows no clear change,"
    return "rises" if moved > 0 else "falls"


def _unit(quantity: Quantity) -> str:
    return "" if quantity.units == "1" else f" {quantity.units}"


def _boundaries(spikes: list[Spike]) -> int:
    return sum(spike.at_block_boundary for spike in spikes)


def _count(spikes: list[Spike]) -> str:
    return f"{len(spikes)} spike" + ("" if len(spikes) == 1 else "s")


def _method(analysis: Analysis) -> str:
    return str(analysis.info["settings"]["confidence_method"])


def _rule(analysis: Analysis) -> str:
    return str(analysis.info["settings"]["spike_rule"])


def _confidence(analysis: Analysis) -> Quantity:
    return analysis[f"confidence/{_method(analysis)}"]


def _n(n: int | np.ndarray) -> int:
    return int(np.max(n, initial=0))


def _from(step: int | None) -> str:
    return "never" if step is None else f"from step {step}"


def _length(steps: int | None) -> str:
    return "" if steps is None else f"; transition of {steps} steps"


def _ends(quantity: Quantity) -> tuple[int, int] | None:
    steps = np.flatnonzero(np.isfinite(quantity.values))
    return (int(steps[0]), int(steps[-1])) if len(steps) else None
