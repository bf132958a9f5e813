"""Dense families that attend block by block: what decoding reads is one dense forward of the stock
class under a mask that is written out, with a cache and without; and the decoder by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.prompts.prompt import Prompt

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from block_passes import Row, dense_states, passes, prompts
from by_hand import Decoder, weights_of
from dense_configs import BY_BLOCKS

FAMILIES = list(BY_BLOCKS)
FROM_PROMPT_END = [family for family in FAMILIES if family.endswith("bd3lm")]
SHIFTED = ["Fast-dLLM v2"]
STOCK = {"Fast-dLLM v2": "Qwen2", "A2D-Qwen2 bd3lm": "Qwen2", "A2D-Llama bd3lm": "Llama"}


def stock_network(family: str, directory: Path) -> Any:
    """The stock class as transformers makes it of the published config and tensors, in float64."""
    content = json.loads((directory / "config.json").read_text())
    for key in ("architectures", "auto_map", "dtype", "torch_dtype", "model_type"):
        content.pop(key, None)
    content.pop("attn_implementation", None)
    name = STOCK.get(family, "Qwen3")
    config = getattr(transformers, f"{name}Config").from_dict(
        content | {"use_cache": False}, attn_implementation="sdpa"
    )
    network = getattr(transformers, f"{name}ForCausalLM")(config).eval().requires_grad_(False)
    missing, unexpected = network.load_state_dict(weights_of(directory), strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected
    return network.double()


def row_of(family: str, prompt: Prompt, model: MaskedDiffusionModel) -> Row:
    return Row(prompt, model.token_ids.mask, from_prompt_end=family in FROM_PROMPT_END)


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_every_pass_is_one_dense_forward_under_the_mask(
    dense: Callable[..., Path], family: str, keeps: bool
) -> None:
    path = dense(family)
    model = load_model(path, device="cpu")
    model.network.double()
    stock = stock_network(family, path)
    rows = {p.problem.id: row_of(family, p, model) for p in prompts()}
    seen = 0
    shift = int(family in SHIFTED)
    for problem, places, states in passes(model, rows, prompts(), keeps=keeps):
        expected = dense_states(stock, rows[problem])
        at = [max(place - shift, 0) for place in places]
        torch.testing.assert_close(states, expected[at], atol=1e-12, rtol=1e-12)
        seen += len(places)
    assert all(row.over for row in rows.values()) and seen > 100


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_the_stock_class_under_the_mask_is_the_published_network(
    dense: Callable[..., Path], family: str
) -> None:
    """The decoder by hand, whose rotations are in float64; transformers' are in float32."""
    path = dense(family)
    stock = stock_network(family, path)
    by_hand = Decoder(path)
    for prompt in prompts():
        row = Row(prompt, 5, from_prompt_end=family in FROM_PROMPT_END)
        expected = by_hand.logits(torch.tensor(row.tokens), row.allowed)
        logits = stock.lm_head(dense_states(stock, row))
        torch.testing.assert_close(logits, expected, atol=3e-5, rtol=3e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_and_shift_are_the_published_ones(
    dense: Callable[..., Path], family: str
) -> None:
    model = load_model(dense(family), device="cpu", weights=False)
    blocks = model.family.blocks
    assert blocks is not None and model.family.attention == "blocks"
    assert model.read_offset == (-1 if family in SHIFTED else 0)
    assert blocks.from_prompt_end == (family in FROM_PROMPT_END)
    assert blocks.whole_last != blocks.from_prompt_end
    assert not blocks.causal_context


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_in_bfloat16_a_first_pass_is_the_stock_class_bit_by_bit(
    dense: Callable[..., Path], family: str
) -> None:
    """The published networks rotate in their own dtype, as the stock class does, by frequencies
    that stay in float32."""
    path = dense(family)
    model = load_model(path, device="cpu", dtype="bfloat16")
    assert {weights.dtype for weights in model.network.parameters()} == {torch.bfloat16}
    stock = stock_network(family, path)
    inverse = stock.model.rotary_emb.inv_freq.float()
    assert torch.equal(model.network.model.rotary_emb.inv_freq, inverse)
    stock = stock.to(torch.bfloat16)
    stock.model.rotary_emb.inv_freq = inverse

    prompt = prompts([70])[0]
    row = row_of(family, prompt, model)
    _, places, states = next(passes(model, {prompt.problem.id: row}, [prompt], keeps=True))
    length = places[-1] + 1
    ids = torch.tensor([row.tokens[:length]])
    expected = stock.model(input_ids=ids, attention_mask=row.allowed[None, None, :length, :length])
    at = [place - (family in SHIFTED) for place in places]
    assert torch.equal(states, expected.last_hidden_state[0, at])
