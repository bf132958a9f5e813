"""SDAR's mixtures of experts: the published network under a mask of blocks, whose passes are one
dense forward, with a cache and without; and what is refused."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from diffengine.engine.models import sdar
from diffengine.engine.models.family import CheckpointError, TokenIds
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model

sys.path.append(str(Path(__file__).parents[1]))
from block_passes import Row, dense_states, passes, prompts

MASK = 5
ROUTERS = {
    "as published": {},
    "weights as they are": {"norm_topk_prob": False},
    "experts everywhere": {"mlp_only_layers": []},
    "in every second layer": {"mlp_only_layers": [], "decoder_sparse_step": 2},
}


def stock_network(model: MaskedDiffusionModel) -> Any:
    """The stock class by transformers alone, in float64, with the loaded weights; where each
    expert's came from is compared elsewhere."""
    config = copy.deepcopy(model.network.config)
    config._attn_implementation = "sdpa"
    config._experts_implementation = "eager"
    network = transformers.Qwen3MoeForCausalLM(config).eval().requires_grad_(False)
    network.load_state_dict(model.network.state_dict())
    return network.double()


def mapped(config: dict[str, Any]) -> transformers.Qwen3MoeConfig:
    return transformers.Qwen3MoeConfig(**sdar.mixture_config(config))


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "not kept"])
@torch.inference_mode()
def test_every_pass_is_one_dense_forward_under_the_mask(
    mixture: Callable[..., Path], keeps: bool
) -> None:
    model = load_model(mixture("SDAR-MoE"), device="cpu")
    stock = stock_network(model)
    model.network.double()
    model.network.config._experts_implementation = "eager"  # grouped products are not in float64
    rows = {prompt.problem.id: Row(prompt, MASK) for prompt in prompts()}
    seen = 0
    for problem, places, states in passes(model, rows, prompts(), keeps=keeps):
        expected = dense_states(stock, rows[problem])[places]
        torch.testing.assert_close(states, expected, atol=1e-12, rtol=1e-12)
        seen += len(places)
    assert all(row.over for row in rows.values()) and seen > 100


@pytest.mark.parametrize("router", ["as published", "weights as they are", "experts everywhere"])
@torch.inference_mode()
def test_grouped_it_computes_the_published_network(
    mixture: Callable[..., Path], published: Any, router: str
) -> None:
    """In float32, expert by expert by hand in float64, at every pass."""
    path = mixture("SDAR-MoE", **ROUTERS[router])
    model = load_model(path, device="cpu")
    by_hand = published(path)
    rows = {prompt.problem.id: Row(prompt, MASK) for prompt in prompts([1, 9])}
    for problem, places, states in passes(model, rows, prompts([1, 9]), keeps=True):
        row = rows[problem]
        expected = by_hand.logits(torch.tensor(row.tokens), row.allowed)[places]
        logits = states @ model.head_weight.T
        torch.testing.assert_close(logits.double(), expected, atol=5e-5, rtol=5e-5)


@pytest.mark.parametrize("router", ROUTERS)
def test_which_layers_have_experts_is_the_stock_classs(
    mixture_config: Callable[[str], dict[str, Any]], router: str
) -> None:
    config = mixture_config("SDAR-MoE") | ROUTERS[router]
    assert mapped(config).norm_topk_prob == config["norm_topk_prob"]
    with torch.device("meta"):
        layers = transformers.Qwen3MoeForCausalLM(mapped(config)).model.layers
    step, dense = config["decoder_sparse_step"], config["mlp_only_layers"]
    for number, layer in enumerate(layers):
        has_experts = number not in dense and (number + 1) % step == 0
        assert hasattr(layer.mlp, "experts") == has_experts


def test_absent_settings_are_the_published_classs(
    mixture_config: Callable[[str], dict[str, Any]],
) -> None:
    config = mixture_config("SDAR-MoE")
    for name in ("decoder_sparse_step", "mlp_only_layers", "attention_bias"):
        del config[name]
    stock = mapped(config)
    assert (stock.decoder_sparse_step, stock.mlp_only_layers) == (1, [])
    assert stock.attention_bias is False


REFUSED = [
    ("hidden_act", "gelu", "hidden_act is 'gelu'"),
    ("use_sliding_window", True, "use_sliding_window is True"),
    ("rope_scaling", {"type": "yarn"}, "rope_scaling has rope_type 'yarn'"),
    ("bd_size", 4, "bd_size is 4"),
    ("num_experts", 0, "num_experts is 0, expected 1 or more"),
    ("num_experts_per_tok", 9, "num_experts_per_tok is 9, but num_experts is 8"),
    ("norm_topk_prob", None, "norm_topk_prob must be a bool, got None"),
    ("decoder_sparse_step", 0, "decoder_sparse_step is 0, expected 1 or more"),
    ("mlp_only_layers", [3], "mlp_only_layers must list numbers of its 3 layers, from 0; got [3]"),
    ("mlp_only_layers", [True], "mlp_only_layers must list numbers"),
    ("mlp_only_layers", 1, "mlp_only_layers must list numbers"),
    ("moe_intermediate_size", "wide", "moe_intermediate_size must be a int, got 'wide'"),
]


@pytest.mark.parametrize(("field", "value", "says"), REFUSED, ids=str)
def test_every_value_that_is_not_covered_is_refused_by_name(
    mixture_config: Callable[[str], dict[str, Any]], field: str, value: Any, says: str
) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"config.json: {says}")):
        mapped(mixture_config("SDAR-MoE") | {field: value})


def test_blocks_and_tokens(mixture: Callable[..., Path]) -> None:
    model = load_model(mixture("SDAR-MoE", "b8", block_size=8), device="cpu", weights=False)
    assert model.sampler_defaults["block_length"] == 8
    assert model.token_ids == TokenIds(mask=5, eos=1, eot=4)
    assert model.family.policy == "sdar" and model.read_offset == 0
    with pytest.raises(CheckpointError, match="causal model under SDAR's name"):
        load_model(mixture("SDAR-MoE", "I-DLM-30B-A3B"), device="cpu", weights=False)
