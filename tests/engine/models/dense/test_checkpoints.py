"""What a checkpoint of a dense family must have: every tensor, and settings that the stock class
covers; every other is refused by name."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffengine.engine.models.a2d import llama_config, qwen2_config, qwen3_config
from diffengine.engine.models.checkpoint import SHOWN
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.loading import load_model

sys.path.append(str(Path(__file__).parent))
from dense_configs import CONFIGS

FAMILIES = list(CONFIGS)
LAYER = "model.layers.1"

Tensors = dict[str, Tensor]


def change_tensors(path: Path, change: Callable[[Tensors], object]) -> None:
    """Rewrite every weight file with changed tensors."""
    for file in path.glob("*.safetensors"):
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, metadata={"format": "pt"})


def without(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.pop(name, None)


def flattened(name: str) -> Callable[[Tensors], object]:
    def change(tensors: Tensors) -> None:
        if name in tensors:
            tensors[name] = tensors[name].flatten()

    return change


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(path, device="cpu")
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_accounted_for(dense: Callable[..., Path], family: str) -> None:
    whole = dense(family, "whole", files=1)
    loaded = load_model(whole, device="cpu").network.state_dict()
    tensors = load_file(whole / "model.safetensors")
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)

    names = [name for name in tensors if "layers.0" not in name]
    for start in range(0, len(names), SHOWN):
        path = dense(family, f"less {start}", files=1)
        missing = names[start : start + SHOWN]
        for name in missing:
            change_tensors(path, without(name))
        said = refusal(path)
        assert [f"missing tensor {name}" in said for name in missing] == [True] * len(missing)
    path = dense(family, "flat")
    change_tensors(path, flattened(f"{LAYER}.mlp.down_proj.weight"))
    assert f"{LAYER}.mlp.down_proj.weight has shape [6144], config.json implies" in refusal(path)


EXTRA = {
    "Dream": "self_attn.o_proj.bias",
    "A2D-Qwen3": "self_attn.q_proj.bias",
    "A2D-Qwen2": "self_attn.q_norm.weight",
    "A2D-Llama": "mlp.up_proj.bias",
    "iLLaDA": "input_layernorm.bias",
    "SDAR": "self_attn.k_proj.bias",
    "Fast-dLLM v2": "self_attn.o_proj.bias",
    "OPDLM": "mlp.gate_proj.bias",
    "A2D-Qwen3 bd3lm": "self_attn.q_proj.bias",
    "A2D-Qwen2 bd3lm": "self_attn.k_norm.weight",
    "A2D-Llama bd3lm": "self_attn.v_proj.bias",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tensor_too_many_is_named(dense: Callable[..., Path], family: str) -> None:
    path = dense(family, files=1)
    name = f"{LAYER}.{EXTRA[family]}"
    change_tensors(path, lambda tensors: tensors.update({name: torch.zeros(4)}))
    assert f"model.safetensors: unexpected tensor {name}" in refusal(path)


@pytest.mark.parametrize("family", ["A2D-Qwen3", "iLLaDA"])
def test_a_tied_head_may_be_there_if_it_is_the_embedding(
    dense: Callable[..., Path], family: str
) -> None:
    path = dense(family, files=1)

    def add_head(tensors: Tensors) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    change_tensors(path, add_head)
    network = load_model(path, device="cpu").network
    assert network.lm_head.weight is network.model.embed_tokens.weight

    change_tensors(path, lambda tensors: tensors["lm_head.weight"].mul_(1.5))
    assert "a head of its own with other values" in refusal(path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    network = load_model(path, device="cpu").network
    assert torch.equal(network.lm_head.weight, 1.5 * network.model.embed_tokens.weight)


def test_what_transformers_4_leaves_out_of_a_config(dense: Callable[..., Path]) -> None:
    """A true tie_word_embeddings, where the class's own default is true too."""
    path = dense("iLLaDA")
    config = json.loads((path / "config.json").read_text())
    del config["tie_word_embeddings"]
    (path / "config.json").write_text(json.dumps(config))
    network = load_model(path, device="cpu").network
    assert network.lm_head.weight is network.model.embed_tokens.weight


YARN = {"rope_type": "yarn", "factor": 4.0}
ANYWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "stretched rope": ({"rope_scaling": YARN}, "rope_scaling has rope_type 'yarn'"),
    "stretched rope, older": (
        {"rope_scaling": {"type": "linear"}},
        "rope_scaling has rope_type 'linear'",
    ),
    "stretched rope, newer": (
        {"rope_parameters": YARN | {"rope_theta": 1e6}},
        "rope_parameters has rope_type 'yarn'",
    ),
    "rope of a part": (
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
        "partial_rotary_factor is 0.5",
    ),
    "rope no object": ({"rope_scaling": "yarn"}, "rope_scaling must be an object, got 'yarn'"),
    "another activation": ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    "windows": (
        {"layer_types": ["full_attention", "sliding_attention"]},
        "layer_types has sliding_attention",
    ),
    "a switched window": (
        {"use_sliding_window": True, "sliding_window": 512},
        "use_sliding_window is True",
    ),
    "causal": ({"is_causal": True}, "is_causal is True"),
    "shift": ({"right_shift_logits": True}, "right_shift_logits is True"),
    "quantised": (
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        "quantization_config says weights quantised by 'gptq'",
    ),
    "no width": ({"hidden_size": None}, "hidden_size must be a int, got None"),
    "no heads": ({"num_attention_heads": 0}, "num_attention_heads is 0"),
    "heads that do not share": (
        {"num_key_value_heads": 3},
        "num_attention_heads 4 is not a multiple of num_key_value_heads 3",
    ),
    "no layer": ({"num_hidden_layers": 0}, "num_hidden_layers is 0, expected 1 or more"),
    "less than nothing": ({"intermediate_size": -1}, "intermediate_size is -1"),
    "no norm": ({"rms_norm_eps": "tiny"}, "rms_norm_eps must be a float, got 'tiny'"),
    "no rope": ({"rope_theta": None}, "rope_theta must be a float, got None"),
}


@pytest.mark.parametrize("what", ANYWHERE)
def test_a_value_that_is_not_covered_is_refused_by_name(
    dense: Callable[..., Path], what: str
) -> None:
    changes, says = ANYWHERE[what]
    for family in FAMILIES:
        path = dense(family, family)
        content = json.loads((path / "config.json").read_text()) | changes
        (path / "config.json").write_text(json.dumps(content))
        said = refusal(path)
        assert f"config.json: {says}" in said
        assert "\n" not in said


OF_ONE = [
    ("Dream", {"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling has rope_type 'llama3'"),
    ("Dream", {"use_mrope": True}, "use_mrope is True"),
    ("Dream", {"head_dim": 32}, "head_dim is 32"),
    ("Dream", {"block_size": 32}, "block_size is 32"),
    ("iLLaDA", {"block_length": 4}, "block_length is 4"),
    ("SDAR", {"bd_size": 4}, "bd_size is 4"),
    ("SDAR", {"attention_bias": 1}, "attention_bias must be a bool, got 1"),
    ("Fast-dLLM v2", {"block_size": 32}, "block_size is 32"),
    ("Fast-dLLM v2", {"head_dim": 32}, "head_dim is 32"),
    ("Dream", {"num_attention_heads": 5}, "hidden_size 64 is not a multiple"),
    ("A2D-Qwen2", {"head_dim": 32}, "head_dim is 32"),
    ("A2D-Qwen3", {"attention_bias": "yes"}, "attention_bias must be a bool, got 'yes'"),
    ("A2D-Qwen3", {"head_dim": 15}, "a head has 15 features, expected an even number"),
    ("A2D-Llama", {"rope_scaling": {"rope_type": "llama3"}}, "factor must be a float, got None"),
    ("A2D-Llama", {"sliding_window": 512}, "sliding_window is 512"),
    ("iLLaDA", {"layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05"),
    ("iLLaDA", {"rope_scaling": {"type": "default", "factor": 2.0}}, "factor is 2.0"),
]


@pytest.mark.parametrize(("family", "changes", "says"), OF_ONE, ids=str)
def test_what_a_single_family_refuses(
    dense: Callable[..., Path], family: str, changes: dict[str, Any], says: str
) -> None:
    path = dense(family)
    content = json.loads((path / "config.json").read_text()) | changes
    (path / "config.json").write_text(json.dumps(content))
    assert f"config.json: {says}" in refusal(path)


BIASES = [
    ("A2D-Qwen3", "attention_bias", "self_attn.o_proj.bias"),
    ("A2D-Qwen3 bd3lm", "attention_bias", "self_attn.o_proj.bias"),
    ("SDAR", "attention_bias", "self_attn.k_proj.bias"),
    ("OPDLM", "attention_bias", "self_attn.v_proj.bias"),
    ("A2D-Llama", "attention_bias", "self_attn.q_proj.bias"),
    ("A2D-Llama", "mlp_bias", "mlp.down_proj.bias"),
    ("iLLaDA", "attention_bias", "self_attn.v_proj.bias"),
    ("iLLaDA", "mlp_bias", "mlp.gate_proj.bias"),
]


@pytest.mark.parametrize(("family", "setting", "tensor"), BIASES)
def test_biases_that_the_config_promises_must_be_there(
    dense: Callable[..., Path], family: str, setting: str, tensor: str
) -> None:
    path = dense(family, **{setting: True})
    assert f"missing tensor model.layers.0.{tensor}" in refusal(path)


def test_heads_of_a_qwen3_whose_config_does_not_say_their_size() -> None:
    """As transformers' Qwen3 has them, whatever the network's width."""
    config = {
        "vocab_size": 64,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
    }
    assert qwen3_config(config)["head_dim"] == transformers.Qwen3Config().head_dim == 128
    assert llama_config(config)["head_dim"] == 16
    assert "head_dim" not in qwen2_config(config)


@pytest.mark.parametrize("family", FAMILIES)
def test_rotations_may_be_said_as_transformers_5_says_them(
    dense: Callable[..., Path], family: str
) -> None:
    older = dense(family)
    config = json.loads((older / "config.json").read_text())
    expected = load_model(older, device="cpu").network.model.rotary_emb.inv_freq
    rope = config.pop("rope_scaling") or {"rope_type": "default"}
    newer = dense(family, "newer")
    config["rope_parameters"] = rope | {"rope_theta": config.pop("rope_theta")}
    (newer / "config.json").write_text(json.dumps(config))
    assert torch.equal(load_model(newer, device="cpu").network.model.rotary_emb.inv_freq, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_published_key_is_unheard_of(
    dense: Callable[..., Path], family: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = dense(family)
    with caplog.at_level(logging.WARNING):
        load_model(path, device="cpu", weights=False)
    assert caplog.messages == []
