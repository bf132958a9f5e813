"""Whole decodings of dense checkpoints against a slow twin: one problem at a time, the stock class
over the whole canvas, one token a step; and the run that a user starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from click.testing import CliRunner

from diffengine.engine.cli.command_line import group
from diffengine.engine.config import RunConfig
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt, PromptError, build_prompt
from diffengine.engine.store import open_run

BLOCK_LENGTH = 4
CONFIG = RunConfig.of(
    model="test", steps=8, gen_length=8, block_length=BLOCK_LENGTH, logits_dtype="float32"
)
QUESTIONS = ("Hi", "How many assistants are helpful to a user of the system?")
STOCK = {
    "Dream": transformers.Qwen2ForCausalLM,
    "A2D-Qwen3": transformers.Qwen3ForCausalLM,
    "A2D-Qwen2": transformers.Qwen2ForCausalLM,
    "A2D-Llama": transformers.LlamaForCausalLM,
    "iLLaDA": transformers.LlamaForCausalLM,
}


def dense_network(family: str, model: MaskedDiffusionModel) -> Any:
    """The stock class with the same weights and attention written out, over whole sequences."""
    config = type(model.network.config).from_dict(
        model.network.config.to_dict() | {"is_causal": False}, attn_implementation="eager"
    )
    network = STOCK[family](config).eval().requires_grad_(False)
    network.load_state_dict(model.network.state_dict())
    return network


@torch.inference_mode()
def twin_canvases(
    network: Any, model: MaskedDiffusionModel, prompt: tuple[int, ...], *, shifted: bool
) -> list[list[int]]:
    """The generated tokens after each step of Nie et al. 2025, Algorithm 5, greedy."""
    mask = model.token_ids.mask
    start = len(prompt)
    ids = torch.tensor([*prompt, *[mask] * CONFIG.gen_length])
    canvases = []
    for step in range(CONFIG.gen_length):
        end = start + (step // BLOCK_LENGTH + 1) * BLOCK_LENGTH
        logits = network(ids[None]).logits[0]
        if shifted:
            logits = torch.cat([logits[:1], logits[:-1]])
        allowed = logits.clone()
        allowed[:, mask] = -torch.inf
        token = allowed.argmax(-1)
        confidence = logits.softmax(-1).gather(1, token[:, None])[:, 0]
        confidence[ids != mask] = -torch.inf
        confidence[end:] = -torch.inf
        surest = int(confidence.argmax())
        ids[surest] = token[surest]
        canvases.append(ids[start:].tolist())
    return canvases


def prompts_of(model: MaskedDiffusionModel) -> list[Prompt]:
    problems = [Problem(id=f"p{i}", question=q, answer="4") for i, q in enumerate(QUESTIONS)]
    chats = [
        build_prompt(problem, place, model, style="chat", gen_length=8)
        for place, problem in enumerate(problems)
    ]
    short = Prompt(replace(problems[0], id="one token"), 3, 7, (40,), (41,))
    return [*chats, short]


@pytest.mark.parametrize("family", STOCK)
def test_every_step_is_the_twins(
    dense: Callable[..., Path], packed: Callable[..., dict[str, Any]], family: str
) -> None:
    """Of prompts as short as a single token, whose last token a shifted family reads first."""
    model = load_model(dense(family), device="cpu")
    network = dense_network(family, model)
    prompts = prompts_of(model)
    columns = packed(model, CONFIG, prompts, budget=200)
    for prompt in prompts:
        expected = twin_canvases(network, model, prompt.token_ids, shifted=family == "Dream")
        assert columns[prompt.problem.id]["token"].tolist() == expected


def test_a_prompt_without_tokens_is_refused(dense: Callable[..., Path]) -> None:
    """Where nothing stands before a position, a shifted family cannot predict it."""
    model = load_model(dense("Dream"), device="cpu", weights=False)
    model.tokenizer.chat_template = "{{ '' }}"
    problem = Problem(id="p", question="", answer=None)
    with pytest.raises(PromptError, match="the prompt has no tokens"):
        build_prompt(problem, 0, model, style="chat", gen_length=8)


@pytest.mark.parametrize("where", ["question", "answer"])
def test_a_token_that_the_model_does_not_have_is_refused(
    dense: Callable[..., Path], where: str
) -> None:
    """Of a tokenizer with 560 tokens, beside weights for as many as the largest but one."""
    model = load_model(dense("A2D-Llama"), device="cpu")
    texts = {"question": "", "answer": "3"} | {where: "What is 4 plus 4?"}
    problem = Problem(id="p", question=texts["question"], answer=texts["answer"])
    prompt = build_prompt(problem, 0, model, style="raw", gen_length=8)
    largest = max(prompt.token_ids if where == "question" else prompt.answer_ids)
    assert largest == max(*prompt.token_ids, *prompt.answer_ids)
    for rows in (largest, largest + 1):
        cut = type("Cut", (), {"head_weight": model.head_weight[:rows]})()
        for name in ("tokenizer", "max_length", "token_ids", "family"):
            setattr(cut, name, getattr(model, name))
        if rows > largest:
            assert build_prompt(problem, 0, cut, style="raw", gen_length=8) == prompt
            continue
        says = rf"the tokenizer gives token {largest}, and the model has {largest} tokens, from 0"
        with pytest.raises(PromptError, match=says):
            build_prompt(problem, 0, cut, style="raw", gen_length=8)


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def test_a_run_of_dream_decodes_with_dreams_sampler(
    dense: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    short = ["--problems", "generated:2", "--gen-length", "8", "--device", "cpu", "--out", out]
    done = invoke("run", "--model", dense("Dream"), *short)
    assert done.exit_code == 0, done.output
    run = open_run(out)
    assert run.info["config"]["policy"] == "dream"
    assert run.info["model"]["architecture"] == "DreamModel"
    assert run.info["model"]["mask_token_id"] == 323
    verified = invoke("verify", out)
    assert verified.exit_code == 0, verified.output


def test_no_code_of_the_checkpoint_runs(dense: Callable[..., Path]) -> None:
    path = dense("Dream")
    witness = path / "executed"
    planted = f"open({str(witness)!r}, 'w').write('ran')\n"
    for module in ("modeling_dream", "configuration_dream", "tokenization_dream"):
        (path / f"{module}.py").write_text(planted)
    assert "auto_map" in json.loads((path / "tokenizer_config.json").read_text())
    load_model(path, device="cpu")
    assert not witness.exists()
