"""The null input's beliefs against the model called by hand, and against the problem that has no
question."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies.llada_options import LLaDAOptions

BASE = RunConfig.of(model="test", steps=8, gen_length=8, block_length=4)
SAMPLERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "raw": {"prompt_style": "raw"},
    "words": {"prompt_template": "2 + 2 is 4. {question}?"},
    "guided": {"cfg_scale": 1.5},
    "no eos": {"logits_eos_inf": True},
    "warm": {"temperature": 0.7, "remasking": "random"},
}


def logits_of(model: MaskedDiffusionModel, ids: list[int]) -> torch.Tensor:
    tokens = torch.tensor(ids)
    hidden = model.hidden(tokens, torch.arange(len(ids)), packing_of([len(ids)], tokens.device))
    return (hidden[-BASE.gen_length :] @ model.head_weight.T).double()


def by_hand(model: MaskedDiffusionModel, config: RunConfig) -> torch.Tensor:
    """[position, V] log-probabilities: one forward over the template with nothing in it, then
    masks."""
    if config.prompt_style == "raw":
        text = " Answer:"
    else:
        text = model.tokenizer.apply_chat_template(
            [{"role": "user", "content": config.prompt_template.replace("{question}", "")}],
            add_generation_prompt=True,
            tokenize=False,
        )
    prompt = model.tokenizer.encode(text, add_special_tokens=False)
    blank = [model.token_ids.mask] * config.gen_length
    logits = logits_of(model, prompt + blank)
    options = config.sampler
    assert isinstance(options, LLaDAOptions)
    if options.cfg_scale:
        without = logits_of(model, [model.token_ids.mask] * (len(prompt) + config.gen_length))
        logits = without + (options.cfg_scale + 1) * (logits - without)
    if options.logits_eos_inf:
        logits[:, model.token_ids.eos] = -torch.inf
    return logits.log_softmax(-1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_null_input_by_hand(
    random_model: MaskedDiffusionModel, packed: Callable, prompts_of: Callable, name: str
):
    config = BASE.changed(**SAMPLERS[name])
    prompts = prompts_of(random_model, 8)
    if config.prompt_style == "raw":
        prompts = [p for p in prompts if p.problem.question]
    expected = by_hand(random_model, config)
    for columns in packed(random_model, config, prompts).values():
        gold = columns["answer_token_id"]
        found = columns["null_answer_logprob"]
        assert found.shape == (8, 2) and found.dtype == np.float32
        for place, token in enumerate(gold):
            if token < 0:
                assert np.isnan(found[:, place]).all()
            else:
                np.testing.assert_allclose(
                    found[:, place], expected[:, token], atol=2e-4, rtol=1e-5
                )


def test_a_problem_without_a_question_is_the_null_input(
    bundled_model: MaskedDiffusionModel, packed: Callable, prompts_of: Callable
) -> None:
    """The same prompt and the same blank canvas: the same bits, whoever shares the batch."""
    found = packed(bundled_model, BASE, prompts_of(bundled_model, 8))
    empty = found["p2"]
    np.testing.assert_array_equal(empty["null_answer_logprob"], empty["answer_logprob"][0])
    other = found["p0"]
    assert np.nanmax(np.abs(other["null_answer_logprob"] - other["answer_logprob"][0])) > 0.5


def test_it_takes_one_forward_for_all_problems(
    bundled_model: MaskedDiffusionModel,
    packed: Callable,
    prompts_of: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from diffengine.engine.decoding.null_beliefs import NullBeliefs

    calls = []
    real = NullBeliefs._logits
    monkeypatch.setattr(NullBeliefs, "_logits", lambda self: calls.append(1) or real(self))
    assert len(packed(bundled_model, BASE, prompts_of(bundled_model, 8), budget=80)) == 6
    assert calls == [1]


def test_a_template_that_refuses_an_empty_question_costs_the_null_only(
    bundled_model: MaskedDiffusionModel,
    packed: Callable,
    prompts_of: Callable,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from diffengine.engine.decoding import null_beliefs

    prompts = prompts_of(bundled_model, 8)

    def refuse(*arguments: Any, **more: Any) -> None:
        raise RuntimeError("say something")

    monkeypatch.setattr(null_beliefs, "build_prompt", refuse)
    with caplog.at_level(logging.WARNING):
        found = packed(bundled_model, BASE, prompts)
    assert all(np.isnan(columns["null_answer_logprob"]).all() for columns in found.values())
    assert caplog.text.count("say something") == 1 and len(found) == 6
