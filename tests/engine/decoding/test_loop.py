"""Packed decoding against the published algorithm written out slowly: batch 1, full canvas, dense
logits.

The twin follows Nie et al. 2025, Algorithms 4-5, and the options of the published generate.py; only
the noise is ours.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.policies.llada_options import LLaDAOptions
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt, build_prompt
from diffengine.engine.runs.run import BUNDLED
from diffengine.kernels.noise import SCORE_DOMAIN, philox, token_noise, uniform


def full_logits(model: MaskedDiffusionModel, canvas: torch.Tensor) -> torch.Tensor:
    hidden = model.hidden(
        canvas, torch.arange(len(canvas)), packing_of([len(canvas)], model.device)
    )
    return hidden @ model.head_weight.T


def published(model: MaskedDiffusionModel, config: RunConfig, prompt: Prompt) -> list[list[int]]:
    """The generated canvas after each step, by the published loop."""
    mask, eos, eot = model.token_ids
    assert eot is not None
    options = config.sampler
    assert isinstance(options, LLaDAOptions)
    start, literal = len(prompt.token_ids), options.numerics == "reference"
    x = torch.tensor([*prompt.token_ids, *[mask] * config.gen_length])
    prompt_index = x != mask
    n_blocks = config.gen_length // options.block_length
    per_block = config.steps // n_blocks
    states, step = [], 0
    for block in range(n_blocks):
        end = start + (block + 1) * options.block_length
        masked_in_block = int((x[end - options.block_length : end] == mask).sum())
        base, rest = masked_in_block // per_block, masked_in_block % per_block
        for i in range(per_block):
            masked = x == mask
            logits = full_logits(model, x)
            if options.cfg_scale > 0:
                blind = torch.where(prompt_index, mask, x)
                without = full_logits(model, blind)
                logits = without + (options.cfg_scale + 1) * (logits - without)
            if options.logits_eos_inf:
                logits[:, eos] = -torch.inf
            proposable = logits.clone()
            if (
                not literal
            ):  # our default: the mask token and the head's padding rows are never predicted
                proposable[:, mask] = -torch.inf
                proposable[:, model.n_candidates :] = -torch.inf
            position = torch.arange(len(x)) - start
            counter = torch.stack(
                [
                    torch.full_like(position, prompt.key),
                    position.clamp_min(0),
                    torch.full_like(position, step),
                ],
                1,
            )
            if options.temperature > 0:
                noise = token_noise(counter, vocabulary=logits.shape[1], seed=options.seed)
                x0 = (proposable.double().exp() / noise**options.temperature).argmax(-1)
            else:
                x0 = proposable.argmax(-1)
            if options.confidence_eos_eot_inf:
                logits[:, eot] = -torch.inf
                if options.temperature == 0:
                    logits[:, eos] = -torch.inf
            if options.remasking == "random":
                key, place, at = counter.unbind(1)
                confidence = uniform(
                    philox((torch.full_like(key, SCORE_DOMAIN), place, at, key), key=options.seed)[
                        0
                    ]
                )
            else:
                judged = (
                    logits if literal else logits.float()
                )  # the reference stays in the model's dtype
                confidence = judged.softmax(-1).gather(1, x0[:, None]).squeeze(1)
            confidence[end:] = -torch.inf
            confidence = torch.where(masked, confidence, -torch.inf)
            count = base + (i < rest)
            if literal:
                chosen = confidence.topk(count).indices
            else:
                chosen = torch.tensor(
                    sorted(range(len(x)), key=lambda p: (-float(confidence[p]), p))[:count],
                    dtype=torch.int64,
                )
            chosen = chosen[masked[chosen]]
            x[chosen] = x0[chosen]
            states.append(x[start:].tolist())
            step += 1
    return states


BASE = RunConfig.of(model="test", steps=16, gen_length=16, block_length=8)
GRID = {
    "greedy": {},
    "one block": {"block_length": 16},
    "few steps": {"steps": 6, "block_length": 8},
    "uneven steps": {"steps": 10, "gen_length": 12, "block_length": 6},
    "more steps than tokens": {"steps": 40},
    "single step": {"steps": 1, "block_length": 16},
    "one token": {"steps": 1, "gen_length": 1, "block_length": 1},
    "blocks of one": {"block_length": 1},
    "random": {"remasking": "random"},
    "warm": {"temperature": 0.7},
    "hot random": {"temperature": 1.5, "remasking": "random", "seed": 12345678901},
    "guided": {"cfg_scale": 1.5},
    "guided warm": {"cfg_scale": 0.5, "temperature": 0.3},
    "no eos": {"logits_eos_inf": True},
    "eos last": {"confidence_eos_eot_inf": True},
    "eos last warm": {"confidence_eos_eot_inf": True, "temperature": 0.5},
    "everything": {
        "logits_eos_inf": True,
        "confidence_eos_eot_inf": True,
        "cfg_scale": 0.8,
        "temperature": 0.2,
        "steps": 8,
    },
}


@pytest.mark.parametrize("which", ["random_model", "bundled_model"])
@pytest.mark.parametrize(
    ("name", "numerics"), list(itertools.product(GRID, ["default", "reference"]))
)
def test_every_step_is_the_published_one(
    name: str, numerics: str, which: str, request: pytest.FixtureRequest, packed, prompts_of
) -> None:
    model = request.getfixturevalue(which)
    config = BASE.changed(numerics=numerics, **GRID[name])
    prompts = prompts_of(model, config.gen_length)
    found = packed(model, config, prompts)
    for prompt in prompts:
        assert found[prompt.problem.id]["token"].tolist() == published(model, config, prompt), (
            prompt.problem.question
        )


@pytest.mark.parametrize("name", ["greedy", "warm", "guided", "eos last", "everything"])
@pytest.mark.parametrize("numerics", ["default", "reference"])
def test_bfloat16_follows_the_published_dtypes(
    name: str, numerics: str, packed, prompts_of
) -> None:
    model = load_model(
        BUNDLED, device="cpu", dtype="bfloat16"
    )  # confidences have eight bits: ties everywhere
    config = BASE.changed(numerics=numerics, dtype="bfloat16", **GRID[name])
    prompts = prompts_of(model, config.gen_length)
    found = packed(model, config, prompts)
    for prompt in prompts:
        assert found[prompt.problem.id]["token"].tolist() == published(model, config, prompt), (
            prompt.problem.question
        )


FLOATS = [
    "logprob",
    "margin",
    "logsumexp",
    "entropy",
    "kl",
    "logit_mean",
    "logit_std",
    "answer_logprob",
    "cka",
    "cka_masked",
    "cka_committed",
    "state_masked",
    "topk_logit",
]


def assert_same(one: dict, two: dict) -> None:
    for name in ("token", "committed", "prediction", "n_masked", "performed"):
        assert np.array_equal(one[name], two[name]), name
    for name in FLOATS:
        np.testing.assert_allclose(one[name], two[name], atol=1e-5, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "changes", [{}, {"temperature": 0.8}, {"cfg_scale": 1.0}, {"remasking": "random"}], ids=str
)
def test_a_problem_is_the_same_alone_in_any_batch_in_any_order(
    bundled_model: MaskedDiffusionModel, changes: dict, packed, prompts_of
) -> None:
    config = BASE.changed(steps=24, gen_length=24, **changes)
    prompts = prompts_of(bundled_model, config.gen_length)
    together = packed(bundled_model, config, prompts)
    alone = {p.problem.id: packed(bundled_model, config, [p])[p.problem.id] for p in prompts}
    narrow = packed(
        bundled_model, config, prompts[::-1], budget=200
    )  # rows enter while others are half way
    waiting = packed(bundled_model, config, prompts[2:] + prompts[:2], budget=200, refill=False)
    for other in (alone, narrow, waiting):
        for key, columns in together.items():
            assert_same(columns, other[key])


def test_a_trajectory_that_predicts_the_mask_token_ends(
    random_checkpoint, packed, prompts_of
) -> None:
    from safetensors.torch import load_file, save_file

    from diffengine.engine.models.loading import load_model

    path = random_checkpoint(scale=4.0)
    tensors = load_file(path / "model.safetensors")
    head = tensors["model.transformer.ff_out.weight"]
    head[5] = head.abs().sum(0)  # the mask token's logit is large for many states
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    model = load_model(path, device="cpu")
    prompts = prompts_of(model, 16)
    default = packed(model, BASE, prompts)
    literal = packed(model, BASE.changed(numerics="reference"), prompts)
    assert all((c["token"][-1] != 5).all() for c in default.values())
    assert any((c["token"][-1] == 5).any() for c in literal.values())
    for prompt in prompts:
        assert literal[prompt.problem.id]["token"].tolist() == published(
            model, BASE.changed(numerics="reference"), prompt
        )


def test_the_shortest_rows_are_bit_equal_alone_and_in_company(
    bundled_model: MaskedDiffusionModel, packed
) -> None:
    config = BASE.changed(steps=2, gen_length=2, block_length=2)
    problems = [
        Problem(id=f"p{i}", question=q, answer="1")
        for i, q in enumerate(("", "2", "a b", "9 " * 60))
    ]
    prompts = [
        build_prompt(p, i, bundled_model, style="raw", gen_length=2) for i, p in enumerate(problems)
    ]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(
            2
        )  # the fewer rows a thread has, the sooner the BLAS changes its path
        together = packed(bundled_model, config, prompts)
        alone = {p.problem.id: packed(bundled_model, config, [p])[p.problem.id] for p in prompts}
    finally:
        torch.set_num_threads(threads)
    for key, columns in together.items():
        for name in ("token", "entropy", "logsumexp", "topk_logit"):
            assert np.array_equal(alone[key][name], columns[name]), name
