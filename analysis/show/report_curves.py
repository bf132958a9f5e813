"""The run's curves as the report page draws them: plain values for JSON, means and shares with
their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..results import Analysis, Quantity
from .values import band_of, count, method_of, usable, why_not

CHARTS: tuple[tuple[str, str, str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Confidence in the gold answer",
        "probability at the answer slot",
        "unit",
        (
            ("confidence/answer_slot", "all", "all"),
            ("confidence_correct/answer_slot", "correct", "correct"),
            ("confidence_wrong/answer_slot", "wrong", "wrong"),
        ),
    ),
    (
        "Entropy",
        "bits per position",
        "",
        (
            ("entropy/all", "all positions", "all"),
            ("entropy/masked", "masked", "masked"),
            ("entropy/committed", "committed", "committed"),
        ),
    ),
    (
        "KL to the step before",
        "bits per position",
        "",
        (
            ("kl/all", "all positions", "all"),
            ("kl/masked", "masked", "masked"),
            ("kl/committed", "committed", "committed"),
        ),
    ),
    (
        "CKA of the logits",
        "debiased, 1 = same geometry",
        "",
        (
            ("cka/consecutive", "with the step before", "all"),
            ("cka/to_final", "with the last step", "correct"),
        ),
    ),
    (
        "Answer emergence",
        "share of problems whose guess is gold",
        "unit",
        (
            ("emergence/first_hit", "first hit", "all"),
            ("emergence/stable_hit", "for good", "correct"),
        ),
    ),
    (
        "Information gain",
        "gain of mean confidence per step",
        "",
        (("gain/answer_slot", "gain", "all"),),
    ),
)
"""Title, unit, y range ("unit": 0 to 1) and lines (quantity, name, colour role) of each chart on
the page."""


def charts(analysis: Analysis) -> Iterator[dict[str, Any]]:
    """The run's curves as JSON values, means over problems with the ends of the 95 % interval."""
    for title, unit, span, rows in CHARTS:
        lines = [
            _line(analysis[name], label, role)
            for name, label, role in rows
            if usable(analysis, name)
        ]
        why = "" if lines else why_not(analysis, rows[0][0])
        gain = title == "Information gain" and method_of(analysis) == "answer_slot"
        rule = analysis.info.get("settings", {}).get("spike_rule", "z")
        spikes = [spike.step for spike in analysis.spikes.get(rule, [])] if gain else []
        yield {
            "title": title,
            "unit": unit,
            "span": span,
            "lines": lines,
            "why_not": why,
            "spikes": spikes,
        }


def _line(quantity: Quantity, label: str, role: str) -> dict[str, Any]:
    ends = band_of(quantity)
    values, low, high = ([rounded(value) for value in part] for part in (quantity.values, *ends))
    return {
        "label": label,
        "role": role,
        "n": count(quantity),
        "values": values,
        "low": low,
        "high": high,
    }


def rounded(value: float) -> float | None:
    """Three significant digits, None where not finite."""
    return float(f"{value:.3g}") if math.isfinite(value) else None
