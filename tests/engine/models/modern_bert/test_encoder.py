"""ModernBERT chat models: the packed network is the stock class run densely, logits are products of
extended states and head, and decoding is a slow twin's."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffengine.engine.cli.command_line import group
from diffengine.engine.config import RunConfig
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.compiled import compiled
from diffengine.engine.models.encoder import encoder_flops, seen_pairs
from diffengine.engine.models.family import CheckpointError, TokenIds
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.models.modern_bert import CHAT_TEMPLATE
from diffengine.engine.models.reads import reads_of
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt, prompt_text
from diffengine.engine.runs.run import BUNDLED
from diffengine.engine.store import open_run
from diffengine.kernels.geometry import LogitGeometry

MASK = 5
LENGTHS = [70, 13, 33, 33, 91]
"""Rows within the window of 12 to each side, and beyond it."""
CONFIG = RunConfig.of(model="test", steps=8, gen_length=8, block_length=4, logits_dtype="float32")


def packed_batch(lengths: list[int]) -> tuple[Tensor, Tensor]:
    ids = torch.randint(6, 500, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    return ids, torch.cat([torch.arange(length) for length in lengths])


@torch.inference_mode()
def test_packed_it_is_the_stock_class_run_densely(
    stock: Callable[[Path], Any],
    checkpoint: Callable[..., Path],
) -> None:
    """In a batch with padding, and alone; rows within the window and beyond it."""
    path = checkpoint()
    model, dense = load_model(path, device="cpu"), stock(path)
    ids, positions = packed_batch(LENGTHS)
    hidden = model.hidden(ids, positions, packing_of(LENGTHS, model.device))
    ours = (hidden @ model.head_weight.T).split(LENGTHS)

    rows = ids.split(LENGTHS)
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=1)
    seen = torch.arange(padded.shape[1]) < torch.tensor(LENGTHS)[:, None]
    batched = dense(padded, attention_mask=seen.long()).logits
    for row, logits, of_batch, length in zip(rows, ours, batched, LENGTHS, strict=True):
        alone = model.hidden(row, torch.arange(length), packing_of([length], model.device))
        torch.testing.assert_close(logits, dense(row[None]).logits[0], atol=2e-5, rtol=2e-5)
        torch.testing.assert_close(logits, of_batch[:length], atol=2e-5, rtol=2e-5)
        torch.testing.assert_close(alone @ model.head_weight.T, logits, atol=2e-5, rtol=2e-5)


@torch.inference_mode()
def test_the_window_is_what_a_changed_token_says(model: MaskedDiffusionModel) -> None:
    """One layer with a window: a token further away than half of it moves nothing."""
    layers = model.network.model.encoder.layers
    model.network.model.encoder.layers = torch.nn.ModuleList([layers[1]])
    ids = torch.randint(6, 500, (60,), generator=torch.Generator().manual_seed(0))
    changed = ids.clone()
    changed[30] += 1
    packing = packing_of([60], model.device)
    before, after = (model.hidden(i, torch.arange(60), packing) for i in (ids, changed))
    moved = (before != after).any(-1).nonzero().flatten().tolist()
    assert moved == list(range(30 - 12, 30 + 12 + 1))


@pytest.mark.parametrize("offset", [0, -1])
def test_what_is_read_is_what_is_computed(model: MaskedDiffusionModel, offset: int) -> None:
    ids, positions = packed_batch(LENGTHS)
    packing = packing_of(LENGTHS, model.device)
    reads = reads_of(LENGTHS, packing, rows=len(LENGTHS), each=8, offset=offset)
    whole = model.hidden(ids, positions, packing)
    read = model.hidden_read(ids, positions, packing, reads)
    torch.testing.assert_close(read, whole[reads.read], atol=1e-6, rtol=1e-6)


def test_no_pass_waits_for_the_device(model: MaskedDiffusionModel, refusing_waits: Any) -> None:
    ids, positions = packed_batch(LENGTHS)
    packing = packing_of(LENGTHS, model.device)
    reads = reads_of(LENGTHS, packing, rows=len(LENGTHS), each=8)
    with refusing_waits():
        model.hidden_read(ids, positions, packing, reads)


def test_the_bias_is_one_more_feature(checkpoint: Callable[..., Path]) -> None:
    path = checkpoint()
    model = load_model(path, device="cpu")
    tensors = load_file(path / "model.safetensors")
    embedding = tensors["model.embeddings.tok_embeddings.weight"]
    assert model.head_weight.shape == (560, 64)  # 60 features, the bias, and three of zeros
    assert torch.equal(model.head_weight[:, :60], embedding)
    assert torch.equal(model.head_weight[:, 60], tensors["decoder.bias"])
    assert not model.head_weight[:, 61:].any()
    ids, positions = packed_batch([40])
    hidden = model.hidden(ids, positions, packing_of([40], model.device))
    assert bool((hidden[:, 60] == 1).all())
    assert not hidden[:, 61:].any()
    assert hidden[:, :60].std() > 0.1
    full = load_model(checkpoint("full", hidden_size=80), device="cpu", weights=False)
    assert full.head_weight.shape == (560, 88)


@torch.inference_mode()
def test_geometry_of_logits_is_exact(
    stock: Callable[[Path], Any], checkpoint: Callable[..., Path]
) -> None:
    """Inner products of centred logits, in float64, from the stock class."""
    path = checkpoint()
    model, dense = load_model(path, device="cpu"), stock(path)
    ids, positions = packed_batch([40])
    hidden = model.hidden(ids, positions, packing_of([40], model.device))
    logits = dense(ids[None]).logits[0].double()
    centred = logits - logits.mean(0)
    grams = LogitGeometry(model.head_weight).centred_grams(hidden)
    scale = float((centred @ centred.T).abs().max())
    torch.testing.assert_close(
        grams.double() / scale, centred @ centred.T / scale, atol=5e-6, rtol=0
    )


@torch.inference_mode()
def twin_steps(dense: Any, prompt: Prompt) -> list[tuple[list[int], Tensor]]:
    """Nie et al. 2025, Algorithm 5, greedy, of one problem: the generated tokens after each step and
    the logits that it saw."""
    start = len(prompt.token_ids)
    ids = torch.tensor([*prompt.token_ids, *[MASK] * 8])
    steps = []
    for step in range(8):
        end = start + (step // 4 + 1) * 4
        seen = dense(ids[None]).logits[0]
        allowed = seen.clone()
        allowed[:, MASK] = -torch.inf
        token = allowed.argmax(-1)
        confidence = seen.softmax(-1).gather(1, token[:, None])[:, 0]
        confidence[ids != MASK] = -torch.inf
        confidence[end:] = -torch.inf
        surest = int(confidence.argmax())
        ids[surest] = token[surest]
        steps.append((ids[start:].tolist(), seen[start:].double()))
    return steps


def test_every_step_is_the_twins(
    stock: Callable[[Path], Any],
    checkpoint: Callable[..., Path],
    prompts_of: Callable[..., list[Prompt]],
    packed: Callable[..., dict[str, Any]],
) -> None:
    path = checkpoint()
    model, dense = load_model(path, device="cpu"), stock(path)
    prompts = prompts_of(model, 8)
    columns = packed(model, CONFIG, prompts, budget=300)
    for prompt in prompts:
        of_problem = columns[prompt.problem.id]
        for step, (tokens, logits) in enumerate(twin_steps(dense, prompt)):
            assert of_problem["token"][step].tolist() == tokens
            logprob = logits.log_softmax(-1)
            entropy = -(logprob.exp() * logprob).sum(-1).numpy() / math.log(2)  # bits
            np.testing.assert_allclose(of_problem["entropy"][step], entropy, atol=1e-3, rtol=1e-3)


def test_a_run_keeps_states_from_which_the_logits_follow(
    stock: Callable[[Path], Any], checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    path, out = checkpoint(), tmp_path / "run"
    arguments = ["run", "--problems", "generated:3", "--model", str(path), "--out", str(out)]
    settings = ["--steps", "8", "--gen-length", "8", "--block-length", "4", "--device", "cpu"]
    kept = ["--save-logits", "hidden", "--no-mean-hidden"]
    done = CliRunner().invoke(group, [*arguments, *settings, *kept])
    assert done.exit_code == 0, done.output
    run = open_run(out)
    model, dense = load_model(path, device="cpu"), stock(path)
    for row, problem_id in enumerate(run.ids):
        problem = next(p for p in run.problems if p.id == problem_id)
        text = prompt_text(problem, model, style="chat")
        ids = tuple(model.tokenizer.encode(text, add_special_tokens=False))
        steps = twin_steps(dense, Prompt(problem, 0, 0, ids, ()))
        assert run["token"][row].tolist() == [tokens for tokens, _ in steps]
        hidden = torch.from_numpy(run["hidden"][row]).double()
        for step, (_, logits) in enumerate(steps):
            rebuilt = hidden[step] @ model.head_weight.double().T
            torch.testing.assert_close(rebuilt, logits, atol=1e-4, rtol=1e-4)


def test_prompts_and_tokens_are_the_published_ones(model: MaskedDiffusionModel) -> None:
    assert model.token_ids == TokenIds(mask=5, eos=1, eot=None)
    problem = Problem(id="p", question=" 2 + 2?\n", answer="4")
    text = prompt_text(problem, model, style="chat")
    assert text == "[Question]\n2 + 2?\n[/Question]\n\n[Answer]\n"
    turns = [
        {"role": "system", "content": "Be brief. "},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
    ]
    first = "[SYS]\nBe brief.\n[/SYS]\n\n[Question]\n2 + 2?\n[/Question]\n\n"
    assert rendered(turns) == first + "[Answer]\n4\n[/Answer]\n\n"


def rendered(turns: list[dict[str, str]]) -> str:
    """The family's template as transformers renders it."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(BUNDLED / "tokenizer.json"))
    return str(
        tokenizer.apply_chat_template(
            turns, chat_template=CHAT_TEMPLATE, tokenize=False, add_generation_prompt=True
        )
    )


def test_arithmetic_is_torchs_and_of_a_window_what_it_needs(
    model: MaskedDiffusionModel,
) -> None:
    lengths = [13, 13, 9]  # within the window, where the whole row is computed
    ids, positions = packed_batch(lengths)
    packing = packing_of(lengths, model.device)
    reads = reads_of(lengths, packing, rows=3, each=8)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.hidden_read(ids, positions, packing, reads)
    angles = 2 * 2 * 6 * sum(lengths)  # transformers 5.17 counts them: see test_flops
    assert counter.get_total_flops() - model.flops_read(reads) in (0, angles)

    for length, reach in ((40, 12), (13, 12), (14, 12), (5, 0), (1, 3)):
        pairs = sum(abs(i - j) <= reach for i in range(length) for j in range(length))
        assert seen_pairs(length, reach) == pairs
    config = copy.deepcopy(model.network.config)
    shorter = encoder_flops(config, [40], read=8)
    config.layer_types = ["full_attention"] * 5
    assert encoder_flops(config, [40], read=8) - shorter == 3 * 4 * 60 * (1600 - seen_pairs(40, 12))


def test_bfloat16_keeps_float32_frequencies(checkpoint: Callable[..., Path]) -> None:
    model = load_model(checkpoint(), device="cpu", dtype="bfloat16")
    rotary = model.network.model.encoder.rotary_emb
    kinds = {name: buffer.dtype for name, buffer in rotary.named_buffers()}
    assert len(kinds) == 4
    assert set(kinds.values()) == {torch.float32}
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}
    assert model.head_weight.dtype == torch.bfloat16


def test_compiling_is_refused_in_one_sentence(model: MaskedDiffusionModel) -> None:
    with pytest.raises(
        CheckpointError, match=r"ModernBertForMaskedLM is no stock.*without --compile"
    ):
        compiled(model, most_tokens=100)
