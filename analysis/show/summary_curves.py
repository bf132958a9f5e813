"""The summary's sections on the shape of curves: S-curve, information spikes, and every trajectory
from its first to its last value."""

from __future__ import annotations

import numpy as np

from ...engine.store.counts import count_text
from ..branching.answers import OF_BRANCHES
from ..limits import UNDEFINED
from ..results import Analysis, Quantity, SCurve, Spike
from ..wording import error_of, known, n_text, plus_minus, value_text
from .values import count, ends_of, has_blocks, method_of, spike_rule

SPIKES_SHOWN = 10
NO_TOTAL = "undefined, the steps' gains are of different problems"


def curve_lines(analysis: Analysis) -> list[str]:
    """Threshold crossings, the best model with its errors, and the verdict."""
    curve = analysis.s_curve
    if curve.reason.startswith(UNDEFINED):
        return [curve.reason]
    confidence = analysis[f"confidence/{method_of(analysis)}"]
    of_n = f"(n = {count_text(count(confidence), 'problem')})"
    crossings = (
        f"mean confidence above {curve.threshold_low:g}: {_from(curve.transition_start)}; above "
        f"{curve.threshold_high:g}: {_from(curve.transition_end)}"
    )
    if curve.transition_length is not None:
        crossings += f"; transition of {count_text(curve.transition_length, 'step')}"
    largest = known(curve.max_confidence, ".3f")
    final = known(curve.final_confidence, ".3f")
    return [
        f"{crossings} {of_n}",
        f"largest {largest}, final {final} {confidence.units} {of_n}",
        *_model_lines(curve, of_n),
        f"verdict: {curve.verdict} ({curve.reason})",
    ]


def _from(step: int | None) -> str:
    return "never" if step is None else f"from step {step}"


def _model_lines(curve: SCurve, of_n: str) -> list[str]:
    if not curve.model:
        return []
    if curve.model == "constant":
        return [f"best model constant, so no midpoint and no length {of_n}"]
    return [
        f"best model {curve.model}; logistic: midpoint step {curve.midpoint:.1f}"
        f"{plus_minus(curve.midpoint_stderr, '.1f')}, 10-90 % in {curve.length_10_90:.1f} steps, "
        f"amplitude {curve.amplitude:.3f}"
        f"{plus_minus(curve.amplitude_stderr, '.3f')}, delta AICc {curve.delta_aicc:.1f} {of_n}"
    ]


def spike_lines(analysis: Analysis) -> list[str]:
    """How many spikes there are, and each of the first; or why none could be told."""
    rule = spike_rule(analysis)
    if analysis.info["spike_status"][rule] != "ok":
        return [analysis.info["spike_status"][rule]]
    spikes = analysis.spikes[rule]
    units = analysis[f"confidence/{method_of(analysis)}"].units
    gain = analysis[f"gain/{method_of(analysis)}"]
    total = analysis.info["spike_totals"][rule]["total_gain"]

    in_all = NO_TOTAL if total is None else f"{total:+.3f}"
    problems = count_text(count(gain), "problem")
    lines = [f"{spike_count(analysis)}; total gain {in_all} (n = {problems})"]
    lines += [_spike_line(spike, units) for spike in spikes[:SPIKES_SHOWN]]
    if len(spikes) > SPIKES_SHOWN:
        lines.append(f"... and {len(spikes) - SPIKES_SHOWN} more in analysis.h5")
    return lines


def spike_count(analysis: Analysis) -> str:
    """ "3 spikes, 2 at a block boundary"; of boundaries nothing where steps have no blocks."""
    spikes = analysis.spikes[spike_rule(analysis)]
    in_all = count_text(len(spikes), "spike")
    if not has_blocks(analysis):
        return in_all
    boundaries = sum(bool(spike.at_block_boundary) for spike in spikes)
    return f"{in_all}, {boundaries} at a block boundary"


def _spike_line(spike: Spike, units: str) -> str:
    z = "" if np.isnan(spike.z) else f", z = {spike.z:.1f}"
    boundary = ", block boundary" if spike.at_block_boundary else ""
    return (
        f"step {spike.step}: {spike.confidence_before:.3f} -> {spike.confidence_after:.3f} "
        f"{units}, gain {spike.gain:+.3f}{plus_minus(spike.stderr, '.3f')}{z}{boundary}"
    )


def trajectory_lines(analysis: Analysis) -> list[str]:
    """First and last value of every quantity over steps, those left out that have a section of
    their own: mutual information, and what branches say."""
    elsewhere = ("mi/", "mi_", "s_curve/fit", *OF_BRANCHES)
    lines = []
    for name, quantity in analysis.quantities.items():
        if quantity.dims == ("step",) and not name.startswith(elsewhere):
            lines.append(f"{name}: {_first_to_last(quantity)}{_own_ends(analysis, name)}")
    return lines


def _own_ends(analysis: Analysis, name: str) -> str:
    """Where problems end at different steps, from where to where it goes in each: the mean of the
    last step is over the slowest problems alone."""
    own = analysis.info.get("own_ends", {}).get(name)
    if own is None or not analysis[name].ok or not own["n"]:
        return ""
    error = plus_minus(own["change_stderr"])
    return (
        f"; from each problem's first to its own last {own['first']:.4g} -> {own['last']:.4g}, "
        f"change {own['change']:+.4g}{error} (paired, n = {own['n']})"
    )


def _first_to_last(quantity: Quantity) -> str:
    if not quantity.ok:
        return quantity.status
    ends = ends_of(quantity)
    if ends is None:
        return "no value"
    unit = "" if quantity.units == "1" else f" {quantity.units}"
    return " -> ".join(_value(quantity, step) for step in ends) + unit


def _value(quantity: Quantity, step: int) -> str:
    value = f"{quantity.values[step]:.4g}{plus_minus(error_of(quantity, step))}"
    if quantity.interval is not None:
        value = value_text(quantity, step)
    return f"{value} (step {step}, {n_text(quantity, step)})"
