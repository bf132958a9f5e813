"""Everything at once: what `analyze` says of a run equals the same quantity computed densely from
the exported logits.

The run is a real one of the bundled model, exported in the original suite's format; nothing here uses our
statistics.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.original.logits_pt import export_original
from diffengine.analysis.results import Analysis
from diffengine.engine.models.loading import load_model
from diffengine.engine.runs.run import BUNDLED, run
from diffengine.engine.store import Run, open_run

N = 12


class Dense(NamedTuple):
    """Logits [problem, step, position, V] in float64, log-probabilities, gold tokens, and the run
    they come from."""

    logits: torch.Tensor
    logp: torch.Tensor
    gold: list[list[int]]
    stored: Run
    analysis: Analysis
    averaged: torch.Tensor
    results: list[dict]
    digits: list[int]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Dense:
    model, path = load_model(BUNDLED, device="cpu"), tmp_path_factory.mktemp("parity") / "run"
    run(
        f"generated:{N}", out=path, model=model, save_logits="hidden", gen_length=24, block_length=8
    )
    stored = open_run(path)
    files = {f.name: f for f in export_original(stored, path / "export")}
    loaded = {name: torch.load(f, weights_only=True) for name, f in files.items()}
    logits = torch.stack(
        [torch.cat(problem) for problem in loaded["all_problems_logits.pt"]]
    ).double()
    gold = [model.tokenizer.encode(p.answer, add_special_tokens=False) for p in stored.problems]
    return Dense(
        logits,
        logits.log_softmax(-1),
        gold,
        stored,
        analyze_run(stored, averaged=True),
        torch.cat(loaded["averaged_logit_trajectory.pt"]).double(),
        loaded["inference_results.pt"],
        [i for i in range(553) if model.tokenizer.decode([i])[:1].isdigit()],
    )


def test_the_export_has_the_seeds_structure(dense: Dense) -> None:
    assert dense.logits.shape == (N, 24, 24, 553)
    assert [r["problem_id"] for r in dense.results] == list(range(1, N + 1))
    for result, problem, text in zip(
        dense.results, dense.stored.problems, dense.stored["generated_text"][...], strict=True
    ):
        assert result["question"] == problem.question
        assert result["expected_answer"] == problem.answer
        assert result["generated_answer"] == text
    torch.testing.assert_close(dense.averaged, dense.logits.mean(0), atol=1e-4, rtol=1e-4)


def per_problem_confidence(dense: Dense, method: str) -> torch.Tensor:
    """[problem, step], from the original suite's definitions."""
    rows = []
    for logp, gold in zip(dense.logp, dense.gold, strict=True):
        p = logp[:, :, gold].exp()  # [step, position, token]
        rows.append(
            {"softmax_sum": p.sum((1, 2)), "max_prob": p.amax((1, 2)), "mean_prob": p.mean((1, 2))}[
                method
            ]
        )
    return torch.stack(rows)


@pytest.mark.parametrize("method", ["softmax_sum", "max_prob", "mean_prob"])
def test_confidence_and_gain(dense: Dense, method: str) -> None:
    expected = per_problem_confidence(dense, method)
    found = dense.analysis[f"confidence/{method}"]
    np.testing.assert_allclose(found.values, expected.mean(0), atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(found.stderr, expected.std(0) / math.sqrt(N), atol=1e-4, rtol=1e-3)
    gain = dense.analysis[f"gain/{method}"]
    np.testing.assert_allclose(gain.values[1:], expected.mean(0).diff(), atol=1e-4)
    np.testing.assert_allclose(
        gain.stderr[1:], expected.diff(dim=1).std(0) / math.sqrt(N), atol=1e-4
    )


def test_confidence_at_the_answer_freezes_at_the_commit(dense: Dense) -> None:
    start, end, token = (
        dense.stored[name][...] for name in ("answer_start", "answer_end", "token")
    )
    rows = []
    for i, gold in enumerate(dense.gold):
        if start[i] < 0 or start[i] + len(gold) > 24:
            continue
        total = torch.zeros(24, dtype=torch.float64)
        for j, answer_token in enumerate(gold):
            place = start[i] + j
            committed_at = int(np.argmax(token[i, :, place] != 5))
            values = dense.logp[i, :, place, answer_token].clone()
            values[committed_at:] = values[committed_at]
            total += values
        behind, goes_on = start[i] + len(gold), torch.zeros(24, dtype=torch.float64)
        if behind < 24:  # gold "5" is not confirmed by "52": no digit may follow
            longer = set(dense.digits) | ({int(token[i, -1, behind])} if behind < end[i] else set())
            goes_on = dense.logp[i, :, behind, sorted(longer)].exp().sum(-1)
            committed_at = int(np.argmax(token[i, :, behind] != 5))
            goes_on[committed_at:] = goes_on[committed_at].clone()
        rows.append(total.exp() * (1 - goes_on))
    found = dense.analysis["confidence/answer_slot"]
    assert found.n[0] == len(rows) > 0
    np.testing.assert_allclose(found.values, torch.stack(rows).mean(0), atol=1e-4)


def test_entropy_and_kl(dense: Dense) -> None:
    p = dense.logp.exp()
    entropy = -(p * dense.logp).sum(-1) / math.log(2)
    np.testing.assert_allclose(
        dense.analysis["entropy/all"].values, entropy.mean((0, 2)), atol=1e-4, rtol=1e-4
    )
    kl = (p[:, 1:] * (dense.logp[:, 1:] - dense.logp[:, :-1])).sum(-1) / math.log(2)
    np.testing.assert_allclose(
        dense.analysis["kl/all"].values[1:], kl.mean((0, 2)), atol=1e-4, rtol=1e-4
    )
    seen_masked = np.concatenate(
        [np.full((N, 1, 24), True), dense.stored["token"][...][:, :-1] == 5], axis=1
    )
    masked = np.where(seen_masked, entropy, np.nan)
    per_problem = np.nanmean(masked, axis=2)
    np.testing.assert_allclose(
        dense.analysis["entropy/masked"].values, per_problem.mean(0), atol=1e-4, rtol=1e-4
    )


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, eq. 5, in the rows' own space."""

    def hsic(k: np.ndarray, l: np.ndarray) -> float:
        n = len(k)
        one = np.ones(n)
        cross = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        return float((np.trace(k @ l) + cross - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3)))

    k, l = ((m @ m.T) * (1 - np.eye(len(m))) for m in (x - x.mean(0), y - y.mean(0)))
    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))


def test_cka_is_that_of_the_logits(dense: Dense) -> None:
    logits = dense.logits.numpy()
    pairs = [(0, 1), (0, 23), (5, 9), (22, 23)]
    matrix = dense.analysis["cka/matrix"].values
    for s, t in pairs:
        expected = np.mean([debiased_cka(logits[i, s], logits[i, t]) for i in range(N)])
        assert matrix[s, t] == pytest.approx(expected, abs=1e-3)
    assert dense.analysis["cka/consecutive"].values[1] == pytest.approx(matrix[0, 1], abs=1e-6)


def test_the_averaged_forms_are_the_seeds_own(dense: Dense) -> None:
    logp = dense.averaged.log_softmax(-1)
    kl = (
        (logp[:-1].exp() * (logp[:-1] - logp[1:])).sum(-1).mean(-1)
    )  # nats, KL(p_t || p_t+1): the original suite's
    np.testing.assert_allclose(dense.analysis["kl_averaged"].values[1:], kl, atol=1e-3)
    grams = [(x - x.mean(0)) @ (x - x.mean(0)).T for x in dense.averaged.numpy()]
    biased = [
        (k * l).sum() / math.sqrt((k * k).sum() * (l * l).sum())
        for k, l in itertools.pairwise(grams)
    ]
    np.testing.assert_allclose(dense.analysis["cka_averaged"].values[1:], biased, atol=1e-3)
    assert "biased" in dense.analysis["cka_averaged"].label


def test_the_seeds_thresholds_and_spike_rules(dense: Dense) -> None:
    start, token = dense.analysis.s_curve.transition_start, dense.analysis.s_curve.transition_end
    curve = dense.analysis["confidence/answer_slot"].values
    above = np.nonzero(curve > 0.1)[0]
    assert start == (above[0] if len(above) else None)
    if start is not None:
        high = np.nonzero(curve[start:] > 0.8)[0]
        assert token == (start + high[0] if len(high) else None)
    gain = np.diff(curve)
    for rule, threshold in (("basic", 0.1), ("2std", 2 * gain.std())):
        spikes = dense.analysis.spikes[rule]
        assert [s.step for s in spikes] == [int(i) + 1 for i in np.nonzero(gain > threshold)[0]]
        for spike in spikes:
            assert (spike.confidence_before, spike.confidence_after) == pytest.approx(
                (curve[spike.step - 1], curve[spike.step])
            )
