"""A family whose predictions stand one position before their token, against a literal twin: one
problem at a time, logits of the whole canvas by transformers alone, moved as Dream's code moves
them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner

from diffengine.engine.cli.command_line import group
from diffengine.engine.config import RunConfig
from diffengine.engine.likelihood.measure import Place, likelihood_bound, sequential_logprob
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt, PromptError, build_prompt
from diffengine.engine.store import open_run

MASK = 5
BLOCK_LENGTH = 4
CONFIG = RunConfig.of(
    model="test", steps=8, gen_length=8, block_length=BLOCK_LENGTH, logits_dtype="float32"
)


def shifted_logits(network: transformers.Qwen2ForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Logits [L, V] of each position's own token; Dream's modeling code, `DreamModel.diffusion`:
    the first position keeps its own, the others take those of the position before."""
    logits = network(ids[None]).logits
    return torch.cat([logits[:, :1], logits[:, :-1]], dim=1)[0]


class TwinStep:
    """What a step of the twin saw and made."""

    def __init__(self, logits: torch.Tensor, canvas: torch.Tensor) -> None:
        self.logprob = logits.double().log_softmax(-1)
        self.canvas = canvas


@torch.inference_mode()
def twin_steps(
    network: transformers.Qwen2ForCausalLM, prompt: Prompt, config: RunConfig
) -> list[TwinStep]:
    """Nie et al. 2025, Algorithm 5, greedy, with the shifted logits: each step, batch 1."""
    start = len(prompt.token_ids)
    ids = torch.tensor([*prompt.token_ids, *[MASK] * config.gen_length])
    prompted = torch.arange(len(ids)) < start
    steps = []
    for block in range(config.gen_length // BLOCK_LENGTH):
        end = start + (block + 1) * BLOCK_LENGTH
        for _ in range(BLOCK_LENGTH):  # one token a step
            logits = shifted_logits(network, ids)
            if config.guided:
                blind = shifted_logits(network, torch.where(prompted, MASK, ids))
                logits = blind + (config.sampler.guidance + 1) * (logits - blind)
            allowed = logits.clone()
            allowed[:, MASK] = -torch.inf
            token = allowed.argmax(-1)
            confidence = logits.softmax(-1).gather(1, token[:, None])[:, 0]
            confidence[ids != MASK] = -torch.inf
            confidence[end:] = -torch.inf
            surest = int(confidence.argmax())
            ids = ids.clone()
            ids[surest] = token[surest]
            steps.append(TwinStep(logits[start:], ids[start:]))
    return steps


@pytest.mark.parametrize("changes", [{}, {"cfg_scale": 1.0}, {"record": "masked"}], ids=str)
def test_every_step_is_the_twins(
    shifted_model: MaskedDiffusionModel,
    dense_network: transformers.Qwen2ForCausalLM,
    prompts_of: Callable[..., list[Prompt]],
    packed: Callable[..., dict[str, Any]],
    changes: dict[str, Any],
) -> None:
    config = CONFIG.changed(**changes)
    prompts = prompts_of(shifted_model, config.gen_length)
    columns = packed(shifted_model, config, prompts, budget=200)
    for prompt in prompts:
        of_problem = columns[prompt.problem.id]
        steps = twin_steps(dense_network, prompt, config)
        assert len(steps) == config.steps
        for step, twin in enumerate(steps):
            assert of_problem["token"][step].tolist() == twin.canvas.tolist()
            seen = np.isfinite(of_problem["entropy"][step])
            assert seen.sum() == (config.gen_length - step if changes.get("record") else 8)
            probability = twin.logprob.exp()
            entropy = -(probability * twin.logprob).sum(-1).numpy() / math.log(2)  # bits
            np.testing.assert_allclose(
                of_problem["entropy"][step][seen], entropy[seen], atol=1e-3, rtol=1e-3
            )


def test_a_wrong_offset_would_be_seen(
    shifted_model: MaskedDiffusionModel,
    dense_network: transformers.Qwen2ForCausalLM,
    prompts_of: Callable[..., list[Prompt]],
    packed: Callable[..., dict[str, Any]],
) -> None:
    unshifted = replace(shifted_model, family=replace(shifted_model.family, read_offset=0))
    prompts = prompts_of(shifted_model, CONFIG.gen_length)
    columns = packed(unshifted, CONFIG, prompts, budget=200)
    for prompt in prompts:
        steps = twin_steps(dense_network, prompt, CONFIG)
        twin = [step.canvas.tolist() for step in steps]
        assert columns[prompt.problem.id]["token"].tolist() != twin


@torch.inference_mode()
def test_a_likelihood_is_read_before_the_answer(
    shifted_model: MaskedDiffusionModel, dense_network: transformers.Qwen2ForCausalLM
) -> None:
    canvas = torch.tensor([40, 41, 42, 43, 44, 45, 46])
    masked = canvas.clone()
    masked[[3, 5]] = MASK

    def logprob(ids: torch.Tensor) -> torch.Tensor:
        logits = shifted_logits(dense_network, ids).double()
        logits[:, MASK] = -torch.inf
        return logits.log_softmax(-1)

    first = logprob(masked)
    surest, other = (3, 5) if first[3].max() >= first[5].max() else (5, 3)
    answer = {3: 21, 5: 30}
    expected = float(first[surest, answer[surest]])
    masked[surest] = answer[surest]
    expected += float(logprob(masked)[other, answer[other]])
    place = Place(canvas, [3, 5])
    assert sequential_logprob(shifted_model, place, [21, 30]) == pytest.approx(expected, abs=1e-4)

    alone = canvas.clone()
    alone[1] = MASK
    bound = likelihood_bound(shifted_model, Place(canvas, [1]), [21], draws=2)
    assert bound.nats == pytest.approx(float(logprob(alone)[1, 21]), abs=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("changes", [{}, {"cfg_scale": 1.5}], ids=str)
def test_null_beliefs_are_read_before_the_position(
    shifted_model: MaskedDiffusionModel,
    dense_network: transformers.Qwen2ForCausalLM,
    prompts_of: Callable[..., list[Prompt]],
    packed: Callable[..., dict[str, Any]],
    changes: dict[str, Any],
) -> None:
    config = CONFIG.changed(**changes)
    encode = shifted_model.tokenizer.encode
    prompt = encode("Q: \nA:", add_special_tokens=False)
    ids = torch.tensor([*prompt, *[MASK] * config.gen_length])
    logits = shifted_logits(dense_network, ids).double()
    if config.guided:
        blind = shifted_logits(dense_network, torch.full_like(ids, MASK)).double()
        logits = blind + (config.sampler.guidance + 1) * (logits - blind)
    expected = logits[len(prompt) :].log_softmax(-1)
    columns = packed(shifted_model, config, prompts_of(shifted_model, config.gen_length))
    for of_problem in columns.values():
        for place, token in enumerate(of_problem["answer_token_id"]):
            if token >= 0:
                np.testing.assert_allclose(
                    of_problem["null_answer_logprob"][:, place], expected[:, token], atol=1e-3
                )


def test_without_a_token_before_it_nothing_can_be_read(
    shifted_model: MaskedDiffusionModel, packed: Callable[..., dict[str, Any]]
) -> None:
    canvas = torch.tensor([40, 41, 42])
    with pytest.raises(ValueError, match="read 1 before its position; expected positions from 1"):
        sequential_logprob(shifted_model, Place(canvas, [0, 1]), [21, 30])
    problem = Problem(id="p", question="?", answer="1")
    with pytest.raises(ValueError, match="expected a prompt of at least 1 token"):
        packed(shifted_model, CONFIG, [Prompt(problem, 0, 0, (), (21,))])
    mute = replace(shifted_model, family=replace(shifted_model.family, chat_template="{{ '' }}"))
    with pytest.raises(PromptError, match="the prompt has no tokens"):
        build_prompt(problem, 0, mute, style="chat", gen_length=8)


def test_a_run_of_a_plugins_checkpoint_is_the_twins(
    shifted_model: MaskedDiffusionModel,
    dense_network: transformers.Qwen2ForCausalLM,
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    arguments = ["run", "--problems", "generated:2", "--model", str(shifted_model.path)]
    settings = ["--steps", "8", "--gen-length", "8", "--block-length", "4", "--device", "cpu"]
    done = CliRunner().invoke(group, [*arguments, *settings, "--out", str(out)])
    assert done.exit_code == 0, done.output
    run = open_run(out)
    assert run.info["model"]["architecture"] == "ShiftedModel"
    (used,) = run.info["plugins"]
    assert (used["name"], used["package"], used["version"]) == (
        "ShiftedModel",
        "shifted-family",
        "1.5",
    )
    for row, problem_id in enumerate(run.ids):
        problem = next(p for p in run.problems if p.id == problem_id)
        prompt = build_prompt(problem, 0, shifted_model, style="chat", gen_length=8)
        steps = twin_steps(dense_network, prompt, CONFIG)
        assert run["token"][row].tolist() == [step.canvas.tolist() for step in steps]
