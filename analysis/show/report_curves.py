"""The run's curves as the report page draws them: plain values for JSON, means and shares with
their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..results import Analysis, Quantity
from .values import band_of, count, covered, method_of, positions_read, spike_rule, usable, why_not


class Curve(NamedTuple):
    """A quantity over steps, its name in the legend, and the role that gives it its colour."""

    quantity: str
    label: str
    role: str


class Chart(NamedTuple):
    """One chart of the page. `span` "unit": the y axis runs from 0 to 1. `spikes_of`: the
    confidence method whose spikes are marked."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    span: str = ""
    spikes_of: str = ""


CHARTS = (
    Chart(
        "Confidence in the gold answer",
        "probability at the answer slot",
        (
            Curve("confidence/answer_slot", "all", "all"),
            Curve("confidence_correct/answer_slot", "correct", "correct"),
            Curve("confidence_wrong/answer_slot", "wrong", "wrong"),
        ),
        span="unit",
    ),
    Chart(
        "Entropy",
        "bits per position",
        (
            Curve("entropy/all", "all positions", "all"),
            Curve("entropy/masked", "masked", "masked"),
            Curve("entropy/committed", "committed", "committed"),
        ),
    ),
    Chart(
        "KL to the step before",
        "bits per position",
        (
            Curve("kl/all", "all positions", "all"),
            Curve("kl/masked", "masked", "masked"),
            Curve("kl/committed", "committed", "committed"),
        ),
    ),
    Chart(
        "CKA of the logits",
        "debiased, 1 = same geometry",
        (
            Curve("cka/consecutive", "with the step before", "all"),
            Curve("cka/to_final", "with the last step", "correct"),
        ),
    ),
    Chart(
        "Answer emergence",
        "share of problems whose guess is gold",
        (
            Curve("emergence/first_hit", "first hit", "all"),
            Curve("emergence/stable_hit", "for good", "correct"),
        ),
        span="unit",
    ),
    Chart(
        "Information gain",
        "gain of mean confidence per step",
        (Curve("gain/answer_slot", "gain", "all"),),
        spikes_of="answer_slot",
    ),
)


def charts(analysis: Analysis, steps: int) -> Iterator[dict[str, Any]]:
    """The run's curves over the first `steps` steps as JSON values, means over problems with the
    ends of the 95 % interval."""
    for chart in CHARTS:
        yield drawn_chart(analysis, chart, steps)


def drawn_chart(analysis: Analysis, chart: Chart, steps: int) -> dict[str, Any]:
    """One chart over the first `steps` steps."""
    curves = [curve for curve in chart.curves if usable(analysis, curve.quantity)]
    all_of_pass = positions_read(analysis)
    named = [
        each._replace(label=each.label.replace("all positions", all_of_pass)) for each in curves
    ]
    return {
        "title": chart.title,
        "unit": chart.unit,
        "span": chart.span,
        "lines": [_line(analysis[curve.quantity], curve, steps) for curve in named],
        "why_not": "" if curves else why_not(analysis, chart.curves[0].quantity),
        "spikes": _spikes(analysis, chart.spikes_of),
    }


def _spikes(analysis: Analysis, method: str) -> list[int]:
    """Steps of the spikes, where the analysis looked for them in that method."""
    if method != method_of(analysis):
        return []
    return [spike.step for spike in analysis.spikes.get(spike_rule(analysis), [])]


def _line(quantity: Quantity, curve: Curve, steps: int) -> dict[str, Any]:
    """Where fewer than half of a curve's problems are left it has no values."""
    is_shown = np.zeros(len(quantity.values), bool)
    is_shown[covered(quantity)] = True

    def shown(values: np.ndarray) -> list[float | None]:
        return _all_rounded(np.where(is_shown, values, np.nan)[:steps])

    low, high = band_of(quantity)
    return {
        "label": curve.label,
        "role": curve.role,
        "n": count(quantity),
        "values": shown(quantity.values),
        "low": shown(low),
        "high": shown(high),
    }


def _all_rounded(values: np.ndarray) -> list[float | None]:
    return [rounded(value) for value in values]


def rounded(value: float) -> float | None:
    """Three significant digits, None where not finite."""
    return float(f"{value:.3g}") if math.isfinite(value) else None
