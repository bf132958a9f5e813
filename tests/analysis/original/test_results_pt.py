"""The original suite's results file: its keys, true values, loads without unpickling code."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.original.results_pt import write_results

KEYS = {
    "mi_analysis": {
        "confidence_trajectories", "avg_confidence", "mi_trajectory", "centroids", "answer_tokens_list", "method",
    },
    "spike_analysis": {"spikes", "total_gain", "largest_spike", "num_spikes", "avg_spike_gain", "spike_steps"},
    "enhanced_analysis": {
        "entropy_trajectory", "confidence_trajectory", "conditional_entropy_trajectory", "mi_trajectory_binning",
        "mi_trajectory_ksg", "info_gain", "spikes", "answer_info", "method",
    },
    "s_curve_analysis": {
        "has_s_curve", "transition_start", "transition_end", "transition_length", "max_confidence", "final_confidence",
    },
    "tsne_data": {"embedding", "step_labels", "total_steps"},
}  # fmt: skip


def written(run: Any, path: Path) -> tuple[Any, dict[str, Any]]:
    analysis = analyze_run(run, confidence_method="max_prob", spike_rule="basic")
    write_results(analysis, path / "comprehensive_analysis_results.pt")
    return analysis, torch.load(path / "comprehensive_analysis_results.pt", weights_only=True)


def test_keys_and_values(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run = make_run(12, 8, 8, answer=[[5, 6]] * 11 + [[]])
    analysis, loaded = written(run, tmp_path)
    for key, fields in KEYS.items():
        assert fields <= set(loaded[key]), key
    assert loaded["num_steps"] == 8
    np.testing.assert_array_equal(loaded["kl_scores"].numpy(), analysis["kl/all"].values[1:])
    np.testing.assert_allclose(
        loaded["cka_scores"].numpy(), [run["cka"][:, t + 1, t].mean() for t in range(7)], rtol=1e-6
    )
    np.testing.assert_array_equal(
        loaded["mi_analysis"]["avg_confidence"].numpy(), analysis["confidence/max_prob"].values
    )
    assert loaded["mi_analysis"]["answer_tokens_list"] == [[5, 6]] * 11 + [[]]
    trajectories = torch.stack(loaded["mi_analysis"]["confidence_trajectories"])
    np.testing.assert_allclose(
        np.nanmean(trajectories, axis=0), analysis["confidence/max_prob"].values
    )
    assert (
        loaded["enhanced_analysis"]["method"] == "max_prob"
        and loaded["spike_analysis"]["rule"] == "basic"
    )
    assert loaded["enhanced_analysis"]["answer_info"][0]["correct"] is False


def test_what_is_not_there_yet_says_so(make_run: Callable[..., Any], tmp_path: Path) -> None:
    _, loaded = written(make_run(3), tmp_path)
    later = {
        "mi_analysis": ("mi_trajectory", "centroids"),
        "enhanced_analysis": ("mi_trajectory_ksg", "mi_trajectory_binning"),
    }
    for group, name in [(group, name) for group, names in later.items() for name in names]:
        assert loaded[group][name] is None and "not computed" in loaded[group][f"{name}_status"]
    assert (
        loaded["tsne_data"]["embedding"] is None and "not computed" in loaded["tsne_data"]["status"]
    )
    assert loaded["s_curve_analysis"]["has_s_curve"] is None


def test_units_and_sizes_stand_beside(make_run: Callable[..., Any], tmp_path: Path) -> None:
    analysis, loaded = written(make_run(3), tmp_path)
    assert loaded["units"]["kl/all"] == "bits" and loaded["sample_sizes"]["kl/all"].tolist()[1] == 3
    assert set(loaded["quantities"]) == set(analysis.quantities)


def test_empty_run(make_run: Callable[..., Any], tmp_path: Path) -> None:
    _, loaded = written(make_run(0), tmp_path)
    assert (
        loaded["mi_analysis"]["confidence_trajectories"] == []
        and loaded["spike_analysis"]["num_spikes"] == 0
    )


def test_map_and_mutual_information_fill_the_original_keys_and_load_without_unpickling(
    tmp_path: Path,
) -> None:
    spec = importlib.util.spec_from_file_location(
        "made", Path(__file__).parents[1].joinpath("synthetic_analysis.py")
    )
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    whole = made.analysis()
    columns = {"confidence": np.zeros((1, 48)), "answer_token_id": np.array([[5]]), "id": np.array(["p"], object),
               "answer_start": np.array([1]), "answer_end": np.array([2]), "verdict": np.array([1])}  # fmt: skip
    info = whole.info | {"spike_totals": {"z": {}}, "accuracy_interval": [0.0, 1.0]}
    write_results(replace(whole, problems=columns, info=info), tmp_path / "r.pt")
    found = torch.load(tmp_path / "r.pt", weights_only=True)
    assert (
        found["tsne_data"]["embedding"].shape == (2400, 2)
        and len(found["tsne_data"]["step_labels"]) == 2400
    )
    assert (
        found["mi_analysis"]["centroids"].shape == (48, 2)
        and found["mi_analysis"]["centroids_status"] == "ok"
    )
    assert found["mi_analysis"]["mi_trajectory"].shape == (48,)
    assert found["enhanced_analysis"]["mi_trajectory_ksg_status"] == "ok: mi/ross_summary, bits"
    assert found["grading"]["lm_eval"]["n"] == 200
