"""Nemotron-Labs-Diffusion: what a canvas computes, with and without a cache, is one dense pass of the
stock class under the explicit mask, and the published network by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.block_canvas import BlockCanvas
from diffengine.engine.decoding.canvas import Room
from diffengine.engine.decoding.make_canvas import make_canvas
from diffengine.engine.decoding.policy import Update
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.block_attention import BlockPacking
from diffengine.engine.models.block_reads import BlockReads
from diffengine.engine.models.compiled import compiled
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.forward import Forward
from diffengine.engine.models.fused import fused
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.policies import make_policy
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt

BLOCK = 8
MASK = 5
CONFIG = RunConfig.of(
    model="test",
    policy="sdar",
    remasking_strategy="low_confidence_static",
    temperature=0.0,
    gen_length=20,
    block_length=BLOCK,
    logits_dtype="float32",
    eos_early_stop=False,
)
PROMPTS = [1, 7, 8, 30]
"""Tokens of prompts; the longest reaches positions at which queries are scaled."""


def prompt_of(length: int, key: int) -> Prompt:
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(6, 500, (length,), generator=generator).tolist()
    problem = Problem(id=f"p{key}", question="?", answer="1")
    return Prompt(problem=problem, place=key, token_ids=tuple(ids), answer_ids=(7,), key=key)


def canvas_of(model: MaskedDiffusionModel, *, keeps: bool) -> BlockCanvas:
    """A canvas of all prompts."""
    policy = make_policy(
        CONFIG.policy, CONFIG.sampler, model.token_ids, n_candidates=model.n_candidates
    )
    room = Room(rows=len(PROMPTS), tokens=4096, refill=True)
    canvas = make_canvas(model, CONFIG, policy, room, keeps=keeps)
    assert isinstance(canvas, BlockCanvas)
    prompts = [prompt_of(length, key) for key, length in enumerate(PROMPTS)]
    assert canvas.fill(iter(prompts))
    return canvas


def committed(canvas: BlockCanvas, step: int) -> Update:
    """Three masks of every block, the next ones, with tokens that are those of no other step."""
    masked = canvas.generated == MASK
    token = torch.arange(canvas.generated.numel()).view_as(canvas.generated) + 20 + 7 * step
    return Update(token, masked & (masked.cumsum(-1) <= 3))


def whole_row(canvas: BlockCanvas, number: int) -> tuple[Tensor, int]:
    """All tokens of a row up to the end of its open block, and where that begins."""
    row = canvas.rows[number]
    opens = row.prompt_length + row.block * BLOCK
    sheet = canvas.sheets[number, : (row.block + 1) * BLOCK].clone()
    sheet[row.block * BLOCK :] = canvas.generated[number]
    return torch.cat([torch.tensor(row.prompt.token_ids), sheet]), opens


def dense_of(model: MaskedDiffusionModel) -> Any:
    """The stock class by itself, with attention written out under whatever mask it is given."""
    config = copy.deepcopy(model.network.config)
    config._attn_implementation = "eager"
    dense = type(model.network)(config).eval().to(model.dtype)
    dense.load_state_dict(model.network.state_dict())
    return dense


def mask_of(length: int, opens: int) -> Tensor:
    """What is added to scores [1, 1, L, L]: causal by token, but for the open block, which sees
    everything."""
    unseen = torch.ones(length, length).triu(1).bool()
    unseen[opens:] = False
    return torch.zeros(1, 1, length, length).masked_fill(unseen, -torch.inf)


@pytest.mark.parametrize("keeps", [False, True], ids=["no cache", "cache"])
@torch.inference_mode()
def test_every_pass_is_one_dense_pass_under_the_mask(
    nemotron: Callable[..., Path], published: Any, in_float64: Any, keeps: bool
) -> None:
    path = nemotron()
    model = load_model(path, device="cpu")
    model.network.double()
    dense = dense_of(model).double()
    twin = published(path)
    canvas = canvas_of(model, keeps=keeps)
    passes = 0
    while canvas.rows:
        packed = canvas.pack()
        with in_float64():
            read = model.hidden_read(
                packed.token_ids, packed.positions, packed.packing, packed.reads
            )
        logits = (read @ model.head_weight.T).view(len(canvas.rows), BLOCK, -1)
        for number, of_row in enumerate(logits):
            ids, opens = whole_row(canvas, number)
            with in_float64():
                mask = mask_of(len(ids), opens)
                expected = dense(ids[None], attention_mask=mask).logits[0]
            torch.testing.assert_close(of_row, expected[opens:], atol=1e-12, rtol=1e-12)
            if passes % 3 == 0:
                by_hand = twin.logits(ids, open_from=opens)
                torch.testing.assert_close(of_row, by_hand[opens:], atol=1e-6, rtol=1e-6)
        canvas.apply(canvas.allowed(committed(canvas, passes)))
        passes += 1
    assert passes == 9  # three for each of three blocks


@torch.inference_mode()
def test_what_is_kept_of_full_blocks_is_what_a_causal_pass_makes(
    nemotron: Callable[..., Path],
) -> None:
    """Not what they had while they were open, when their tokens saw each other."""
    model = load_model(nemotron(), device="cpu")
    canvas = canvas_of(model, keeps=True)
    assert canvas.cache is not None
    for step in range(4):  # a block, and the first pass of the next one
        packed = canvas.pack()
        model.hidden_read(packed.token_ids, packed.positions, packed.packing, packed.reads)
        if step < 3:
            canvas.apply(canvas.allowed(committed(canvas, step)))
    dense = dense_of(model)
    for number, row in enumerate(canvas.rows):
        ids, opens = whole_row(canvas, number)
        assert opens == row.prompt_length + BLOCK
        kept = canvas.cache._rows[row.slot]
        causal_mask = mask_of(opens, opens)
        out = dense(ids[None, :opens], attention_mask=causal_mask, use_cache=True)
        for layer, of_layer in enumerate(out.past_key_values.layers):
            for place, causal in enumerate((of_layer.keys, of_layer.values)):
                ours = kept[layer, place, :, :opens]
                torch.testing.assert_close(ours, causal[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("factor", [0.25, 16.0])
@torch.inference_mode()
def test_the_rotations_are_the_published_ones(
    nemotron: Callable[..., Path], nemotron_config: dict[str, Any], yarn_of: Any, factor: float
) -> None:
    """Of the 3B base model too, whose factor is below 1."""
    rope = nemotron_config["rope_parameters"] | {
        "factor": factor,
        "original_max_position_embeddings": 16384,
    }
    path = nemotron(rope_parameters=rope)
    rotary = load_model(path, device="cpu").network.model.rotary_emb
    frequencies, scale = yarn_of(nemotron_config | {"rope_parameters": rope})
    expected = torch.tensor(frequencies)
    torch.testing.assert_close(rotary.inv_freq, expected, atol=1e-7, rtol=1e-5)
    assert rotary.attention_scaling == scale == 1.0


@torch.inference_mode()
def test_queries_at_far_positions_are_scaled(
    nemotron: Callable[..., Path], nemotron_config: dict[str, Any], published: Any
) -> None:
    """By the positions that the pass is given: a block's first token is not at position 0."""
    rope = nemotron_config["rope_parameters"]
    path = nemotron()
    other = nemotron("other", rope_parameters=rope | {"llama_4_scaling_beta": 0.5})
    near, far = (load_model(p, device="cpu") for p in (path, other))
    for keeps in (False, True):
        states = []
        for model in (near, far):
            canvas = canvas_of(model, keeps=keeps)
            packed = canvas.pack()
            args = (packed.token_ids, packed.positions, packed.packing, packed.reads)
            states.append(model.hidden_read(*args).view(len(canvas.rows), BLOCK, -1))
        changed = (states[0] - states[1]).abs().amax((1, 2))
        # rows of 1, 7, 8 and 30 prompt tokens: only two reach position 16
        assert changed[0] < 1e-6 and changed[1] < 1e-6 and changed[3] > 1e-3


@torch.inference_mode()
def twin_tokens(twin: Any, prompt: Prompt) -> list[list[int]]:
    """One token a step: blocks from the prompt's end, everything run anew in each step, the surest
    mask of the block committed. Generated tokens after each step, those behind `gen_length` left
    out."""
    start = len(prompt.token_ids)
    blocks = -(-CONFIG.gen_length // BLOCK)
    ids = torch.tensor([*prompt.token_ids, *[MASK] * (blocks * BLOCK)])
    steps = []
    for block in range(blocks):
        first = start + block * BLOCK
        end = first + BLOCK
        while bool((ids[:end] == MASK).any()):
            logits = twin.logits(ids[:end], open_from=first)
            logits[:, MASK] = -torch.inf
            confidence, token = logits.softmax(-1).max(-1)
            confidence[ids[:end] != MASK] = -torch.inf
            surest = int(confidence.argmax())
            ids[surest] = token[surest]
            steps.append(ids[start : start + CONFIG.gen_length].tolist())
    return steps


@pytest.mark.parametrize("keeps", [False, True], ids=["no cache", "cache"])
def test_every_step_is_the_twins(
    nemotron: Callable[..., Path], published: Any, keeps: bool
) -> None:
    path = nemotron()
    model = load_model(path, device="cpu")
    assert type(model.forward) is Forward
    prompts = [prompt_of(length, key) for key, length in enumerate((3, 20))]
    decoder = Setup(model, CONFIG, keeps=keeps).decoder(prompts, budget=2048)
    done = {f.problem.id: f.columns for f in decoder.decode(iter(prompts))}
    twin = published(path)
    for prompt in prompts:
        steps = twin_tokens(twin, prompt)
        assert done[prompt.problem.id]["token"][: len(steps)].tolist() == steps


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_rows_states_are_its_own_in_any_batch(nemotron: Callable[..., Path], dtype: str) -> None:
    model = load_model(nemotron(), device="cpu", dtype=dtype)
    packed = canvas_of(model, keeps=False).pack()
    packing = packed.packing
    assert isinstance(packing, BlockPacking)
    together = model.hidden(packed.token_ids, packed.positions, packing)
    for span in packing.spans:
        piece = slice(span.start, span.start + span.new)
        alone = BlockPacking((span._replace(start=0),), None, model.device)
        states = model.hidden(packed.token_ids[piece], packed.positions[piece], alone)
        atol = 1e-5 if dtype == "float32" else 0.05
        torch.testing.assert_close(together[piece], states, atol=atol, rtol=atol)


def test_what_replaces_layers_is_refused_in_one_sentence(nemotron: Callable[..., Path]) -> None:
    model = load_model(nemotron(), device="cpu", weights=False)
    with pytest.raises(CheckpointError, match=r"attends block by block.*run without --fused$"):
        fused(model)
    with pytest.raises(CheckpointError, match=r"attends block by block.*run without --compile$"):
        compiled(model, most_tokens=100)


def test_the_arithmetic_counts_the_new_tokens_and_all_pairs(nemotron: Callable[..., Path]) -> None:
    """By hand: a token's products, and for each pair of query and key one with the keys and one with
    the values."""
    model = load_model(nemotron(), device="cpu")
    canvas = canvas_of(model, keeps=True)
    reads = canvas.pack().reads
    assert isinstance(reads, BlockReads)
    tokens = sum(PROMPTS) + len(PROMPTS) * BLOCK
    pairs = sum((length + BLOCK) ** 2 for length in PROMPTS)
    query = output = 64 * 96
    key = value = 64 * 48
    mlp = 3 * 64 * 96
    assert reads.tokens == tokens
    of_token = query + key + value + output + mlp
    assert model.flops_read(reads) == 2 * 2 * (tokens * of_token + 2 * pairs * 96)
