"""LLaDA2: the stock class computes the published network block by block, alone and in a batch, and
decoding is a slow twin's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.block_reads import BlockReads
from diffengine.engine.models.compiled import compiled
from diffengine.engine.models.experts import has_experts
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.forward import Forward
from diffengine.engine.models.fused import fused
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs.memory import footprint, memory_need

LENGTHS = [29, 12, 12, 40]
BLOCK = 8
MASK = 5
CONFIG = RunConfig.of(
    model="test",
    policy="sdar",
    remasking_strategy="low_confidence_static",
    temperature=0.0,
    gen_length=12,
    block_length=BLOCK,
    logits_dtype="float32",
    eos_early_stop=False,
)


def packed_batch(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(6, 500, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    return ids, torch.cat([torch.arange(length) for length in lengths])


def doubled(model: MaskedDiffusionModel) -> MaskedDiffusionModel:
    """The model in float64, its experts one after the other as they come."""
    model.network.config._experts_implementation = "eager"
    model.network.double()
    return model


ROUTINGS = {
    "as published": {},
    "one group": {"n_group": 1, "topk_group": 1},
    "one expert": {"num_experts_per_tok": 1},
    "all dense before": {"first_k_dense_replace": 2, "num_shared_experts": 2},
    "no dense": {"first_k_dense_replace": 0, "partial_rotary_factor": 1.0, "rotary_dim": 24},
}


@pytest.mark.parametrize("routing", sorted(ROUTINGS))
def test_the_stock_class_computes_the_published_network(
    llada2: Callable[..., Path], published: Any, whole_rows: Any, in_float64: Any, routing: str
) -> None:
    path = llada2(**ROUTINGS[routing])
    model = doubled(load_model(path, device="cpu"))
    ids, positions = packed_batch(LENGTHS)
    with in_float64():
        hidden = model.hidden(ids, positions, whole_rows(LENGTHS, BLOCK))
    logits = hidden @ model.head_weight.T
    twin = published(path)
    for row, piece in zip(logits.split(LENGTHS), ids.split(LENGTHS), strict=True):
        expected = twin.logits(piece, block=BLOCK)
        torch.testing.assert_close(row, expected, atol=1e-10, rtol=1e-10)


def test_the_bias_chooses_and_does_not_weigh(llada2: Callable[..., Path], published: Any) -> None:
    """So the twin's routing is no other by chance: the bias changes most tokens' experts, and the
    weights add up to the scaling whatever it is."""
    twin = published(llada2())
    tokens = torch.randn(50, 64, generator=torch.Generator().manual_seed(2)).double()
    name = "model.layers.1.mlp"
    with_bias = [twin.routed(name, token) for token in tokens]
    twin.weights[f"{name}.gate.expert_bias"].zero_()
    without = [twin.routed(name, token) for token in tokens]
    others = [set(a) != set(b) for a, b in zip(with_bias, without, strict=True)]
    assert sum(others) > 10
    for routed in [*with_bias, *without]:
        assert sum(routed.values()) == pytest.approx(2.5)
        groups = {expert // 4 for expert in routed}
        assert len(groups) <= 2


@torch.inference_mode()
def test_packed_it_is_the_stock_class_run_densely(
    llada2: Callable[..., Path], whole_rows: Any
) -> None:
    model = load_model(llada2(), device="cpu")
    config = copy.deepcopy(model.network.config)
    config._attn_implementation = "eager"
    dense = type(model.network)(config).eval()
    dense.load_state_dict(model.network.state_dict())

    ids, positions = packed_batch(LENGTHS)
    states = model.hidden(ids, positions, whole_rows(LENGTHS, BLOCK)).split(LENGTHS)
    for row, piece in zip(states, ids.split(LENGTHS), strict=True):
        block = torch.arange(len(piece)) // BLOCK
        hidden = block[None, :] > block[:, None]
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
        logits = dense(piece[None], attention_mask=mask[None, None]).logits[0]
        torch.testing.assert_close(row @ model.head_weight.T, logits, atol=3e-5, rtol=3e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_rows_states_are_its_own_in_any_batch(
    llada2: Callable[..., Path], whole_rows: Any, dtype: str
) -> None:
    """To rounding: an expert's product has as many rows as chose it, from all of the batch."""
    model = load_model(llada2(), device="cpu", dtype=dtype)
    ids, positions = packed_batch(LENGTHS)
    together = model.hidden(ids, positions, whole_rows(LENGTHS, BLOCK))
    atol = 1e-5 if dtype == "float32" else 0.05
    for row, piece in zip(together.split(LENGTHS), ids.split(LENGTHS), strict=True):
        packing = whole_rows([len(piece)], BLOCK)
        alone = model.hidden(piece, torch.arange(len(piece)), packing)
        torch.testing.assert_close(row, alone, atol=atol, rtol=atol)


@torch.inference_mode()
def twin_tokens(twin: Any, prompt: Prompt) -> list[list[int]]:
    """The published loop, one token a step: blocks from the prompt's first token on, all before and
    in the open one run anew in each step, the surest mask of the block committed. Generated tokens
    after each step, those behind `gen_length` left out."""
    start = len(prompt.token_ids)
    blocks = -(-(start + CONFIG.gen_length) // BLOCK)
    masks = [MASK] * (blocks * BLOCK - start)
    ids = torch.tensor([*prompt.token_ids, *masks])
    steps = []
    for block in range(start // BLOCK, blocks):
        end = (block + 1) * BLOCK
        while bool((ids[:end] == MASK).any()):
            logits = twin.logits(ids[:end], block=BLOCK)
            logits[:, MASK] = -torch.inf
            confidence, token = logits.softmax(-1).max(-1)
            confidence[ids[:end] != MASK] = -torch.inf
            surest = int(confidence.argmax())
            ids[surest] = token[surest]
            steps.append(ids[start : start + CONFIG.gen_length].tolist())
    return steps


@pytest.mark.parametrize("keeps", [False, True], ids=["no cache", "cache"])
def test_every_step_is_the_twins(
    llada2: Callable[..., Path],
    published: Any,
    prompts_of: Callable[..., list[Prompt]],
    keeps: bool,
) -> None:
    path = llada2()
    model = load_model(path, device="cpu")
    assert type(model.forward) is Forward
    assert model.sampler_defaults["block_length"] == 32
    prompts = prompts_of(model, CONFIG.gen_length)[1:4]
    decoder = Setup(model, CONFIG, keeps=keeps).decoder(prompts, budget=2048)
    done = {f.problem.id: f.columns for f in decoder.decode(iter(prompts))}
    twin = published(path)
    for prompt in prompts:
        steps = twin_tokens(twin, prompt)
        token = done[prompt.problem.id]["token"]
        assert token[: len(steps)].tolist() == steps


def test_the_count_of_flops_is_torchs(llada2: Callable[..., Path], whole_rows: Any) -> None:
    """Router, chosen experts and the shared one, a dense layer, and pairs of tokens."""
    model = load_model(llada2(), device="cpu")
    model.network.config._experts_implementation = "eager"  # products that torch counts
    ids, positions = packed_batch(LENGTHS)
    packing = whole_rows(LENGTHS, BLOCK)
    every = torch.arange(len(ids))
    pairs = sum(span.pairs for span in packing.spans)
    reads = BlockReads(written=every, source=every, read=every, tokens=len(ids), pairs=pairs)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            model.hidden_read(ids, positions, packing, reads)
    by_module = counter.get_flop_counts()
    angles = sum(sum(kinds.values()) for name, kinds in by_module.items() if "rotary" in name)
    assert model.flops_read(reads) == counter.get_total_flops() - angles


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_no_pass_waits_for_the_device(
    llada2: Callable[..., Path], whole_rows: Any, refusing_waits: Any, dtype: str
) -> None:
    """Neither the router nor the experts, as transformers groups their products."""
    model = load_model(llada2(), device="cpu", dtype=dtype)
    ids, positions = packed_batch(LENGTHS)
    packing = whole_rows(LENGTHS, BLOCK)
    with refusing_waits():
        model.hidden(ids, positions, packing)


def test_memory_counts_every_expert_and_every_copy_of_a_token(
    llada2: Callable[..., Path], llada2_shapes: dict[str, tuple[int, ...]]
) -> None:
    model = load_model(llada2(), device="cpu", weights=False)
    parameters = [s for name, s in llada2_shapes.items() if not name.endswith("expert_bias")]
    numbers = sum(torch.Size(shape).numel() for shape in parameters)
    need = memory_need(CONFIG, model, capacity=1, tokens=100)
    assert next(factor.amount for factor in need if factor.name == "weights") == 4 * numbers
    # three experts of 32 inner features, each with a copy of 64 features, beside a dense 96
    assert footprint(CONFIG, model).mlp == 3 * (32 + 64)
    dense = load_model(llada2("dense", first_k_dense_replace=3), device="cpu", weights=False)
    assert footprint(CONFIG, dense).mlp == 96


def test_layers_with_experts_are_the_stock_classs(llada2: Callable[..., Path]) -> None:
    for dense in range(4):
        path = llada2(f"dense-{dense}", first_k_dense_replace=dense)
        network = load_model(path, device="cpu", weights=False).network
        for number, layer in enumerate(network.model.layers):
            assert has_experts(network.config, number) == hasattr(layer.mlp, "experts")


def test_what_replaces_layers_is_refused_in_one_sentence(llada2: Callable[..., Path]) -> None:
    model = load_model(llada2(), device="cpu", weights=False)
    with pytest.raises(CheckpointError, match=r"attends block by block.*run without --fused$"):
        fused(model)
    with pytest.raises(CheckpointError, match=r"attends block by block.*run without --compile$"):
        compiled(model, most_tokens=100)
