"""Rows that leave together: a GPU reduces the next ones while one is graded, and nobody can tell
from the results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding import loop
from diffengine.engine.decoding import recorder as record
from diffengine.engine.decoding.recorder import Finished, Recorder
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.loading import MaskedDiffusionModel

CONFIG = RunConfig.of(model="test", steps=8, gen_length=8, block_length=4, save_logits="hidden")


def decoded(
    model: MaskedDiffusionModel, prompts: Any, *, budget: int
) -> tuple[list[Finished], np.ndarray | None]:
    """Problems as they finish, and the sum of their hidden states taken after every second of them,
    in all."""
    decoder = Setup(model, CONFIG).decoder(prompts, budget=budget)
    finished, total = [], None
    for number, one in enumerate(decoder.decode(iter(prompts))):
        finished.append(one)
        if number % 2:
            part = decoder.recorder.take_hidden_sum()
            own = [f.columns["hidden"] for f in finished[-2:]]
            np.testing.assert_allclose(
                part, own[0] + own[1], atol=1e-5
            )  # of these two and no other
            total = part if total is None or part is None else total + part
    return finished, total


def test_order_values_and_sums_are_the_same_with_rows_ahead(
    random_model: MaskedDiffusionModel, prompts_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = prompts_of(random_model, CONFIG.gen_length)
    for budget in (2000, 150):  # all at once; rows enter the slots of those that left
        plain, plain_sum = decoded(random_model, prompts, budget=budget)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "rows_ahead", lambda device: 2)
            ahead, ahead_sum = decoded(random_model, prompts, budget=budget)
        assert [one.problem.id for one in ahead] == [one.problem.id for one in plain]
        for ours, expected in zip(ahead, plain, strict=True):
            assert ours.columns.keys() == expected.columns.keys()
            for name, value in expected.columns.items():
                if name != "seconds":
                    np.testing.assert_array_equal(ours.columns[name], value, err_msg=name)
        np.testing.assert_array_equal(ahead_sum, plain_sum)


@pytest.mark.parametrize("ahead, expected", [(0, "bcbcbcbcbcbc"), (2, "bbbcbcbcbccc")])
def test_a_row_is_graded_when_the_next_are_under_way(
    random_model: MaskedDiffusionModel,
    prompts_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    ahead: int,
    expected: str,
) -> None:
    happened: list[str] = []
    begin, complete = Recorder.begin, Recorder.complete
    monkeypatch.setattr(
        Recorder, "begin", lambda self, row: happened.append("b") or begin(self, row)
    )
    monkeypatch.setattr(
        Recorder, "complete", lambda self, leaving: happened.append("c") or complete(self, leaving)
    )
    monkeypatch.setattr(loop, "rows_ahead", lambda device: ahead)
    decoded(random_model, prompts_of(random_model, CONFIG.gen_length), budget=2000)
    assert "".join(happened) == expected


def test_only_a_gpu_has_rows_ahead() -> None:
    assert loop.rows_ahead(torch.device("cpu")) == 0
    assert loop.rows_ahead(torch.device("cuda:1")) == loop.ROWS_AHEAD > 0


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_grader_that_fails_reaches_the_caller_after_what_was_finished(
    random_model: MaskedDiffusionModel, prompts_of: Any, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    real, asked = record.grade_any, [0]

    def grade(text: str, gold: str | None) -> Any:
        asked[0] += 1
        if asked[0] == 4:
            raise RuntimeError("the grader broke")
        return real(text, gold)

    monkeypatch.setattr(record, "grade_any", grade)
    monkeypatch.setattr(loop, "rows_ahead", lambda device: ahead)
    prompts = prompts_of(random_model, CONFIG.gen_length)
    decoder = Setup(random_model, CONFIG).decoder(prompts, budget=2000)
    finished = []
    with pytest.raises(RuntimeError, match="the grader broke"):
        for one in decoder.decode(iter(prompts)):
            finished.append(one)
    assert len(finished) == 3


def test_nothing_waits_before_a_row_is_graded(
    random_model: MaskedDiffusionModel, prompts_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`begin` needs no value on the host: the tokens' copy is waited for in `complete` alone."""
    from .test_no_waiting import Refusing, RefusingCopies

    prompts = prompts_of(random_model, CONFIG.gen_length)[:2]
    decoder = Setup(random_model, CONFIG).decoder(prompts, budget=2000)
    waited: list[int] = []
    copies = decoder.recorder._copies
    monkeypatch.setattr(copies, "array", lambda tensor: tensor.detach().clone())
    monkeypatch.setattr(copies, "ready", lambda: lambda: waited.append(1))
    decoder.recorder.null.of(
        decoder.recorder._targets[0]
    )  # computed once for all, when first asked for
    watched: list[bool] = []
    begin = Recorder.begin

    def refusing_begin(self: Recorder, row: Any) -> Any:
        monkeypatch.setattr(record, "on_device", lambda values, device: positions[tuple(values)])
        positions = {tuple(range(CONFIG.steps)): torch.arange(CONFIG.steps)}
        with RefusingCopies(), Refusing():
            leaving = begin(self, row)
        watched.append(not waited)
        return leaving._replace(token=leaving.token.numpy())  # type: ignore[attr-defined]

    monkeypatch.setattr(Recorder, "begin", refusing_begin)
    monkeypatch.setattr(loop, "rows_ahead", lambda device: 1)
    assert len(list(decoder.decode(iter(prompts)))) == 2
    assert watched == [True, True]
    assert len(waited) == 2
