"""`comprehensive_analysis_results.pt`: the original suite's keys with true values, as plain
tensors, numbers and strings.

Loads with `torch.load(weights_only=True)`. What could not be computed is None with a `..._status`
beside it; new things stand under new keys (`units`, `sample_sizes`, `quantities`).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.store.format.verdicts import CORRECT
from ...engine.store.write.results import publish
from ..results import Analysis, Quantity
from ..show.values import steps_shown

NOT_ASKED = "not computed: not asked for"
MI_SHOWN = {
    "mi_trajectory": "ross",
    "mi_trajectory_binning": "binning",
    "mi_trajectory_ksg": "ross_summary",
}
"""The original suite's trajectory -> the estimator that answers it, the quantity `mi/<name>`; with
a label, k-NN is Ross."""


MAP_ARRAYS = {
    "embedding": "tsne_points",
    "step_labels": "tsne_step",
    "problem_labels": "tsne_problem",
    "centroids": "tsne_centroid",
}
"""The original suite's key -> the array of the analysis."""


def write_results(analysis: Analysis, path: str | Path) -> None:
    """Write `original_results(analysis)` with torch.save to `path`, complete or not at all. Raises
    OSError."""
    import torch

    image = io.BytesIO()
    torch.save(original_results(analysis), image)
    publish(path, image.getvalue())


def original_results(analysis: Analysis) -> dict[str, Any]:
    """The original suite's dictionary, and our own keys after it. `cka_scores[t]` and
    `kl_scores[t]` compare steps t and t + 1; KL(p_t+1 || p_t) in bits. Trajectories end with the
    last problem, as `num_steps` does: a bound that nothing reached has no values."""
    method = analysis.info["settings"]["confidence_method"]
    return {
        "cka_scores": _trajectory(analysis, "cka/consecutive")[1:],
        "kl_scores": _trajectory(analysis, "kl/all")[1:],
        "mi_analysis": _mi_analysis(analysis, method),
        "spike_analysis": _spike_analysis(analysis),
        "enhanced_analysis": _enhanced_analysis(analysis, method),
        "s_curve_analysis": _s_curve_analysis(analysis),
        "tsne_data": _tsne(analysis),
        "num_steps": steps_shown(analysis),
        **_our_own(analysis),
    }


def _our_own(analysis: Analysis) -> dict[str, Any]:
    """What the original suite had no keys for: every quantity with unit and n, signs, warnings."""
    quantities = analysis.quantities
    info = analysis.info
    return {
        "units": {name: quantity.units for name, quantity in quantities.items()},
        "sample_sizes": {name: _plain(quantity.n) for name, quantity in quantities.items()},
        "quantities": {name: _quantity(quantity) for name, quantity in quantities.items()},
        "patterns": [pattern._asdict() for pattern in analysis.patterns],
        "accuracy_interval": list(info["accuracy_interval"]),
        "warnings": list(info["warnings"]),
        "grading": {"lm_eval": info.get("lm_eval"), "rules": info.get("grade_rules", {})},
    }


def _mi_analysis(analysis: Analysis, method: str) -> dict[str, Any]:
    return {
        "confidence_trajectories": _confidences(analysis),
        "avg_confidence": _trajectory(analysis, f"confidence/{method}"),
        **_information(analysis, "mi_trajectory"),
        "centroids": _tsne(analysis)["centroids"],
        "centroids_status": _tsne(analysis)["status"],
        "answer_tokens_list": _answer_tokens(analysis),
        "method": method,
    }


def _information(analysis: Analysis, key: str) -> dict[str, Any]:
    """`key` [step] in bits, or None, and its status, which names the quantity that it is."""
    name = f"mi/{MI_SHOWN[key]}"
    if name not in analysis:
        return {key: None, f"{key}_status": NOT_ASKED}
    quantity = analysis[name]
    if not quantity.ok:
        return {key: None, f"{key}_status": quantity.status}
    return {key: _trajectory(analysis, name), f"{key}_status": f"ok: {name}, {quantity.units}"}


def _tsne(analysis: Analysis) -> dict[str, Any]:
    """The joint map: `embedding` [row, 2], `step_labels` [row], and `centroids` [step, 2]."""
    info = analysis.info
    facts = info.get("tsne", {"status": NOT_ASKED})
    arrays: dict[str, Any] = dict.fromkeys(MAP_ARRAYS)
    if facts["status"] == "ok":
        arrays = {key: _tensor(np.asarray(info.get(name))) for key, name in MAP_ARRAYS.items()}
        arrays["centroids"] = arrays["centroids"][: steps_shown(analysis)]
    return {**arrays, "total_steps": steps_shown(analysis), **facts}


def _spike_analysis(analysis: Analysis) -> dict[str, Any]:
    rule = analysis.info["settings"]["spike_rule"]
    return {
        "spikes": [spike._asdict() for spike in analysis.spikes[rule]],
        **analysis.info["spike_totals"][rule],
        "rule": rule,
        "status": analysis.info["spike_status"][rule],
    }


def _enhanced_analysis(analysis: Analysis, method: str) -> dict[str, Any]:
    rule = analysis.info["settings"]["spike_rule"]
    return {
        "entropy_trajectory": _trajectory(analysis, "entropy/all"),
        "confidence_trajectory": _trajectory(analysis, f"confidence/{method}"),
        "conditional_entropy_trajectory": _trajectory(analysis, "conditional_entropy/answer_slot"),
        **_information(analysis, "mi_trajectory_binning"),
        **_information(analysis, "mi_trajectory_ksg"),
        "info_gain": _trajectory(analysis, f"gain/{method}")[1:],
        "spikes": [spike._asdict() for spike in analysis.spikes[rule]],
        "answer_info": _answer_info(analysis),
        "method": method,
    }


def _s_curve_analysis(analysis: Analysis) -> dict[str, Any]:
    """The original suite's fields; `has_s_curve` from the model comparison, None where that is
    insufficient."""
    curve = analysis.s_curve
    has_s_curve = None if curve.verdict == "insufficient" else curve.verdict == "s-curve"
    return {"has_s_curve": has_s_curve, **curve._asdict()}


def _trajectory(analysis: Analysis, name: str) -> Any:
    """[step] of a quantity, up to the end of the last problem."""
    return _tensor(analysis[name].values[: steps_shown(analysis)])


def _confidences(analysis: Analysis) -> list[Any]:
    """The same of each problem's confidence."""
    return [_tensor(row[: steps_shown(analysis)]) for row in analysis.problems["confidence"]]


def _answer_tokens(analysis: Analysis) -> list[list[int]]:
    return [row[row >= 0].tolist() for row in analysis.problems["answer_token_id"]]


def _answer_info(analysis: Analysis) -> list[dict[str, Any]]:
    problems = analysis.problems
    rows = []
    for row, tokens in enumerate(_answer_tokens(analysis)):
        verdict = int(problems["verdict"][row])
        rows.append(
            {
                "problem_id": str(problems["id"][row]),
                "answer_tokens": tokens,
                "answer_start": int(problems["answer_start"][row]),
                "answer_end": int(problems["answer_end"][row]),
                "correct": verdict == CORRECT,
                "verdict": verdict,
            }
        )
    return rows


def _quantity(quantity: Quantity) -> dict[str, Any]:
    return {
        "values": _tensor(quantity.values),
        "stderr": None if quantity.stderr is None else _tensor(quantity.stderr),
        "interval": None if quantity.interval is None else _tensor(quantity.interval),
        "n": _plain(quantity.n),
        "dims": list(quantity.dims),
        "units": quantity.units,
        "status": quantity.status,
        "label": quantity.label,
    }


def _plain(n: int | np.ndarray) -> Any:
    return _tensor(n) if isinstance(n, np.ndarray) else n


def _tensor(values: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.array(values))
