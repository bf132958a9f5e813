"""Packed decoding against the published algorithm written out slowly: batch 1, full canvas, dense logits.

The twin follows Nie et al. 2025, Algorithms 4-5, and the options of the published generate.py; only the noise is ours.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from diffengine.engine.canvas import Canvas, capacity_for
from diffengine.engine.config import RunConfig
from diffengine.engine.decode import decode
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies.llada import LLaDAPolicy
from diffengine.engine.problems import Problem
from diffengine.engine.prompts import Prompt, build_prompt
from diffengine.engine.record import Recorder
from diffengine.kernels.gumbel import SCORE_DOMAIN, token_noise
from diffengine.kernels.head import Head
from diffengine.kernels.philox import philox, uniform

QUESTIONS = (
    "Ann has 5 rocks. Ann finds 3 rocks. How many rocks does Ann have now?",
    "2 + 2?",
    "",
    "A book costs 7 dollars. Ben buys 4 of them. Ben also buys a pen for 12 dollars. How many dollars does Ben pay?",
    "Wie viele Äpfel sind das? 三 + 四",
    "Mia has 9 cards. Leo has 4 more than Mia. How many cards does Leo have?",
)


def prompts_for(model: MaskedDiffusionModel, gen_length: int) -> list[Prompt]:
    problems = [Problem(id=f"p{i}", question=q, answer=str(11 * i)) for i, q in enumerate(QUESTIONS)]
    return [build_prompt(p, i, model, style="chat", gen_length=gen_length) for i, p in enumerate(problems)]


def run_packed(
    model: MaskedDiffusionModel, config: RunConfig, prompts: list[Prompt], *, budget: int = 2048, refill: bool = True
) -> dict:
    policy = LLaDAPolicy(config, model.token_ids, n_candidates=model.n_candidates)
    capacity = capacity_for(prompts, gen_length=config.gen_length, token_budget=budget)
    canvas = Canvas(
        gen_length=config.gen_length,
        mask_id=model.token_ids.mask,
        performed=policy.performed,
        capacity=capacity,
        token_budget=budget,
        device=model.device,
        guided=config.cfg_scale > 0,
        refill=refill,
    )
    recorder = Recorder(model, config, capacity=capacity, n_answer=2)
    head = Head(model.head_weight, sampling=policy.sampling, guidance=config.cfg_scale)
    finished = list(decode(model, canvas, head, policy, recorder, iter(prompts)))
    assert len(finished) == len(prompts)
    return {f.problem.id: f.columns for f in finished}


def full_logits(model: MaskedDiffusionModel, canvas: torch.Tensor) -> torch.Tensor:
    hidden = model.hidden(canvas, torch.arange(len(canvas)), packing_of([len(canvas)], model.device))
    return hidden @ model.head_weight.T


def published(model: MaskedDiffusionModel, config: RunConfig, prompt: Prompt) -> list[list[int]]:
    """The generated canvas after each step, by the published loop."""
    mask, eos, eot = model.token_ids
    assert eot is not None
    start, literal = len(prompt.token_ids), config.numerics == "reference"
    x = torch.tensor([*prompt.token_ids, *[mask] * config.gen_length])
    prompt_index = x != mask
    n_blocks = config.gen_length // config.block_length
    per_block = config.steps // n_blocks
    states, step = [], 0
    for block in range(n_blocks):
        end = start + (block + 1) * config.block_length
        masked_in_block = int((x[end - config.block_length : end] == mask).sum())
        base, rest = masked_in_block // per_block, masked_in_block % per_block
        for i in range(per_block):
            masked = x == mask
            logits = full_logits(model, x)
            if config.cfg_scale > 0:
                blind = torch.where(prompt_index, mask, x)
                without = full_logits(model, blind)
                logits = without + (config.cfg_scale + 1) * (logits - without)
            if config.logits_eos_inf:
                logits[:, eos] = -torch.inf
            proposable = logits.clone()
            if not literal:  # our default: the mask token and the head's padding rows are never predicted
                proposable[:, mask] = -torch.inf
                proposable[:, model.n_candidates :] = -torch.inf
            position = torch.arange(len(x)) - start
            counter = torch.stack(
                [torch.full_like(position, prompt.key), position.clamp_min(0), torch.full_like(position, step)], 1
            )
            if config.temperature > 0:
                noise = token_noise(counter, vocabulary=logits.shape[1], seed=config.seed)
                x0 = (proposable.double().exp() / noise**config.temperature).argmax(-1)
            else:
                x0 = proposable.argmax(-1)
            if config.confidence_eos_eot_inf:
                logits[:, eot] = -torch.inf
                if config.temperature == 0:
                    logits[:, eos] = -torch.inf
            if config.remasking == "random":
                key, place, at = counter.unbind(1)
                confidence = uniform(philox((torch.full_like(key, SCORE_DOMAIN), place, at, key), key=config.seed)[0])
            else:
                confidence = logits.softmax(-1).gather(1, x0[:, None]).squeeze(1)
            confidence[end:] = -torch.inf
            confidence = torch.where(masked, confidence, -torch.inf)
            count = base + (i < rest)
            if literal:
                chosen = confidence.topk(count).indices
            else:
                chosen = torch.tensor(
                    sorted(range(len(x)), key=lambda p: (-float(confidence[p]), p))[:count], dtype=torch.int64
                )
            chosen = chosen[masked[chosen]]
            x[chosen] = x0[chosen]
            states.append(x[start:].tolist())
            step += 1
    return states


BASE = RunConfig(model="test", steps=16, gen_length=16, block_length=8)
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
@pytest.mark.parametrize(("name", "numerics"), list(itertools.product(GRID, ["default", "reference"])))
def test_every_step_is_the_published_one(name: str, numerics: str, which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    config = dataclasses.replace(BASE, numerics=numerics, **GRID[name])
    prompts = prompts_for(model, config.gen_length)
    packed = run_packed(model, config, prompts)
    for prompt in prompts:
        assert packed[prompt.problem.id]["token"].tolist() == published(model, config, prompt), prompt.problem.question


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


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.8}, {"cfg_scale": 1.0}, {"remasking": "random"}], ids=str)
def test_a_problem_is_the_same_alone_in_any_batch_in_any_order(
    bundled_model: MaskedDiffusionModel, changes: dict
) -> None:
    config = dataclasses.replace(BASE, steps=24, gen_length=24, **changes)
    prompts = prompts_for(bundled_model, config.gen_length)
    together = run_packed(bundled_model, config, prompts)
    alone = {p.problem.id: run_packed(bundled_model, config, [p])[p.problem.id] for p in prompts}
    narrow = run_packed(bundled_model, config, prompts[::-1], budget=200)  # rows enter while others are half way
    waiting = run_packed(bundled_model, config, prompts[2:] + prompts[:2], budget=200, refill=False)
    for other in (alone, narrow, waiting):
        for key, columns in together.items():
            assert_same(columns, other[key])


def test_masked_recording_agrees_where_it_records(bundled_model: MaskedDiffusionModel) -> None:
    everything = run_packed(bundled_model, BASE, prompts_for(bundled_model, 16))
    masked = run_packed(bundled_model, dataclasses.replace(BASE, record="masked"), prompts_for(bundled_model, 16))
    for key, columns in everything.items():
        kept = masked[key]
        assert np.array_equal(columns["token"], kept["token"])
        seen = np.concatenate([np.full((1, 16), True), columns["token"][:-1] == bundled_model.token_ids.mask])
        for name in ("entropy", "logprob", "margin"):
            assert np.isnan(kept[name][~seen]).all()
            np.testing.assert_allclose(kept[name][seen], columns[name][seen], atol=1e-5, rtol=1e-5)


def test_recorded_statistics_are_those_of_the_dense_logits(bundled_model: MaskedDiffusionModel) -> None:
    config = dataclasses.replace(BASE, save_logits="full")
    prompts = prompts_for(bundled_model, 16)
    for columns in run_packed(bundled_model, config, prompts).values():
        logits = torch.from_numpy(columns["logits"]).double()
        logp = logits.log_softmax(-1)
        p = logp.exp()
        close = {"rtol": 1e-4, "atol": 2e-5}
        np.testing.assert_allclose(columns["logsumexp"], logits.logsumexp(-1), **close)
        np.testing.assert_allclose(columns["entropy"], -(p * logp).sum(-1) / np.log(2), **close)
        kl = (p[1:] * (logp[1:] - logp[:-1])).sum(-1) / np.log(2)
        np.testing.assert_allclose(columns["kl"][1:], kl, **close)
        assert np.isnan(columns["kl"][0]).all()
        np.testing.assert_allclose(columns["logit_mean"], logits.mean(-1), **close)
        np.testing.assert_allclose(columns["logit_std"], logits.std(-1, correction=0), **close)
        ids = torch.from_numpy(columns["answer_token_id"]).long()
        for place, token in enumerate(ids.tolist()):
            expected = logp[:, :, token] if token >= 0 else torch.full_like(logp[:, :, 0], torch.nan)
            np.testing.assert_allclose(columns["answer_logprob"][:, :, place], expected, **close)
        allowed = logits.clone()
        allowed[:, :, bundled_model.token_ids.mask] = -torch.inf
        assert np.array_equal(columns["prediction"], allowed.argmax(-1))
        assert np.array_equal(columns["topk_logit"][..., 0], logits.amax(-1).float())


def test_skipped_steps_are_marked_and_carry_the_canvas(bundled_model: MaskedDiffusionModel) -> None:
    config = dataclasses.replace(BASE, steps=40)  # 20 steps for each block of 8: twelve commit nothing
    for columns in run_packed(bundled_model, config, prompts_for(bundled_model, 16)).values():
        assert columns["performed"].tolist() == ([1] * 8 + [0] * 12) * 2
        assert int(columns["n_forwards"]) == 16
        assert np.isnan(columns["entropy"][8:20]).all()
        assert (columns["token"][8:20] == columns["token"][7]).all()


def test_a_trajectory_that_predicts_the_mask_token_ends(random_checkpoint) -> None:
    from safetensors.torch import load_file, save_file

    from diffengine.engine.models.loading import load_model

    path = random_checkpoint(scale=4.0)
    tensors = load_file(path / "model.safetensors")
    head = tensors["model.transformer.ff_out.weight"]
    head[5] = head.abs().sum(0)  # the mask token's logit is large for many states
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    model = load_model(path, device="cpu")
    prompts = prompts_for(model, 16)
    default = run_packed(model, BASE, prompts)
    literal = run_packed(model, dataclasses.replace(BASE, numerics="reference"), prompts)
    assert all((c["token"][-1] != 5).all() for c in default.values())
    assert any((c["token"][-1] == 5).any() for c in literal.values())
    for prompt in prompts:
        assert literal[prompt.problem.id]["token"].tolist() == published(
            model, dataclasses.replace(BASE, numerics="reference"), prompt
        )


def test_the_shortest_rows_are_bit_equal_alone_and_in_company(bundled_model: MaskedDiffusionModel) -> None:
    config = dataclasses.replace(BASE, steps=2, gen_length=2, block_length=2)
    problems = [Problem(id=f"p{i}", question=q, answer="1") for i, q in enumerate(("", "2", "a b", "9 " * 60))]
    prompts = [build_prompt(p, i, bundled_model, style="raw", gen_length=2) for i, p in enumerate(problems)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)  # the fewer rows a thread has, the sooner the BLAS changes its path
        together = run_packed(bundled_model, config, prompts)
        alone = {p.problem.id: run_packed(bundled_model, config, [p])[p.problem.id] for p in prompts}
    finally:
        torch.set_num_threads(threads)
    for key, columns in together.items():
        for name in ("token", "entropy", "logsumexp", "topk_logit"):
            assert np.array_equal(alone[key][name], columns[name]), name
