"""What the summary says of interventions: a line for each intervention and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

INTERVENTION_VALUES = "mean over problems [95 % interval], against the control"


def intervention_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows of `analysis/branching/effect_table.py` as sentences."""
    return [_line(row) for row in rows]


def _line(row: Mapping[str, Any]) -> str:
    mean = row["mean"]
    parts = [
        f"{_with_interval(row, 'total')} tokens change "
        f"({mean['direct']:.3g} where it acted + {mean['collateral']:.3g} elsewhere)",
        f"another answer in {_with_interval(row, 'answer_changed', percent=True)}",
    ]
    if mean["correctness"] is not None:
        parts.append(f"accuracy {_with_interval(row, 'correctness', percent=True, signed=True)}")
    if mean["gold_logprob"] is not None:
        parts.append(f"log p(gold answer) {_with_interval(row, 'gold_logprob', signed=True)} nats")
    if row["apart"] is not None:
        parts.append(f"{row['apart']:.3g} tokens between two draws with nothing done")
    said = ", ".join(parts)
    return f"{row['intervention']} at step {row['step']}: {said}, n = {row['n']}"


def _with_interval(
    row: Mapping[str, Any], name: str, *, percent: bool = False, signed: bool = False
) -> str:
    mean, low, high = (row[part][name] for part in ("mean", "low", "high"))
    scale = 100 if percent else 1
    form = "+.3g" if signed else ".3g"
    unit = " %" if percent else ""
    if low is None or high is None:
        return f"{scale * mean:{form}}{unit}"
    return f"{scale * mean:{form}}{unit} [{scale * low:.3g}, {scale * high:.3g}]"
