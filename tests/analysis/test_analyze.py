"""The whole analysis: known means end to end, edge cases, and the real store."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.findings.about_run import block_of_step
from diffengine.analysis.original.results_pt import original_results
from diffengine.analysis.registry import confidence_methods
from diffengine.analysis.results import load_analysis, save_analysis
from diffengine.analysis.show.summary import summarise
from diffengine.engine.problems.normal_form import write_problems
from diffengine.engine.problems.read import Problem
from diffengine.engine.store import open_run, write_shard


def sigmoid_run(make_columns: Callable[..., Any], fake_run: type, problems: int = 120) -> Any:
    columns = make_columns(problems, 32, 32)
    columns["committed"][:], columns["n_masked"][:] = 0, 32
    columns["committed"][:, 31] = 1
    mean = 0.05 + 0.9 / (1 + np.exp(-(np.arange(32) - 15) / 2))
    scatter = np.linspace(-0.05, 0.05, problems)
    columns["answer_logprob"][:] = np.log(mean[None, :] + scatter[:, None])[:, :, None, None]
    return fake_run(columns), mean, scatter


def test_known_means_and_errors(make_columns: Callable[..., Any], fake_run: type) -> None:
    run, mean, scatter = sigmoid_run(make_columns, fake_run)
    found = analyze_run(run)
    expected = scatter.std(ddof=1) / 120**0.5
    for method, factor in (
        ("answer_slot", 1),
        ("answer_slot_per_token", 1),
        ("softmax_sum", 32),
        ("mean_prob", 1),
        ("max_prob", 1),
    ):
        quantity = found[f"confidence/{method}"]
        np.testing.assert_allclose(quantity.values, factor * mean, rtol=1e-5)
        np.testing.assert_allclose(quantity.stderr, factor * expected, rtol=1e-4)
        assert (quantity.n == 120).all()
    np.testing.assert_allclose(found["gain/answer_slot"].values[1:], np.diff(mean), atol=1e-6)
    np.testing.assert_allclose(
        found["entropy/all"].values, run["entropy"].mean(axis=(0, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(
        found["kl/all"].values[1:], run["kl"].mean(axis=(0, 2))[1:], rtol=1e-5
    )
    assert found.s_curve.verdict == "s-curve" and found.s_curve.midpoint == pytest.approx(
        15, abs=0.3
    )


def test_split_by_verdict(make_run: Callable[..., Any]) -> None:
    run = make_run(20, 8, 8)
    run["verdict"][:] = [0, 1, 1, 2] * 5
    found = analyze_run(run)
    rows = run["entropy"].mean(axis=2)
    np.testing.assert_allclose(
        found["entropy_correct/all"].values, rows[run["verdict"] == 1].mean(axis=0), rtol=1e-6
    )
    np.testing.assert_allclose(
        found["entropy_wrong/all"].values, rows[run["verdict"] == 0].mean(axis=0), rtol=1e-6
    )
    assert (found["confidence_wrong/answer_slot"].n == 5).all()
    assert (found.info["n_correct"], found.info["n_wrong"], found.info["n_unextracted"]) == (
        10,
        5,
        5,
    )
    assert float(found["accuracy"].values) == 0.5


def one_sided(code: int) -> Callable[[Any], None]:
    def change(run: Any) -> None:
        run["verdict"][:] = code

    return change


def no_gold(run: Any) -> None:
    run["verdict"][:], run["answer_token_id"][:], run["answer_logprob"][:] = 3, -1, np.nan


def nothing_extracted(run: Any) -> None:
    run["verdict"][:], run["answer_start"][:], run["answer_end"][:] = 2, -1, -1


def no_step_performed(run: Any) -> None:
    run["performed"][:] = 0
    for name in ("entropy", "kl", "answer_logprob", "cka", "cka_masked", "cka_committed"):
        run[name][:] = np.nan


CASES = {
    "no problem": (0, 8, None, "insufficient: no problem has both"),
    "one problem": (1, 8, None, "ok"),
    "one step": (12, 1, None, "ok"),
    "all correct": (12, 8, one_sided(1), "ok"),
    "none correct": (12, 8, one_sided(0), "ok"),
    "no gold": (12, 8, no_gold, "insufficient: no problem has both"),
    "nothing extracted": (12, 8, nothing_extracted, "insufficient: no problem has both"),
    "nothing performed": (12, 8, no_step_performed, "insufficient: no problem has both"),
}


@pytest.mark.parametrize("case", CASES)
def test_edge_cases(case: str, make_run: Callable[..., Any], tmp_path: Path) -> None:
    problems, steps, change, status = CASES[case]
    run = make_run(problems, steps, 8)
    if change is not None:
        change(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = analyze_run(run)
        save_analysis(found, tmp_path / "a.h5")
        text = summarise(load_analysis(tmp_path / "a.h5"))
        original_results(found)
    assert found["confidence/answer_slot"].status.startswith(status)
    assert found.s_curve.verdict == "insufficient" and "insufficient" in text
    assert all(pattern.verdict.startswith("no verdict") for pattern in found.patterns)
    assert all(q.ok or q.status.startswith("insufficient: ") for q in found.quantities.values())
    assert all(q.values.shape == (steps,) * len(q.dims) for q in found.quantities.values())


def test_masked_recording_says_what_it_lacks(make_run: Callable[..., Any]) -> None:
    run = make_run(12, 8, 8, record="masked")
    committed = np.cumsum(run["committed"], axis=1) - run["committed"] > 0
    for name in ("entropy", "kl", "answer_logprob"):
        run[name][committed] = np.nan
    found = analyze_run(run)
    for name in (
        "entropy/all",
        "entropy_correct/all",
        "entropy/committed",
        "kl/all",
        "cka/matrix",
        "confidence/softmax_sum",
        "gain/max_prob",
    ):
        assert found[name].status.startswith("insufficient: "), name
    for name in (
        "confidence/answer_slot",
        "entropy/masked",
        "conditional_entropy/answer_slot",
        "gain/answer_slot",
    ):
        assert found[name].ok and np.isfinite(found[name].values[-1]), name
    assert any("masked" in warning for warning in found.info["warnings"])
    assert np.isfinite(found["entropy/all"].values[0])  # every position is masked there
    assert np.isnan(found.problems["entropy"]).all()
    assert np.isnan(found["gain/max_prob"].values).all()


def test_steps_not_performed_stay_empty(make_run: Callable[..., Any]) -> None:
    run = make_run(12, 8, 4)
    for name in ("entropy", "kl", "answer_logprob"):
        run[name][:, 1::2] = np.nan
    run["performed"][:, 1::2] = 0
    found = analyze_run(run)
    for name in ("confidence/answer_slot", "entropy/all", "gain/answer_slot", "cka/to_final"):
        assert (
            np.isnan(found[name].values[1::2]).all()
            and (np.asarray(found[name].n)[1::2] == 0).all()
        )
        assert np.isfinite(found[name].values[2::2]).all()


@pytest.mark.parametrize("method", confidence_methods())
def test_the_chosen_method_is_the_one_that_is_judged(
    method: str, make_run: Callable[..., Any]
) -> None:
    found = analyze_run(make_run(12, 8, 8), confidence_method=method)
    mean = found[f"confidence/{method}"].values
    assert found.s_curve.final_confidence == pytest.approx(mean[-1])
    np.testing.assert_allclose(found.problems["confidence"].mean(axis=0), mean)
    assert found.info["spike_totals"]["basic"]["total_gain"] == pytest.approx(mean[-1] - mean[0])


def test_warnings_are_counts(make_run: Callable[..., Any]) -> None:
    run = make_run(4, 8, 8, answer=[[1], [1, 2], [1], [1, 2, 3]])
    run["answer_start"][:], run["answer_end"][:] = [7, 7, 6, 4], [8, 8, 8, 7]
    run.problems = [*run.problems, Problem("x", "", "1"), Problem("y", "", "1")]
    found = analyze_run(run).info["warnings"]
    assert found[0].startswith("unfinished: 2 of 6 problems missing (x, y)")
    assert (
        "no interval here holds for the whole of 6 problems" in found[1]
        and "shortest prompt first" in found[1]
    )
    assert [warning.split()[0] for warning in found[2:]] == ["1", "1", "2"]
    assert "does not fit" in found[2] and "differ in length" in found[3]
    assert "correct, but not in gold's own tokens" in found[4]


def test_wrong_settings(make_run: Callable[..., Any]) -> None:
    with pytest.raises(
        ValueError, match="no confidence method is called 'max_probe'.* Did you mean 'max_prob'"
    ):
        analyze_run(make_run(), confidence_method="max_probe")
    with pytest.raises(ValueError, match="no spike rule is called '3std'"):
        analyze_run(make_run(), spike_rule="3std")
    with pytest.raises(ValueError, match=r"threshold_low 0.9 is above threshold_high 0.8"):
        analyze_run(make_run(), threshold_low=0.9)


def test_block_of_step_falls_back_to_the_configuration(make_run: Callable[..., Any]) -> None:
    run = make_run(0, 8, 16)
    assert block_of_step(run).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_same_result_from_a_run_directory(
    make_columns: Callable[..., Any], fake_run: type, tmp_path: Path
) -> None:
    """The fake and the real store give the same analysis, problems in two shards and out of
    order."""
    columns = make_columns(12, 6, 8, answer=[[1] * (1 + row % 3) for row in range(12)])
    columns["index"] = np.arange(12, dtype=np.int32)
    expected = analyze_run(fake_run(columns))
    write_run(tmp_path, columns, parts=[np.arange(5, 12), np.arange(0, 5)])
    found = analyze_run(open_run(tmp_path))
    assert found.problems["id"].tolist() == expected.problems["id"].tolist()
    for name, quantity in expected.quantities.items():
        np.testing.assert_allclose(found[name].values, quantity.values, rtol=1e-12, err_msg=name)
        np.testing.assert_array_equal(found[name].n, quantity.n, err_msg=name)


def write_run(path: Path, columns: dict[str, np.ndarray], *, parts: list[np.ndarray]) -> None:
    problems, steps, positions = columns["token"].shape
    config = {"steps": steps, "gen_length": positions, "block_length": 4, "record": "all"}
    info = {
        "schema_version": "1.0",
        "run_id": "r",
        "fingerprint": "f",
        "config": config,
        "model": {"path": "m"},
        "data": {"source": "d"},
    }
    (path / "run.json").write_text(json.dumps(info))
    write_problems(
        path / "problems.jsonl", [Problem(f"p{row}", "q", "1") for row in range(problems)]
    )
    plane = np.zeros((problems, steps, positions), np.float32)
    full = columns | {
        "extracted_answer": np.array(["1"] * problems, object), "generated_text": np.array(["t"] * problems, object),
        "grade_rule": np.array(["r"] * problems, object), "prompt_length": np.ones(problems, np.int32),
        "problem_id": np.array([f"p{row}" for row in range(problems)], object),
    }  # fmt: skip
    full |= {name: plane for name in ("logsumexp", "logit_mean", "logit_std")}
    for rows in parts:
        shard = {name: column if name == "block" else column[rows] for name, column in full.items()}
        write_shard(path, shard, attrs={"run_id": "r", "fingerprint": "f"})
