"""Gold `5` is not confirmed by `52`: the text behind the slot, with and without a recorded top k,
by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.findings.about_run import grade_rules, lm_eval_counts
from diffengine.analysis.metrics import confidence, emergence
from diffengine.analysis.metrics.block import Block, digit_ids, read_block

Columns = dict[str, np.ndarray]
FIVE, TWO, STOP, DOT = 5, 2, 9, 8
DIGITS = np.array([TWO, FIVE])
P_GOLD, P_TWO, P_SIX = 0.8, 0.5, 0.2


@pytest.fixture
def columns(make_columns: Callable[..., Columns]) -> Columns:
    """Four steps, four positions; gold 5; the canvas ends as `. 5 2 .` and the answer read off it
    is 52."""
    found = make_columns(1, 4, 4, answer=[[FIVE]])
    found["committed"][:] = np.eye(4, dtype=np.uint8)[None]  # position t commits at step t
    final = np.array([DOT, FIVE, TWO, STOP])
    found["token"][:] = np.where(np.arange(4)[None, :] <= np.arange(4)[:, None], final, 0)
    found["prediction"][:] = final
    found["answer_start"][:], found["answer_end"][:] = 1, 3
    found["answer_logprob"][:] = math.log(P_GOLD)
    found["logprob"][:] = math.log(P_TWO)
    return found


def with_top_two(columns: Columns) -> Columns:
    """Top 2 everywhere: the token 2, a digit, at .5 and another digit, 6, at .2; and 6 is a
    digit."""
    shape = columns["token"].shape
    ids = np.broadcast_to(np.array([TWO, 6], np.int32), (*shape, 2))
    logit = np.broadcast_to(np.log([P_TWO, P_SIX]).astype(np.float32) + 3, (*shape, 2))
    return columns | {
        "topk_id": ids,
        "topk_logit": logit,
        "logsumexp": np.full(shape, 3.0, np.float32),
    }


def test_a_longer_answer_does_not_confirm_gold(columns: Columns) -> None:
    found = confidence.answer_slot(read_block(columns, DIGITS))
    np.testing.assert_allclose(found, P_GOLD * (1 - P_TWO), rtol=1e-6)
    assert (emergence.hit(read_block(columns, DIGITS)) == 0).all()


def test_without_token_texts_the_final_token_itself_still_counts(columns: Columns) -> None:
    np.testing.assert_allclose(
        confidence.answer_slot(read_block(columns)), P_GOLD * (1 - P_TWO), rtol=1e-6
    )


def test_the_top_k_adds_the_other_digits(columns: Columns) -> None:
    block = read_block(with_top_two(columns), np.array([TWO, FIVE, 6]))
    np.testing.assert_allclose(
        confidence.answer_slot(block), P_GOLD * (1 - P_TWO - P_SIX), rtol=1e-6
    )


def test_the_end_freezes_when_its_position_commits(columns: Columns) -> None:
    columns["logprob"][:, 3:, 2] = math.log(0.01)  # position 2 commits at step 2
    np.testing.assert_allclose(
        confidence.answer_slot(read_block(columns, DIGITS)), P_GOLD * (1 - P_TWO), rtol=1e-6
    )


def test_an_answer_that_ends_is_confirmed(columns: Columns) -> None:
    columns["prediction"][:, :, 2], columns["token"][:, 2:, 2], columns["answer_end"][:] = (
        STOP,
        STOP,
        2,
    )
    np.testing.assert_allclose(
        confidence.answer_slot(read_block(columns, DIGITS)), P_GOLD, rtol=1e-6
    )
    assert (emergence.hit(read_block(columns, DIGITS)) == 1).all()


def test_at_the_end_of_the_canvas_nothing_can_follow(columns: Columns) -> None:
    columns["answer_start"][:], columns["answer_end"][:] = 3, 4
    np.testing.assert_allclose(
        confidence.answer_slot(read_block(columns, DIGITS)), P_GOLD, rtol=1e-6
    )


def test_certain_continuation_is_probability_zero_not_nan(columns: Columns) -> None:
    columns["logprob"][:] = 1e-7  # rounding: a probability just above 1
    found = confidence.answer_slot(read_block(columns, DIGITS))
    assert (found == 0).all() and (
        confidence.answer_slot_per_token(read_block(columns, DIGITS)) == 0
    ).all()


def test_gold_that_is_no_number_is_not_lengthened_by_a_digit(columns: Columns) -> None:
    columns["answer_token_id"][:], columns["answer_end"][:] = 77, 2
    np.testing.assert_allclose(
        confidence.answer_slot(read_block(columns, DIGITS)), P_GOLD, rtol=1e-6
    )


def test_digit_ids_come_from_the_runs_own_table(tmp_path: Path) -> None:
    assert digit_ids(tmp_path).tolist() == []
    (tmp_path / "tokens.json").write_text(
        json.dumps({"3": "5", "7": " 5", "4": "x5", "9": "12", "2": "", "5": "½"})
    )
    assert digit_ids(tmp_path).tolist() == [3, 9]


def test_fixed_slot(make_run: Callable[..., Any]) -> None:
    from diffengine.analysis.analyze import analyze_run

    run = make_run(30, 8, 8)
    at_two = analyze_run(run, answer_position=2)
    run["answer_start"][:], run["answer_end"][:] = 2, 3
    expected = analyze_run(run)
    np.testing.assert_array_equal(
        at_two["confidence/answer_slot"].values, expected["confidence/answer_slot"].values
    )
    assert any("fixed slot" in warning for warning in at_two.info["warnings"])
    with pytest.raises(
        ValueError, match="answer_position 8 is not a generated position; expected 0 to 7"
    ):
        analyze_run(run, answer_position=8)


def test_lm_eval_verdicts_are_made_again_from_the_text(make_run: Callable[..., Any]) -> None:
    run = make_run(4, 4, 4)
    assert lm_eval_counts(run) is None and grade_rules(run) == {}
    run._columns["generated_text"] = np.array(["#### 1", "it is 1", "#### 2", "1 and 2"], object)
    run._columns["grade_rule"] = np.array(
        ["hashes:number", "last_number:number", "hashes:number", ""], object
    )
    assert lm_eval_counts(run) == {"strict": 1, "flexible": 2, "n": 4}
    assert grade_rules(run) == {"hashes:number": 2, "none found": 1, "last_number:number": 1}


def test_lm_eval_and_the_warnings_know_every_accepted_answer(make_run: Callable[..., Any]) -> None:
    from diffengine.analysis.analyze import analyze_run

    run = make_run(4, 4, 4)
    run._columns["generated_text"] = np.array(["#### 1", "it is 1", "#### 2", "1 and 2"], object)
    one = lm_eval_counts(run)
    assert not any(
        "several accepted answers" in warning for warning in analyze_run(run).info["warnings"]
    )
    run.problems = [problem._replace(accepted=("2",)) for problem in run.problems]
    assert one is not None and lm_eval_counts(run) == {"strict": 2, "flexible": 4, "n": 4}
    (said,) = [
        warning
        for warning in analyze_run(run).info["warnings"]
        if "several accepted answers" in warning
    ]
    assert said.startswith("4 problems") and "are those of the first" in said


def test_a_block_without_a_token_table_knows_no_digits(columns: Columns) -> None:
    assert isinstance(read_block(columns), Block) and len(read_block(columns).digits) == 0
