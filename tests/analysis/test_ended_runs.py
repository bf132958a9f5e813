"""An analysis of a run whose problems end at different steps: every number that is of fewer and fewer
problems says so, is paired, or is withheld; texts and pictures say it in words."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.findings.own_ends import ends_of
from diffengine.analysis.limits import (
    ENDS_DIFFER,
    NO_BLOCKS,
    OF_RUNNING,
    STEPS_LEFT_OUT,
    UNDEFINED,
    well_covered,
)
from diffengine.analysis.metrics.block import leave_out_own_steps
from diffengine.analysis.original.results_pt import original_results
from diffengine.analysis.results import Analysis, Quantity
from diffengine.analysis.show.dashboard import lay_out_dashboard
from diffengine.analysis.show.plots import statistics, style, tsne
from diffengine.analysis.show.summary import summarise
from diffengine.analysis.show.summary_insights import key_insights
from diffengine.analysis.show.values import (
    block_starts,
    course_of,
    covered,
    ends_in_words,
    n_of,
    steps_shown,
)

_spec = importlib.util.spec_from_file_location(
    "ended_runs", Path(__file__).with_name("ended_runs.py")
)
assert _spec is not None and _spec.loader is not None
ended = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ended)

NAN = np.nan
STEPS, PROBLEMS = 12, 130
ENDS = [1 + row % 10 for row in range(PROBLEMS)]


def make(make_run: Callable[..., Any], ends: list[int]) -> Any:
    run = make_run(len(ends), STEPS, 12, answer=[[5]] * len(ends))
    del run.info["config"]["block_length"]
    run._columns = ended.end_at(run._columns, ends)
    run._columns["verdict"] = (np.arange(len(ends)) % 3 > 0).astype(np.uint8)
    run._columns["block"] = np.full(STEPS, -1, np.int32)
    return run


@pytest.fixture
def run(make_run: Callable[..., Any]) -> Any:
    return make(make_run, ENDS)


@pytest.fixture
def analysis(run: Any) -> Analysis:
    return analyze_run(run)


def test_how_the_problems_ended(analysis: Analysis) -> None:
    ends = np.array(ENDS)
    expected = [(ends >= step).mean() for step in range(STEPS)]
    np.testing.assert_allclose(analysis["ends/running"].values, expected)
    assert float(analysis["ends/steps"].values) == pytest.approx((ends + 1).mean())
    assert float(analysis["ends/tokens_per_step"].values) == pytest.approx((12 / (ends + 1)).mean())
    assert float(analysis["ends/masks_left"].values) == 0
    assert analysis.problems["end_step"].tolist() == ENDS


def test_a_mean_over_passes_is_of_those_running_and_says_so(run: Any, analysis: Analysis) -> None:
    entropy = analysis["entropy/all"]
    recorded = run["entropy"].mean(axis=2)
    for step in range(max(ENDS) + 1):
        running = [row for row, end in enumerate(ENDS) if end >= step]
        assert entropy.n[step] == len(running)
        assert entropy.values[step] == pytest.approx(recorded[running, step].mean())
    assert entropy.label.endswith(OF_RUNNING)
    assert not analysis["emergence/hit"].label.endswith(OF_RUNNING)
    assert (np.asarray(analysis["emergence/hit"].n)[: max(ENDS) + 1] == PROBLEMS).all()


def test_own_ends_by_hand() -> None:
    values = np.array([[5.0, NAN, 3.0, NAN], [1.0, 2.0, 4.0, 8.0], [9.0, NAN, NAN, NAN]])
    own = ends_of(values)
    assert (own["first"], own["last"], own["change"], own["n"]) == (3.0, 5.5, 2.5, 2)
    assert own["change_stderr"] == pytest.approx(np.std([-2, 7], ddof=1) / 2**0.5)
    assert ends_of(values[2:])["n"] == 0


def test_what_moves_is_read_from_own_ends(run: Any, analysis: Analysis) -> None:
    recorded = run["entropy"].mean(axis=2)
    rows = np.arange(PROBLEMS)
    course = course_of(analysis, "entropy/all")
    assert course is not None and course.n == PROBLEMS
    assert course.first == pytest.approx(recorded[:, 0].mean())
    assert course.last == pytest.approx(recorded[rows, ENDS].mean())
    assert "own_ends" in analysis.info and "emergence/hit" not in analysis.info["own_ends"]


def test_gains_add_up_to_last_less_first_over_all_problems(analysis: Analysis) -> None:
    mean = analysis["confidence/answer_slot"].values[: max(ENDS) + 1]
    gain = analysis["gain/answer_slot"].values
    total = analysis.info["spike_totals"]["z"]["total_gain"]
    assert np.nansum(gain) == pytest.approx(mean[-1] - mean[0]) == pytest.approx(total)


def test_a_confidence_of_passes_has_no_curve_and_no_total(run: Any) -> None:
    found = analyze_run(run, confidence_method="max_prob")
    assert found.s_curve.verdict == "insufficient"
    assert found.s_curve.reason == UNDEFINED + ENDS_DIFFER
    assert found.s_curve.transition_start is None and np.isnan(found["s_curve/fit"].values).all()
    assert found.info["spike_totals"]["z"]["total_gain"] is None
    assert "total gain undefined" in summarise(found) or "insufficient" in summarise(found)


def test_auroc_has_no_value_at_a_step_with_too_few(analysis: Analysis) -> None:
    of_canvas = analysis["auroc/canvas_entropy"]
    n = np.asarray(of_canvas.n)
    assert n[0] == PROBLEMS and 0 < n[max(ENDS)] < 100
    assert np.isfinite(of_canvas.values[0]) and np.isnan(of_canvas.values[n < 100]).all()
    of_answer = analysis["auroc/answer_confidence"]
    assert np.isfinite(of_answer.values[: max(ENDS) + 1]).all()


def test_shares_of_the_steps_are_of_a_problem_s_own(run: Any) -> None:
    """The answer is guessed from the third step on: half of the way for those of six steps."""
    run._columns["prediction"][:, :, 11] = np.where(np.arange(STEPS) < 2, 6, 5)
    run._columns["token"][:, :, 11] = 5
    found = analyze_run(run)
    first = found.problems["first_hit_step"]
    early = (first >= 0) & (first + 1 <= 0.5 * (np.array(ENDS) + 1))
    assert 0 < early.mean() < (first + 1 <= 0.5 * STEPS).mean()
    assert float(found["emergence/first_hit_by_50"].values) == pytest.approx(early.mean())


def test_blocks_that_there_are_not_are_undefined(analysis: Analysis) -> None:
    assert analysis["emergence/commit_order_in_block"].status == UNDEFINED + NO_BLOCKS
    assert analysis["emergence/commit_order"].ok
    assert analysis.info["block_length"] == 0 and set(analysis.info["block"].tolist()) == {-1}
    assert all(s.at_block_boundary is None for marks in analysis.spikes.values() for s in marks)
    assert "no blocks" in summarise(analysis) and "block boundary" not in summarise(analysis)


def test_no_sign_is_read_from_means_over_other_problems(run: Any) -> None:
    """Though the confidence jumps in every problem at the second step."""
    run._columns["answer_logprob"][:, 0] = -5.0
    run._columns["answer_logprob"][:, 1:2] = -0.01
    found = analyze_run(run)
    assert any(spike.gain > 0.1 for spike in found.spikes["z"])
    (sign,) = [each for each in found.patterns if each.name.startswith("KL spikes")]
    assert sign.verdict == f"no verdict: {ENDS_DIFFER}"


def test_words(analysis: Analysis) -> None:
    first, second = ends_in_words(analysis)
    assert first.startswith("Problems end after 2 to 11 steps (median 6)")
    assert first in summarise(analysis) and second in summarise(analysis)
    assert "at most 12 steps" in summarise(analysis)
    assert "from each problem's first to its own last" in summarise(analysis)
    assert n_of(analysis, "entropy/all") == "n = 130 to 13"
    assert n_of(analysis, "emergence/hit") == "n = 130"
    assert steps_shown(analysis) == 11


def test_masks_left_are_told(make_run: Callable[..., Any]) -> None:
    run = make(make_run, ENDS)
    ended.leave_masked(run._columns, 4, [0, 1, 2])
    found = analyze_run(run)
    assert float(found["ends/masks_left"].values) == pytest.approx(1 / PROBLEMS)
    assert "1 problem ended with masks left (median 3 of 12 positions)" in summarise(found)


def test_dashboard_says_it_and_claims_no_end_of_few(analysis: Analysis) -> None:
    from matplotlib import rc_context
    from matplotlib.text import Text

    with rc_context(style.RC):
        figure = lay_out_dashboard(analysis)
        texts = [text.get_text() for text in figure.findobj(Text)]
    assert any(text.startswith("Problems end after 2 to 11 steps") for text in texts)
    assert not any(text.startswith("Logits settle") for text in texts)
    assert any("no blocks" in text for text in texts)


def test_where_all_end_at_one_step_nothing_is_said(make_run: Callable[..., Any]) -> None:
    """Also where the bound is never reached: then the run has as many steps as were performed."""
    found = analyze_run(make(make_run, [7] * 40))
    assert ends_in_words(found) == [] and "own_ends" not in found.info
    assert not found["entropy/all"].label.endswith(OF_RUNNING)
    assert steps_shown(found) == 8
    assert found["emergence/settled"].n.tolist() == [40] * 8 + [0] * 4


def test_well_covered() -> None:
    assert well_covered(np.array([0, 10, 7, 5, 4, 0])).tolist() == [0, 1, 1, 1, 0, 0]
    assert well_covered(np.zeros(3)).tolist() == [0, 0, 0]
    quantity = Quantity.over_problems(
        np.array([[1.0, 2.0, NAN], [1.0, 2.0, NAN], [1.0, 3.0, 9.0]]),
        units="",
        label="",
        missing="",
    )
    assert covered(quantity).tolist() == [0, 1]


def test_a_shifted_model_and_drawn_tokens_are_told(make_run: Callable[..., Any]) -> None:
    plain = make_run(4)
    assert "shifted model" not in summarise(analyze_run(plain))
    plain.info["model"]["read_offset"] = -1
    plain.info["config"]["temperature"] = 0.3
    found = analyze_run(plain)
    assert "shifted model: what is said of a position" in summarise(found)
    assert any(text.startswith("temperature 0.3: committed") for text in found.info["warnings"])


def test_a_bound_that_nobody_reaches_has_no_ticks_and_is_called_a_bound(analysis: Analysis) -> None:
    from matplotlib import rc_context
    from matplotlib.text import Text

    with_blocks = replace(analysis, info={**analysis.info, "block": np.arange(STEPS) // 3})
    assert block_starts(with_blocks).tolist() == [3, 6, 9]
    short = {**analysis.problems, "end_step": np.minimum(analysis.problems["end_step"], 7)}
    assert block_starts(replace(with_blocks, problems=short)).tolist() == [3, 6]

    with rc_context(style.RC):
        texts = [text.get_text() for text in lay_out_dashboard(analysis).findobj(Text)]
    assert any("at most 12 steps, 12 positions, no blocks" in text for text in texts)


def test_correct_and_wrong_differ_from_a_step_of_those_reached(analysis: Analysis) -> None:
    quantities = dict(analysis.quantities)
    for verdict, level in (("correct", 0.9), ("wrong", 0.1)):
        name = f"confidence_{verdict}/answer_slot"
        quantities[name] = quantities[name]._replace(
            values=np.full(STEPS, level), stderr=np.full(STEPS, 0.01)
        )
    sentences = key_insights(replace(analysis, quantities=quantities))
    assert any(sentence.startswith("From step 0 of 11 on, correct") for sentence in sentences)


def test_problems_of_one_step_are_missing_from_a_change_and_it_says_how_many_are_there(
    make_run: Callable[..., Any],
) -> None:
    found = analyze_run(make(make_run, [0] * 10 + [5] * 30))
    told = dict(statistics.rows(found))
    assert told["Entropy, all positions"].endswith(", n = 30")
    assert "n =" not in told["Confidence"]


def test_steps_that_problems_leave_out_by_themselves_are_told(make_run: Callable[..., Any]) -> None:
    run = make(make_run, [11] * 40)
    performed = run._columns["performed"]
    for row in range(40):
        performed[row, [(row + more) % 11 for more in range(1 + row % 3)]] = 0
    run._columns["entropy"][performed == 0] = NAN
    for name in ("state_masked", "state_answer"):
        run._columns[name][performed == 0] = NAN
    found = analyze_run(run)
    (_, words) = ends_in_words(found)
    assert words.startswith("Each problem leaves out steps of its own (median 2)")
    assert n_of(found, "entropy/all").startswith("n = ")
    similarity = found["cka_states/masked_consecutive"]
    assert similarity.status == UNDEFINED + STEPS_LEFT_OUT


def test_the_path_on_the_map_ends_where_half_of_the_problems_do() -> None:
    step = np.repeat([0, 1, 2], [10, 5, 4])
    centroid = np.arange(6.0).reshape(3, 2)
    curve: Any = None
    found = Analysis({}, {}, curve, [], info={"tsne_centroid": centroid, "tsne_step": step})
    np.testing.assert_array_equal(
        tsne.well_covered_centroids(found), [[0.0, 1.0], [2.0, 3.0], [NAN, NAN]]
    )


def test_steps_that_all_leave_out_are_nobody_s_own() -> None:
    shared = np.array([[1, 0, 1, 0], [1, 0, 1, 0]], bool)
    free = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], bool)
    own = np.array([[1, 0, 1, 0], [1, 1, 1, 0]], bool)
    assert [leave_out_own_steps(each) for each in (shared, free, own)] == [False, False, True]


def test_the_original_suite_s_trajectories_end_with_the_last_problem(analysis: Analysis) -> None:
    """A script of it reads no NaN from a bound that nothing reached."""
    reached = max(ENDS) + 1
    centroid = np.full((STEPS, 2), NAN)
    centroid[:reached] = 1.0
    rows = {"tsne_points": np.ones((3, 2)), "tsne_step": np.arange(3), "tsne_problem": np.arange(3)}
    map_ = {"tsne": {"status": "ok"}, "tsne_centroid": centroid, **rows}
    original = original_results(replace(analysis, info={**analysis.info, **map_}))
    assert original["num_steps"] == original["tsne_data"]["total_steps"] == reached
    assert len(original["kl_scores"]) == len(original["cka_scores"]) == reached - 1
    assert len(original["enhanced_analysis"]["info_gain"]) == reached - 1
    for key in ("entropy_trajectory", "confidence_trajectory", "conditional_entropy_trajectory"):
        assert len(original["enhanced_analysis"][key]) == reached
    confidences = original["mi_analysis"]["confidence_trajectories"]
    assert {len(each) for each in confidences} == {reached}
    assert bool(original["tsne_data"]["centroids"].isfinite().all())
    for scores in (original["kl_scores"], original["cka_scores"], *confidences):
        assert bool(scores.isfinite().all())
