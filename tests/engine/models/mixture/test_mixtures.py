"""LLaDA-MoE and RND1: the stock class computes the published network, alone and in a batch, and
decoding is a slow twin's."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffengine.engine.config import RunConfig
from diffengine.engine.models import llada_moe, rnd1
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.compiled import compiled
from diffengine.engine.models.family import CheckpointError, Family, TokenIds
from diffengine.engine.models.fused import fused
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.models.reading import ReadingForward
from diffengine.engine.models.reads import reads_of
from diffengine.engine.models.tokens import special_tokens
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt, prompt_text
from diffengine.engine.runs.memory import footprint, memory_need

FAMILIES = ["LLaDA-MoE", "RND1"]
LENGTHS = [70, 33, 33, 91, 120, 64]
MASK = 5
CONFIG = RunConfig.of(model="test", steps=8, gen_length=8, block_length=4, logits_dtype="float32")


def packed_batch(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(6, 500, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    return ids, torch.cat([torch.arange(length) for length in lengths])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stock_class_computes_the_published_network(
    mixture: Callable[..., Path], published: Any, family: str
) -> None:
    path = mixture(family)
    model = load_model(path, device="cpu")
    ids, positions = packed_batch(LENGTHS)
    hidden = model.hidden(ids, positions, packing_of(LENGTHS, model.device))
    logits = hidden @ model.head_weight.T
    twin = published(path)
    for row, piece in zip(logits.split(LENGTHS), ids.split(LENGTHS), strict=True):
        torch.testing.assert_close(row.double(), twin.logits(piece), atol=5e-5, rtol=5e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_and_read_it_is_the_stock_class_run_densely(
    mixture: Callable[..., Path], family: str
) -> None:
    model = load_model(mixture(family), device="cpu")
    config = copy.deepcopy(model.network.config)
    config._attn_implementation = "eager"
    dense = type(model.network)(config).eval()
    dense.load_state_dict(model.network.state_dict())

    ids, positions = packed_batch(LENGTHS)
    packing = packing_of(LENGTHS, model.device)
    reads = reads_of(LENGTHS, packing, rows=len(LENGTHS), each=16, offset=model.read_offset)
    assert type(model.forward) is ReadingForward
    states = model.hidden_read(ids, positions, packing, reads).split(16)
    for read, piece in zip(states, ids.split(LENGTHS), strict=True):
        with torch.inference_mode():
            logits = dense(piece[None]).logits[0]
        of_generated = torch.arange(len(piece) - 16, len(piece)) + model.read_offset
        torch.testing.assert_close(
            read @ model.head_weight.T, logits[of_generated], atol=2e-5, rtol=2e-5
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rows_states_are_its_own_in_any_batch(
    mixture: Callable[..., Path], family: str, dtype: str
) -> None:
    """To rounding: an expert's product has as many rows as chose it, from all of the batch."""
    model = load_model(mixture(family), device="cpu", dtype=dtype)
    ids, positions = packed_batch(LENGTHS)
    together = model.hidden(ids, positions, packing_of(LENGTHS, model.device))
    atol = 1e-5 if dtype == "float32" else 0.05
    for row, piece in zip(together.split(LENGTHS), ids.split(LENGTHS), strict=True):
        packing = packing_of([len(piece)], model.device)
        alone = model.hidden(piece, torch.arange(len(piece)), packing)
        torch.testing.assert_close(row, alone, atol=atol, rtol=atol)


@torch.inference_mode()
def twin_tokens(twin: Any, prompt: Prompt, config: RunConfig, *, shifted: bool) -> list[list[int]]:
    """Nie et al. 2025, Algorithm 5, greedy, of one problem, in float64: the generated tokens after
    each step. Where it is shifted, position i takes the logits of i - 1 (RND1, sampling.py)."""
    start = len(prompt.token_ids)
    ids = torch.tensor([*prompt.token_ids, *[MASK] * config.gen_length])
    steps = []
    for step in range(config.steps):
        end = start + (step // 4 + 1) * 4
        logits = twin.logits(ids)
        if shifted:
            logits = logits.roll(1, 0)
        logits[:, MASK] = -torch.inf
        confidence, token = logits.softmax(-1).max(-1)
        confidence[ids != MASK] = -torch.inf
        confidence[end:] = -torch.inf
        surest = int(confidence.argmax())
        ids[surest] = token[surest]
        steps.append(ids[start:].tolist())
    return steps


@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_is_the_twins(
    mixture: Callable[..., Path],
    published: Any,
    prompts_of: Callable[..., list[Prompt]],
    packed: Callable[..., dict[str, Any]],
    family: str,
) -> None:
    path = mixture(family)
    model = load_model(path, device="cpu")
    assert model.read_offset == (-1 if family == "RND1" else 0)
    prompts = prompts_of(model, CONFIG.gen_length)[:4]
    columns = packed(model, CONFIG, prompts, budget=200)
    for prompt in prompts:
        steps = twin_tokens(published(path), prompt, CONFIG, shifted=family == "RND1")
        assert columns[prompt.problem.id]["token"].tolist() == steps


REFUSED = [
    (llada_moe, field, value)
    for field, value in {
        "hidden_act": "gelu",
        "qk_layernorm": False,
        "attention_bias": True,
        "clip_qkv": 8.0,
        "rope_scaling": {"type": "yarn"},
        "partial_rotary_factor": 0.5,
        "moe_router_score_function": "sigmoid",
        "moe_router_enable_expert_bias": True,
        "shared_expert_intermediate_size": 64,
    }.items()
] + [
    (rnd1, field, value)
    for field, value in {
        "hidden_act": "gelu",
        "attention_bias": True,
        "norm_topk_prob": False,
        "decoder_sparse_step": 2,
        "mlp_only_layers": [0],
        "rope_scaling": {"type": "yarn"},
        "rope_parameters": {"rope_type": "yarn"},
        "sliding_window": 128,
        "use_sliding_window": True,
        "tie_word_embeddings": True,
    }.items()
]


@pytest.mark.parametrize(("module", "field", "value"), REFUSED)
def test_every_value_that_is_not_covered_is_refused_by_name(
    mixture_config: Callable[[str], dict[str, Any]], module: Any, field: str, value: Any
) -> None:
    config = mixture_config("RND1" if module is rnd1 else "LLaDA-MoE")
    module.stock_config(config)
    with pytest.raises(
        CheckpointError, match=rf"config\.json: {field} is {re.escape(repr(value))}"
    ):
        module.stock_config(config | {field: value})
    assert {field for tried, field, _ in REFUSED if tried is module} == set(module.COVERED)


@pytest.mark.parametrize("frequencies", [[1, 1], [1, 1, 1, 1], [1, 2, 1], None], ids=str)
def test_which_layers_have_experts_must_be_said_for_each(
    mixture_config: Callable[[str], dict[str, Any]], frequencies: Any
) -> None:
    config = mixture_config("LLaDA-MoE") | {"moe_layer_freq": frequencies}
    with pytest.raises(CheckpointError, match="moe_layer_freq must"):
        llada_moe.stock_config(config)


def test_what_the_published_code_never_reads_changes_nothing(
    mixture_config: Callable[[str], dict[str, Any]],
) -> None:
    config = mixture_config("LLaDA-MoE")
    ignored = {"norm_topk_prob": True, "routed_scaling_factor": 2.5, "router_num_group": 8}
    assert llada_moe.stock_config(config | ignored) == llada_moe.stock_config(config)


def test_the_published_shapes_map(mixture_config: Callable[[str], dict[str, Any]]) -> None:
    sizes = {"hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16}
    experts = {"num_experts": 64, "num_experts_per_tok": 8, "expert_intermediate_size": 1024}
    layers = {"num_hidden_layers": 16, "moe_layer_freq": [1] * 16, "vocab_size": 157184}
    mapped = llada_moe.stock_config(mixture_config("LLaDA-MoE") | sizes | experts | layers)
    assert (mapped["head_dim"], mapped["mlp_only_layers"]) == (128, [])
    assert mapped["norm_topk_prob"] is False
    with pytest.raises(CheckpointError, match="2048 is not a multiple of num_attention_heads 15"):
        llada_moe.stock_config(mixture_config("LLaDA-MoE") | sizes | {"num_attention_heads": 15})


def test_prompts_are_in_the_form_that_the_families_publish(mixture: Callable[..., Path]) -> None:
    problem = Problem(id="p", question="2 + 2?", answer="4")
    model = load_model(mixture("LLaDA-MoE", "a"), device="cpu", weights=False)
    assert model.token_ids == TokenIds(mask=5, eos=1, eot=4)
    text = "<role>HUMAN</role>2 + 2?<|role_end|><role>ASSISTANT</role>"
    assert prompt_text(problem, model, style="chat") == text
    ids = model.tokenizer.encode(text, add_special_tokens=False)
    special = [model.tokenizer.convert_tokens_to_ids(t) for t in ("<role>", "</role>")]
    assert (ids[0], ids[-1]) == (special[0], special[1])
    assert ids.count(4) == 1
    model = load_model(mixture("RND1", "b"), device="cpu", weights=False)
    assert prompt_text(problem, model, style="chat") == "Question: 2 + 2?\nAnswer:"


@pytest.mark.parametrize(
    ("family", "mask"), [(llada_moe.LLADA_MOE, 156895), (rnd1.RND1, 151669)], ids=FAMILIES
)
def test_a_mask_that_no_file_names_is_the_published_codes(
    bundled_model: MaskedDiffusionModel, family: Family, mask: int
) -> None:
    tokenizer = bundled_model.tokenizer
    config = {"eos_token_id": 156892}
    here = Path("checkpoint")
    assert special_tokens(family.tokens, config, tokenizer, here).mask == mask
    said = special_tokens(family.tokens, config | {"mask_token_id": 7}, tokenizer, here)
    assert said.mask == 7


@pytest.mark.parametrize("family", FAMILIES)
def test_no_key_that_is_published_is_unheard_of(
    mixture: Callable[..., Path], caplog: pytest.LogCaptureFixture, family: str
) -> None:
    load_model(mixture(family, "a"), device="cpu", weights=False)
    assert not caplog.records
    load_model(mixture(family, "b", moe_frobnication=3), device="cpu", weights=False)
    assert "moe_frobnication" in caplog.text


@pytest.mark.parametrize("architecture", ["LLaDAMoEModel", "LLaDAMoEModelLM"])
def test_both_names_of_llada_moe_load(mixture: Callable[..., Path], architecture: str) -> None:
    path = mixture("LLaDA-MoE", architectures=[architecture])
    assert load_model(path, device="cpu", weights=False).architecture == architecture


@pytest.mark.parametrize("dense", [[1, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 0]], ids=str)
def test_the_count_of_flops_is_torchs(mixture: Callable[..., Path], dense: list[int]) -> None:
    model = load_model(mixture("LLaDA-MoE", moe_layer_freq=dense), device="cpu")
    model.network.config._experts_implementation = "eager"  # products that torch counts
    ids, positions = packed_batch(LENGTHS)
    packing = packing_of(LENGTHS, model.device)
    reads = reads_of(LENGTHS, packing, rows=len(LENGTHS), each=16)
    model.hidden_read(ids, positions, packing, reads)
    for _ in range(2):  # all tokens are projected, then the generated ones
        with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
            with FlopCounterMode(display=False) as counter:
                model.hidden_read(ids, positions, packing, reads)
        assert model.flops_read(reads) == counter.get_total_flops()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_pass_waits_for_the_device(
    mixture: Callable[..., Path], refusing_waits: Any, dtype: str
) -> None:
    """As transformers groups the experts' products; one expert after the other, it would."""
    model = load_model(mixture("LLaDA-MoE"), device="cpu", dtype=dtype)
    ids, positions = packed_batch(LENGTHS)
    packing = packing_of(LENGTHS, model.device)
    reads = reads_of(LENGTHS, packing, rows=len(LENGTHS), each=16)
    with refusing_waits():
        model.hidden_read(ids, positions, packing, reads)
    model.network.config._experts_implementation = "eager"
    with pytest.raises(AssertionError, match="waits for the device"), refusing_waits():
        model.hidden_read(ids, positions, packing, reads)


def test_compiled_it_computes_the_same(mixture: Callable[..., Path]) -> None:
    model = load_model(mixture("LLaDA-MoE"), device="cpu")
    ids, positions = packed_batch(LENGTHS)
    packing = packing_of(LENGTHS, model.device)
    reads = reads_of(LENGTHS, packing, rows=len(LENGTHS), each=16)
    plain = model.hidden_read(ids, positions, packing, reads)
    ours = compiled(model, most_tokens=512, backend="eager")
    states = ours.hidden_read(ids, positions, packing, reads)
    torch.testing.assert_close(states, plain, atol=1e-5, rtol=1e-5)


def test_fused_is_refused_in_one_sentence(mixture: Callable[..., Path]) -> None:
    model = load_model(mixture("RND1"), device="cpu", weights=False)
    with pytest.raises(CheckpointError, match=r"Qwen3MoeForCausalLM.*run without --fused"):
        fused(model)


def weights_of(model: MaskedDiffusionModel) -> float:
    need = memory_need(CONFIG, model, capacity=1, tokens=100)
    return next(factor.amount for factor in need if factor.name == "weights")


def test_memory_counts_every_expert_and_every_copy_of_a_token(
    mixture: Callable[..., Path], mixture_shapes: Callable[..., dict[str, tuple[int, ...]]]
) -> None:
    model = load_model(mixture("LLaDA-MoE"), device="cpu", weights=False)
    shapes = mixture_shapes("LLaDA-MoE")
    numbers = sum(torch.Size(shape).numel() for shape in shapes.values())
    assert weights_of(model) == 4 * numbers
    # three experts of 32 inner features, each with a copy of 64 features, beside a dense 80
    assert footprint(CONFIG, model).mlp == 3 * (32 + 64)
    dense = load_model(mixture("LLaDA-MoE", "dense", moe_layer_freq=[0, 0, 0]), device="cpu")
    assert footprint(CONFIG, dense).mlp == 80
