"""Every matrix of every expert is accounted for before the weights are loaded, and lies where it
belongs afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from diffengine.engine.models import network as network_module
from diffengine.engine.models.checkpoint import weight_files
from diffengine.engine.models.experts import (
    QWEN3_MOE,
    apart,
    check_stacked,
    has_experts,
    inner_features,
)
from diffengine.engine.models.family import CheckpointError, Stacked
from diffengine.engine.models.flops import mlp_multiply_adds
from diffengine.engine.models.loading import load_model

Tensors = dict[str, torch.Tensor]


def changed(directory: Path, change: Callable[[Tensors], Any]) -> None:
    """Rewrite the checkpoint as one file after `change`."""
    tensors: Tensors = {}
    for file in sorted(directory.glob("*.safetensors")):
        tensors |= load_file(file)
        file.unlink()
    (directory / "model.safetensors.index.json").unlink()
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


EXPERT = "model.layers.2.mlp.experts.7"
FAULTS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "one matrix missing": (
        lambda t: t.pop(f"{EXPERT}.up_proj.weight"),
        rf"missing tensor {EXPERT}.up_proj.weight",
    ),
    "another matrix missing": (
        lambda t: t.pop("model.layers.0.mlp.experts.0.down_proj.weight"),
        r"missing tensor model.layers.0.mlp.experts.0.down_proj.weight",
    ),
    "one of another shape": (
        lambda t: t.update({f"{EXPERT}.gate_proj.weight": torch.zeros(31, 64)}),
        rf"{EXPERT}.gate_proj.weight has shape \[31, 64\], config.json implies \[32, 64\]",
    ),
    "one turned over": (
        lambda t: t.update({f"{EXPERT}.down_proj.weight": torch.zeros(32, 64)}),
        rf"{EXPERT}.down_proj.weight has shape \[32, 64\], config.json implies \[64, 32\]",
    ),
    "a ninth expert": (
        lambda t: t.update({"model.layers.2.mlp.experts.8.up_proj.weight": torch.zeros(32, 64)}),
        r"unexpected tensor model.layers.2.mlp.experts.8.up_proj.weight",
    ),
    "experts in a dense layer": (
        lambda t: t.update({"model.layers.1.mlp.experts.0.up_proj.weight": torch.zeros(32, 64)}),
        r"unexpected tensor model.layers.1.mlp.experts.0.up_proj.weight",
    ),
    "an expert bias": (
        lambda t: t.update({"model.layers.0.mlp.gate.expert_bias": torch.zeros(8)}),
        r"unexpected tensor model.layers.0.mlp.gate.expert_bias",
    ),
    "a shared expert": (
        lambda t: t.update({"model.layers.0.shared_expert.up_proj.weight": torch.zeros(32, 64)}),
        r"unexpected tensor model.layers.0.shared_expert.up_proj.weight",
    ),
    "experts stacked already": (
        lambda t: t.update({"model.layers.0.mlp.experts.gate_up_proj": torch.zeros(8, 64, 64)}),
        r"unexpected tensor model.layers.0.mlp.experts.gate_up_proj",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_before_anything_is_loaded(
    mixture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    change, says = FAULTS[fault]
    path = mixture("LLaDA-MoE")
    changed(path, change)
    monkeypatch.setattr("diffengine.engine.models.loading.filled", None)
    with pytest.raises(CheckpointError, match=says):
        load_model(path, device="cpu")


def test_fewer_experts_in_the_config_than_in_the_file_are_named(
    mixture: Callable[..., Path],
) -> None:
    path = mixture("RND1")
    config = json.loads((path / "config.json").read_text()) | {"num_experts": 7}
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"unexpected tensor .*experts\.7\."):
        load_model(path, device="cpu")


@pytest.mark.parametrize("family", ["LLaDA-MoE", "RND1", "SDAR-MoE"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_expert_lies_where_it_belongs(
    mixture: Callable[..., Path], family: str, dtype: str
) -> None:
    """More experts than ten: their numbers are not the order of their names."""
    path = mixture(family, num_experts=12)
    model = load_model(path, device="cpu", dtype=dtype)
    tensors: Tensors = {}
    for file in path.glob("*.safetensors"):
        tensors |= load_file(file)
    state = model.network.state_dict()
    layers = [n for n in range(len(model.network.model.layers)) if has_experts(_config(model), n)]
    assert len(layers) == 2
    for layer in layers:
        name = f"model.layers.{layer}.mlp.experts"
        for expert in range(12):
            parts = [tensors.pop(f"{name}.{expert}.{p}_proj.weight") for p in ("gate", "up")]
            both = torch.cat(parts).to(model.dtype)
            assert torch.equal(state[f"{name}.gate_up_proj"][expert], both)
            down = tensors.pop(f"{name}.{expert}.down_proj.weight").to(model.dtype)
            assert torch.equal(state[f"{name}.down_proj"][expert], down)
    for name, tensor in tensors.items():
        assert torch.equal(state[name], tensor.to(model.dtype)), name


def _config(model: Any) -> Any:
    return model.network.config


SWAPS: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "two experts": lambda up, down: up.copy_(up[[1, 0, *range(2, 8)]]),
    "two experts' way back": lambda up, down: down.copy_(down[[1, 0, *range(2, 8)]]),
    "gate and up": lambda up, down: up.copy_(up.roll(32, 1)),
    "the last expert": lambda up, down: down[7].zero_(),
}


@pytest.mark.parametrize("swap", SWAPS)
def test_an_expert_that_arrived_elsewhere_is_seen(mixture: Callable[..., Path], swap: str) -> None:
    path = mixture("LLaDA-MoE")
    model = load_model(path, device="cpu")
    files = weight_files(path)
    check_stacked(model.network, model.family, files)
    experts = model.network.model.layers[2].mlp.experts
    SWAPS[swap](experts.gate_up_proj, experts.down_proj)
    with pytest.raises(CheckpointError, match=r"layers\.2\.mlp.* did not arrive"):
        check_stacked(model.network, model.family, files)


def after_loading(monkeypatch: pytest.MonkeyPatch, then: Callable[[Any], Any]) -> None:
    """Let `then` happen to a network that has got its weights."""
    load = network_module.load_weights

    def changed_load(network: Any, *arguments: Any, **settings: Any) -> None:
        load(network, *arguments, **settings)
        then(network)

    monkeypatch.setattr(network_module, "load_weights", changed_load)


@torch.no_grad()
def _swapped(network: Any) -> None:
    down = network.model.layers[0].mlp.experts.down_proj
    down.copy_(down.flip(0))


def test_loading_refuses_experts_that_arrived_elsewhere(
    mixture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    after_loading(monkeypatch, _swapped)
    with pytest.raises(CheckpointError, match=r"layers\.0\.mlp.* did not arrive"):
        load_model(mixture("LLaDA-MoE"), device="cpu")


def test_loading_refuses_rounded_frequencies(
    mixture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    after_loading(monkeypatch, lambda network: network.to(torch.bfloat16))
    with pytest.raises(CheckpointError, match="inv_freq is not float32"):
        load_model(mixture("LLaDA-MoE"), device="cpu", dtype="bfloat16")


def test_stacked_tensors_come_apart_into_their_parts() -> None:
    shapes = {"m.0.mlp.experts.gate_up_proj": (2, 6, 5), "m.0.mlp.experts.down_proj": (2, 5, 3)}
    assert apart(shapes | {"m.norm": (5,)}, QWEN3_MOE) == {
        "m.0.mlp.experts.0.gate_proj.weight": (3, 5),
        "m.0.mlp.experts.0.up_proj.weight": (3, 5),
        "m.0.mlp.experts.1.gate_proj.weight": (3, 5),
        "m.0.mlp.experts.1.up_proj.weight": (3, 5),
        "m.0.mlp.experts.0.down_proj.weight": (5, 3),
        "m.0.mlp.experts.1.down_proj.weight": (5, 3),
        "m.norm": (5,),
    }
    assert apart({"a": (2, 3)}, (Stacked(".b", (".c",)),)) == {"a": (2, 3)}


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder_sparse_step": 2},
        {"decoder_sparse_step": 3, "mlp_only_layers": [2]},
        {"mlp_only_layers": [0, 3]},
        {"num_experts": 0},
    ],
    ids=str,
)
def test_layers_with_experts_are_the_stock_classs(settings: dict[str, Any]) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 8, "moe_intermediate_size": 8, "head_dim": 8}
    counts = {"num_hidden_layers": 6, "num_experts": 4, "vocab_size": 10}
    config = transformers.Qwen3MoeConfig(**{**sizes, **counts, **settings})
    with torch.device("meta"):
        layers = transformers.Qwen3MoeForCausalLM(config).model.layers
    for number, layer in enumerate(layers):
        assert has_experts(config, number) == hasattr(layer.mlp, "experts")


def test_a_config_without_dense_layers_is_counted_too() -> None:
    """Of a family from outside: OLMoE names the experts' width as others name that of an MLP."""
    sizes = {"hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 10}
    config = transformers.OlmoeConfig(**sizes, num_experts=4, num_experts_per_tok=2)
    assert has_experts(config, 0)
    assert mlp_multiply_adds(config, 0) == 16 * 4 + 2 * 3 * 16 * 8
    assert inner_features(config) == 2 * (8 + 16)
