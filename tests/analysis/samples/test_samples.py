"""What several samples say together: pass@k against enumeration, votes and entropies by hand, the
AUROC of clustered rows against a slow twin."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from sampled_runs import run_of, telling_columns

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.findings.auroc import SIGNALS, auroc, auroc_trajectories
from diffengine.analysis.groups import Groups
from diffengine.analysis.results import load_analysis, save_analysis
from diffengine.analysis.samples.finding import AUROC, ENTROPY, MAJORITY, MILLER_MADOW, PASS
from diffengine.analysis.samples.votes import NO_ANSWER, pass_at, votes
from diffengine.analysis.show.summary import summarise


@pytest.mark.parametrize("n", range(1, 7))
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(n: int) -> None:
    for right in range(n + 1):
        is_right = [place < right for place in range(n)]
        for k in range(1, n + 1):
            draws = list(combinations(is_right, k))
            expected = sum(any(draw) for draw in draws) / len(draws)
            found = pass_at(np.array([float(n)]), np.array([float(right)]), k)
            assert found == pytest.approx([expected])
    assert np.isnan(pass_at(np.array([float(n)]), np.array([0.0]), n + 1)).all()


def test_pass_at_k_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    right = rng.binomial(5, 0.3, 40_000).astype(float)
    for k in (1, 2, 4, 5):
        found = pass_at(np.full(40_000, 5.0), right, k).mean()
        assert found == pytest.approx(1 - 0.7**k, abs=0.008)


def test_votes() -> None:
    answers = ["5", "5", "6", "5",  # right by majority
               "6", "6", "5", "7",  # wrong
               "5", "6", "5", "6",  # a tie of two
               "", "", "5", "6",  # none wins, and is wrong
               "5", "6", "7", "8"]  # a tie of four  # fmt: skip
    verdict = np.array([{"5": 1, "": 2}.get(answer, 0) for answer in answers])
    said = votes(answers, verdict, Groups.of([str(row // 4) for row in range(20)]))
    assert said.majority.tolist() == [1, 0, 0.5, 0, 0.25]
    assert said.right.tolist() == [3, 1, 2, 1, 1] and said.n.tolist() == [4] * 5
    expected = [0.811278, 1.5, 1, 1.5, 2]
    np.testing.assert_allclose(said.entropy, expected, rtol=1e-6)
    assert said.classes[12:16].tolist() == [NO_ANSWER, NO_ANSWER, 1, 2] and not said.uncompared


def slow_obuchowski(
    score: np.ndarray, positive: np.ndarray, names: list[str], weight: np.ndarray
) -> tuple[float, float]:
    """Pair by pair."""
    of = [row for row in range(len(score)) if positive[row]]
    against = [row for row in range(len(score)) if not positive[row]]
    w_of, w_against = weight[of].sum(), weight[against].sum()

    def beats(row: int, other: int) -> float:
        return float(score[row] > score[other]) + 0.5 * float(score[row] == score[other])

    v_of = {i: sum(weight[j] * beats(i, j) for j in against) / w_against for i in of}
    v_against = {j: sum(weight[i] * beats(i, j) for i in of) / w_of for j in against}
    area = sum(weight[i] * v_of[i] for i in of) / w_of
    clusters = sorted(set(names))
    up = {c: sum(weight[i] * (v_of[i] - area) for i in of if names[i] == c) for c in clusters}
    down = {
        c: sum(weight[j] * (v_against[j] - area) for j in against if names[j] == c)
        for c in clusters
    }
    with_of = len({names[i] for i in of})
    with_against = len({names[j] for j in against})
    s_of = with_of / ((with_of - 1) * w_of) * sum(each**2 for each in up.values())
    s_against = (
        with_against / ((with_against - 1) * w_against) * sum(each**2 for each in down.values())
    )
    both = len(clusters) / (len(clusters) - 1) * sum(up[c] * down[c] for c in clusters)
    variance = s_of / w_of + s_against / w_against + 2 * both / (w_of * w_against)
    return area, variance**0.5


@pytest.mark.parametrize("seed", range(4))
def test_the_auroc_of_clustered_rows_is_that_of_the_slow_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"p{number}" for number in rng.integers(0, 12, 40)]
    groups = Groups.of(names)
    positive = rng.random(40) < 0.5
    score = np.round(rng.normal(size=40) + positive, 1)
    found = auroc(score, positive, groups)
    expected = slow_obuchowski(score, positive, names, groups.weight)
    assert found[:2] == pytest.approx(expected) and found.n == len(set(names))


def test_of_one_row_each_obuchowskis_error_is_delongs() -> None:
    rng = np.random.default_rng(5)
    positive = rng.random(60) < 0.4
    score = np.round(rng.normal(size=60) + positive, 1)
    names = [str(row) for row in range(60)]
    assert auroc(score, positive, Groups.of(names)) == auroc(score, positive)
    expected = slow_obuchowski(score, positive, names, np.ones(60))
    assert auroc(score, positive)[:2] == pytest.approx(expected)


def test_its_error_is_that_of_the_runs_made_again() -> None:
    """200 runs of 60 problems with 5 samples that share score and, mostly, outcome."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        level = rng.normal(size=60).repeat(5)
        positive = rng.random(300) < 1 / (1 + np.exp(-3 * level))
        score = level + 0.1 * rng.normal(size=300)
        found.append(auroc(score, positive, Groups.of((np.arange(300) // 5).tolist())))
    spread = np.std([each.area for each in found])
    assert np.mean([each.stderr for each in found]) == pytest.approx(spread, rel=0.15)
    naive = auroc(score, positive).stderr
    assert naive < 0.7 * spread


@pytest.fixture
def sampled(make_columns: Callable[..., Any], fake_run: type) -> Callable[..., Any]:
    """A run of 110 problems with 4 samples each, without the last `lost` rows."""

    def make(lost: int = 0) -> Any:
        columns = telling_columns(make_columns(440, 6, 6))
        columns["verdict"][-1] = 0
        groups = [f"p{row // 4:03d}" for row in range(440)]
        kept = slice(0, 440 - lost)
        columns = {k: v if k == "block" else v[kept] for k, v in columns.items()}
        return run_of(
            fake_run, columns, groups[kept], [row % 4 for row in range(440)][kept], asked=4
        )

    return make


def test_a_run_of_several_samples(sampled: Callable[..., Any], tmp_path: Any) -> None:
    run = sampled()
    found = analyze_run(run)
    right = (run["verdict"] == 1).reshape(110, 4)
    curve = found[PASS]
    assert curve.dims == ("k",) and curve.n.tolist() == [110] * 4
    assert curve.values[0] == pytest.approx(right.mean())
    assert curve.values[3] == pytest.approx(right.any(axis=1).mean())
    np.testing.assert_allclose(curve.interval[:, 0], found["accuracy"].interval)
    assert found["accuracy"].n == 110 and found.info["n_problems"] == 110
    assert found.info["n_samples"] == 440
    assert found.problems["group_id"].tolist() == run.groups
    assert found.problems["sample"].tolist() == [0, 1, 2, 3] * 110
    assert found[AUROC].ok and 0 < found[AUROC].stderr < 0.2
    assert found[MILLER_MADOW].values > found[ENTROPY].values > 0
    path = tmp_path / "analysis.h5"
    save_analysis(found, path)
    assert load_analysis(path)[PASS].dims == ("k",)
    text = summarise(found)
    for said in ("110 problems, 440 samples", "pass@1:", "pass@2:", "pass@4:", "maj@4"):
        assert said in text
    assert "pass@3" not in text


def test_problems_with_fewer_samples_are_left_out_of_what_needs_all(
    sampled: Callable[..., Any],
) -> None:
    found = analyze_run(sampled(lost=6))
    assert found[PASS].n.tolist() == [109, 109, 108, 108]
    assert found[MAJORITY].n == found[ENTROPY].n == 108 and found["accuracy"].n == 109
    warned = "1 of 109 problems with fewer than 4 samples: each counts once"
    assert any(text.startswith(warned) for text in found.info["warnings"])


def test_too_few_problems_are_insufficient_however_many_samples(
    make_columns: Callable[..., Any], fake_run: type
) -> None:
    columns = telling_columns(make_columns(300, 6, 6))
    groups = [f"p{row // 10:02d}" for row in range(300)]
    columns["verdict"] = np.arange(300, dtype=np.uint8) % 2
    found = analyze_run(run_of(fake_run, columns, groups, [row % 10 for row in range(300)]))
    for name in (AUROC, "auroc/answer_confidence"):
        assert found[name].status.startswith("insufficient: 30 graded problems")
    assert all(sign.verdict.startswith("no verdict: 30 graded") for sign in found.patterns)


@pytest.mark.parametrize("each_step", [False, True])
def test_a_class_is_as_large_as_its_problems(each_step: bool) -> None:
    """110 problems of 5 samples, of which 10 have all the wrong ones: 50 rows, 10 problems."""
    wrong = (np.arange(550) % 55) < 5
    metrics = {signal.metric: np.random.default_rng(0).normal(size=(550, 3)) for signal in SIGNALS}
    groups = Groups.of((np.arange(550) // 5).tolist())
    found = auroc_trajectories(metrics, (~wrong).astype(int), groups, each_step=each_step)
    for quantity in found.values():
        assert "10 in the smaller class" in quantity.status
        assert np.isnan(quantity.values).all() == each_step
