"""Pointwise V-information of the gold answer: by hand, as the estimator of that name, from a model
called by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.information import estimate
from diffengine.analysis.metrics.block import read_block
from diffengine.analysis.metrics.pvi import gold_answer
from diffengine.engine.store import open_run


def test_by_hand(make_columns: Callable[..., dict[str, np.ndarray]]) -> None:
    columns = make_columns(4, 3, 5, answer=[[7], [7, 8], [7, 8], []])
    columns["answer_start"] = np.array([4, 1, -1, 2], np.int32)
    found = gold_answer(read_block(columns))
    commit = columns["committed"].argmax(axis=1)
    assert np.isnan(found[2:]).all()
    for row, tokens in ((0, 1), (1, 2)):
        for step in range(3):
            bits = 0.0
            for j in range(tokens):
                at = columns["answer_start"][row] + j
                frozen = min(step, commit[row, at])
                bits += (
                    columns["answer_logprob"][row, frozen, at, j]
                    - columns["null_answer_logprob"][row, at, j]
                )
            assert found[row, step] == pytest.approx(bits / np.log(2), rel=1e-6)


def test_the_curve_is_the_estimator(make_run: Callable[..., Any]) -> None:
    run = make_run(40)
    found = analyze_run(run)["pvi/gold_answer"]
    assert found.ok and found.units == "bits" and found.stderr is not None
    columns = run._columns
    at, commit = columns["answer_start"], columns["committed"].argmax(axis=1)
    rows = np.arange(40)
    for step in (0, 4):
        x = columns["answer_logprob"][rows, np.minimum(step, commit[rows, at]), at, 0]
        expected = estimate(
            "pvi", x, np.zeros(40, int), null=columns["null_answer_logprob"][rows, at, 0]
        )
        assert found.values[step] == pytest.approx(expected.bits, rel=1e-6)


def test_correct_and_wrong_apart_and_a_run_that_did_not_store_it(
    make_run: Callable[..., Any],
) -> None:
    run = make_run(40)
    whole = analyze_run(run)
    split = [whole[f"pvi_{word}/gold_answer"] for word in ("correct", "wrong")]
    np.testing.assert_allclose(
        sum(q.values * q.n for q in split) / 40, whole["pvi/gold_answer"].values
    )
    del run._columns["null_answer_logprob"]
    without = analyze_run(run)
    for name in ("pvi/gold_answer", "pvi_correct/gold_answer"):
        assert without[name].status == "insufficient: the run did not store null_answer_logprob"
    assert without["confidence/answer_slot"].ok


def test_from_the_model_called_by_hand(tmp_path: Path) -> None:
    """Step 0 of a real run, problem by problem: two forwards each, one with the question and one
    without."""
    from diffengine.engine.models.attention import packing_of
    from diffengine.engine.models.loading import load_model
    from diffengine.engine.runs.run import BUNDLED, run

    run("generated:6", out=tmp_path / "run", steps=8, gen_length=32, block_length=8)
    model, stored = load_model(BUNDLED, device="cpu"), open_run(tmp_path / "run")
    analysis = analyze_run(stored)

    def logprob(question: str) -> torch.Tensor:
        text = model.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
        )
        ids = torch.tensor(
            model.tokenizer.encode(text, add_special_tokens=False) + [model.token_ids.mask] * 32
        )
        hidden = model.hidden(ids, torch.arange(len(ids)), packing_of([len(ids)], ids.device))
        return (hidden[-32:] @ model.head_weight.T).double().log_softmax(-1)

    null, expected = logprob(""), []
    with torch.inference_mode():
        for row, problem in enumerate(stored.problems):
            gold = model.tokenizer.encode(problem.answer, add_special_tokens=False)
            start = int(stored["answer_start"][row])
            if start < 0 or start + len(gold) > 32:
                continue
            asked = logprob(problem.question)
            expected.append(
                sum(float(asked[start + j, t] - null[start + j, t]) for j, t in enumerate(gold))
            )
    found = analysis["pvi/gold_answer"]
    assert int(found.n[0]) == len(expected) > 0
    assert found.values[0] == pytest.approx(np.mean(expected) / np.log(2), abs=1e-3)
