"""Nemotron-Labs-Diffusion's files and config.json: every tensor accounted for, every value used or
refused."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffengine.engine.models import nemotron as family_module
from diffengine.engine.models.family import CheckpointError, TokenIds
from diffengine.engine.models.loading import load_model
from diffengine.engine.models.nemotron import NEEDED, NEMOTRON, OPTIONAL, stock_config
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import prompt_text

Tensors = dict[str, Tensor]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_tensor_lies_where_it_belongs(
    nemotron: Callable[..., Path], file_tensors: Any, dtype: str
) -> None:
    path = nemotron()
    model = load_model(path, device="cpu", dtype=dtype)
    state = model.network.state_dict()
    tensors = file_tensors(path)
    assert len(tensors) == len(state)
    for name, tensor in tensors.items():
        stock = name.replace("encoder.", "model.").replace("diffusion_head.", "lm_head.")
        assert torch.equal(state[stock], tensor.to(model.dtype)), name
    assert model.network.model.rotary_emb.inv_freq.dtype == torch.float32


LAYER = "encoder.layers.1"
FAULTS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "no head": (
        lambda t: t.pop("diffusion_head.weight"),
        r"missing tensor diffusion_head.weight \(needed as lm_head.weight\)",
    ),
    "a layer less": (
        lambda t: t.pop(f"{LAYER}.mlp.up_proj.weight"),
        rf"missing tensor {LAYER}.mlp.up_proj.weight",
    ),
    "norms of queries": (
        lambda t: t.update({f"{LAYER}.self_attn.q_norm.weight": torch.ones(24)}),
        rf"unexpected tensor {LAYER}.self_attn.q_norm.weight",
    ),
    "weights of an adapter": (
        lambda t: t.update({f"{LAYER}.self_attn.o_proj.lora_A.weight": torch.ones(2, 96)}),
        rf"unexpected tensor {LAYER}.self_attn.o_proj.lora_A.weight",
    ),
    "one of another shape": (
        lambda t: t.update({f"{LAYER}.self_attn.k_proj.weight": torch.ones(96, 64)}),
        rf"{LAYER}.self_attn.k_proj.weight has shape \[96, 64\], config.json implies \[48, 64\]",
    ),
    "the stock name beside the published one": (
        lambda t: t.update({"model.norm.weight": torch.ones(64)}),
        r"norm\.weight are both needed as model\.norm\.weight",
    ),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_is_named_before_anything_is_loaded(
    nemotron: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    change, says = FAULTS[fault]
    path = nemotron()
    file = path / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    monkeypatch.setattr("diffengine.engine.models.loading.filled", None)
    with pytest.raises(CheckpointError, match=says):
        load_model(path, device="cpu")


REFUSED = {
    "attention_bias": True,
    "mlp_bias": True,
    "dlm_paradigm": "autoregressive",
    "rope_scaling": {"type": "yarn"},
}


@pytest.mark.parametrize("field", sorted(REFUSED))
def test_every_value_that_is_not_covered_is_refused_by_name(
    nemotron_config: dict[str, Any], field: str
) -> None:
    stock_config(nemotron_config)
    value = REFUSED[field]
    says = rf"config\.json: {field} is {re.escape(repr(value))}"
    with pytest.raises(CheckpointError, match=says):
        stock_config(nemotron_config | {field: value})
    assert set(REFUSED) == set(family_module.COVERED)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ({"sliding_window": 64}, "sliding_window is 64"),
    ({"is_causal": True}, "is_causal is True"),
    ({"head_dim": 25}, "a head has 25 features"),
    ({"rope_parameters": None}, "rope_parameters must be a dict, got None"),
    ({"num_key_value_heads": 3}, "4 is not a multiple of num_key_value_heads 3"),
]


@pytest.mark.parametrize(("changes", "says"), WRONG, ids=str)
def test_what_the_stock_class_does_not_cover_is_said(
    nemotron_config: dict[str, Any], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(CheckpointError, match=says):
        stock_config(nemotron_config | changes)


ROTATIONS: list[tuple[dict[str, Any], str]] = [
    ({"rope_type": "linear"}, "rope_type is 'linear'"),
    ({"rope_type": None}, "rope_type is None"),
    ({"truncate": False}, "truncate is False"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    ({"beta_slow": "1"}, "beta_slow must be a float, got '1'"),
    ({"short_factor": 2.0}, "rope_parameters has short_factor, of which this family knows nothing"),
    *[({name: None}, f"{name} must be a float, got None") for name in NEEDED],
]


@pytest.mark.parametrize(("changes", "says"), ROTATIONS, ids=str)
def test_rotations_that_are_not_covered_are_said(
    nemotron_config: dict[str, Any], changes: dict[str, Any], says: str
) -> None:
    rope = nemotron_config["rope_parameters"] | changes
    with pytest.raises(CheckpointError, match=says):
        stock_config(nemotron_config | {"rope_parameters": rope})


def test_rotations_may_leave_out_what_has_a_default(nemotron_config: dict[str, Any]) -> None:
    rope = {"type": "yarn", "max_position_embeddings": 1024}
    rope |= {name: nemotron_config["rope_parameters"][name] for name in NEEDED}
    mapped = stock_config(nemotron_config | {"rope_parameters": rope})["rope_parameters"]
    assert mapped == {"rope_type": "yarn", **{name: rope[name] for name in NEEDED}}
    assert not set(OPTIONAL) & set(mapped)


@pytest.mark.parametrize("paradigm", ["bidirectional", "block_diff"])
def test_how_it_was_trained_changes_nothing(nemotron_config: dict[str, Any], paradigm: str) -> None:
    changed = nemotron_config | {"dlm_paradigm": paradigm}
    assert stock_config(changed) == stock_config(nemotron_config)


def test_no_key_that_is_published_is_unheard_of(
    nemotron: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_model(nemotron("a"), device="cpu", weights=False)
    assert caplog.messages == []
    load_model(nemotron("b", dlm_frobnication=3), device="cpu", weights=False)
    assert "dlm_frobnication" in caplog.text


def test_the_published_shapes_map(nemotron_config: dict[str, Any]) -> None:
    """Nemotron-Labs-Diffusion-8B's."""
    sizes = {
        "head_dim": 128,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 262144,
        "num_attention_heads": 32,
        "num_hidden_layers": 34,
        "num_key_value_heads": 8,
        "vocab_size": 131072,
    }
    mapped = stock_config(nemotron_config | sizes)
    assert {name: mapped[name] for name in sizes} == sizes


def test_blocks_and_tokens_are_the_checkpoints(nemotron: Callable[..., Path]) -> None:
    path = nemotron()
    model = load_model(path, device="cpu", weights=False)
    assert model.sampler_defaults["block_length"] == 8
    assert model.token_ids == TokenIds(mask=5, eos=1, eot=4)
    assert model.max_length == 1024
    blocks = NEMOTRON.blocks
    assert blocks is not None and blocks.causal_context and blocks.from_prompt_end
    problem = Problem(id="p", question="2 + 2?", answer="4")
    assert "<|im_start|>user" in prompt_text(problem, model, style="chat")
    silent = load_model(nemotron("silent", block_size=None), device="cpu", weights=False)
    assert silent.sampler_defaults["block_length"] == 32
    with pytest.raises(CheckpointError, match=r"config\.json: mask_token_id must be a int"):
        load_model(nemotron("unmasked", mask_token_id=None), device="cpu", weights=False)
