"""LLaDA2's files and config.json: every row of every tensor accounted for, every value used or
refused, LLaDA2.2 told apart."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffengine.engine.models import llada2 as family_module
from diffengine.engine.models import network as network_module
from diffengine.engine.models.checkpoint import weight_files
from diffengine.engine.models.family import CheckpointError, Split, TokenIds
from diffengine.engine.models.llada2 import LLADA2, stock_config
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.models.splits import check_split, joined, parts_of_wholes
from diffengine.engine.models.tokens import special_tokens
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import prompt_text

Tensors = dict[str, Tensor]


def changed(directory: Path, change: Callable[[Tensors], Any]) -> None:
    """Rewrite the checkpoint as one file after `change`."""
    tensors: Tensors = {}
    for file in sorted(directory.glob("*.safetensors")):
        tensors |= load_file(file)
        file.unlink()
    (directory / "model.safetensors.index.json").unlink()
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


QKV = "model.layers.1.attention.query_key_value.weight"
FAULTS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "no projection": (
        lambda t: t.pop(QKV),
        rf"missing tensor {QKV} \(needed as model.layers.1.self_attn.query_key_value.weight\)",
    ),
    "a projection of one head less": (
        lambda t: t.update({QKV: torch.zeros(168, 64)}),
        rf"{QKV} has shape \[168, 64\], config.json implies \[192, 64\]",
    ),
    "a part beside the whole": (
        lambda t: t.update({"model.layers.1.self_attn.q_proj.weight": torch.zeros(96, 64)}),
        r"unexpected tensor model.layers.1.self_attn.q_proj.weight",
    ),
    "a bias of the projection": (
        lambda t: t.update({QKV.replace("weight", "bias"): torch.zeros(192)}),
        r"unexpected tensor model.layers.1.attention.query_key_value.bias",
    ),
    "no bias of the experts": (
        lambda t: t.pop("model.layers.2.mlp.gate.expert_bias"),
        r"missing tensor model.layers.2.mlp.gate.expert_bias",
    ),
    "no shared expert": (
        lambda t: t.pop("model.layers.2.mlp.shared_experts.up_proj.weight"),
        r"missing tensor model.layers.2.mlp.shared_experts.up_proj.weight",
    ),
    "an expert's matrix missing": (
        lambda t: t.pop("model.layers.2.mlp.experts.15.down_proj.weight"),
        r"missing tensor model.layers.2.mlp.experts.15.down_proj.weight",
    ),
    "experts in the dense layer": (
        lambda t: t.update({"model.layers.0.mlp.experts.0.up_proj.weight": torch.zeros(32, 64)}),
        r"unexpected tensor model.layers.0.mlp.experts.0.up_proj.weight",
    ),
    "the embedding under two names": (
        lambda t: t.update({"model.embed_tokens.weight": torch.zeros(560, 64)}),
        r"model\.embed_tokens\.weight.* are both needed as model\.embed_tokens\.weight",
    ),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_is_named_before_anything_is_loaded(
    llada2: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    change, says = FAULTS[fault]
    path = llada2()
    changed(path, change)
    monkeypatch.setattr("diffengine.engine.models.loading.filled", None)
    with pytest.raises(CheckpointError, match=says):
        load_model(path, device="cpu")


NAMES = {
    "attention.dense": "self_attn.o_proj",
    "attention.query_layernorm": "self_attn.q_norm",
    "attention.key_layernorm": "self_attn.k_norm",
    "mlp.gate.expert_bias": "mlp.gate.e_score_correction_bias",
    "word_embeddings": "embed_tokens",
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_row_lies_where_it_belongs(
    llada2: Callable[..., Path], file_tensors: Any, dtype: str
) -> None:
    path = llada2()
    model = load_model(path, device="cpu", dtype=dtype)
    state = model.network.state_dict()
    rest = file_tensors(path)
    for layer in range(3):
        name = f"model.layers.{layer}"
        whole = rest.pop(f"{name}.attention.query_key_value.weight").to(model.dtype)
        parts = [state.pop(f"{name}.self_attn.{part}_proj.weight") for part in "qkv"]
        assert [len(part) for part in parts] == [96, 48, 48]
        assert torch.equal(torch.cat(parts), whole)
        for expert in range(16) if layer else ():
            matrices = f"{name}.mlp.experts.{expert}"
            both = [rest.pop(f"{matrices}.{part}_proj.weight") for part in ("gate", "up")]
            gate_up = state[f"{name}.mlp.experts.gate_up_proj"][expert]
            assert torch.equal(gate_up, torch.cat(both).to(model.dtype))
            down = rest.pop(f"{matrices}.down_proj.weight").to(model.dtype)
            assert torch.equal(state[f"{name}.mlp.experts.down_proj"][expert], down)
    for name, tensor in rest.items():
        stock = name
        for theirs, ours in NAMES.items():
            stock = stock.replace(theirs, ours)
        kept = torch.float32 if name.endswith("expert_bias") else model.dtype
        assert state[stock].dtype == kept
        assert torch.equal(state[stock], tensor.to(kept)), name


SWAPS: dict[str, Callable[[Any], Any]] = {
    "keys and values": lambda attention: attention.k_proj.weight.copy_(attention.v_proj.weight),
    "queries turned over": lambda attention: attention.q_proj.weight.copy_(
        attention.q_proj.weight.flip(0)
    ),
    "the last row": lambda attention: attention.v_proj.weight[-1].zero_(),
}


@pytest.mark.parametrize("swap", sorted(SWAPS))
def test_rows_that_arrived_elsewhere_are_seen(
    llada2: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    path = llada2()
    model = load_model(path, device="cpu")
    check_split(model.network, model.family, weight_files(path))
    load = network_module.load_weights

    @torch.no_grad()
    def swapped(network: Any, *arguments: Any, **settings: Any) -> None:
        load(network, *arguments, **settings)
        SWAPS[swap](network.model.layers[2].self_attn)

    monkeypatch.setattr(network_module, "load_weights", swapped)
    with pytest.raises(CheckpointError, match=rf"{QKV.replace('1', '2')} did not arrive"):
        load_model(path, device="cpu")


def test_a_whole_comes_apart_into_its_parts() -> None:
    split = (Split(".all.weight", (".a.weight", ".b.weight")),)
    shapes = {"m.0.a.weight": (2, 5), "m.norm": (5,), "m.0.b.weight": (3, 5), "m.1.c": (1,)}
    assert joined(shapes, split) == {"m.norm": (5,), "m.1.c": (1,), "m.0.all.weight": (5, 5)}
    parts = {
        "m.0.a.weight": ("m.0.all.weight", 0, 2),
        "m.0.b.weight": ("m.0.all.weight", 2, 5),
    }
    assert parts_of_wholes(shapes, split) == parts
    assert joined(shapes, ()) == shapes


REFUSED = {
    "use_bias": True,
    "use_qkv_bias": True,
    "use_qk_norm": False,
    "use_rmsnorm": False,
    "norm_head": True,
    "norm_topk_prob": False,
    "score_function": "softmax",
    "moe_router_enable_expert_bias": False,
    "router_dtype": "bf16",
    "rope_scaling": {"type": "yarn"},
    "rope_parameters": {"rope_type": "yarn"},
    "num_nextn_predict_layers": 1,
}


@pytest.mark.parametrize("field", sorted(REFUSED))
def test_every_value_that_is_not_covered_is_refused_by_name(
    llada2_config: dict[str, Any], field: str
) -> None:
    stock_config(llada2_config)
    value = REFUSED[field]
    says = rf"config\.json: {field} is {re.escape(repr(value))}"
    with pytest.raises(CheckpointError, match=says):
        stock_config(llada2_config | {field: value})
    assert set(REFUSED) == set(family_module.COVERED)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ({"use_sliding_window": True}, "use_sliding_window is True"),
    ({"num_experts": 15}, "num_experts is 15, n_group 4"),
    ({"n_group": 16}, "n_group 16"),
    ({"topk_group": 5}, "topk_group 5"),
    ({"num_experts_per_tok": 9}, "num_experts_per_tok is 9, but topk_group 2 leaves 8"),
    ({"num_shared_experts": 0}, "num_shared_experts is 0, expected 1 or more"),
    ({"first_k_dense_replace": 4}, "first_k_dense_replace is 4, expected 0 to 3"),
    ({"partial_rotary_factor": 1.5}, "partial_rotary_factor is 1.5"),
    ({"rotary_dim": 24}, "rotary_dim is 24"),
    ({"routed_scaling_factor": None}, "routed_scaling_factor must be a float, got None"),
    ({"head_dim": 0}, "head_dim is 0"),
    ({"num_key_value_heads": 3}, "4 is not a multiple of num_key_value_heads 3"),
]


@pytest.mark.parametrize(("changes", "says"), WRONG, ids=str)
def test_what_does_not_fit_together_is_said(
    llada2_config: dict[str, Any], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(CheckpointError, match=says):
        stock_config(llada2_config | changes)


def test_the_published_shapes_map(llada2_config: dict[str, Any]) -> None:
    """LLaDA2.0-mini's and 2.1-mini's."""
    sizes = {
        "first_k_dense_replace": 1,
        "head_dim": 128,
        "hidden_size": 2048,
        "intermediate_size": 5120,
        "moe_intermediate_size": 512,
        "n_group": 8,
        "num_attention_heads": 16,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 20,
        "num_key_value_heads": 4,
        "rotary_dim": 64,
        "topk_group": 4,
        "vocab_size": 157184,
    }
    mapped = stock_config(llada2_config | sizes)
    assert mapped["rope_parameters"]["partial_rotary_factor"] == 0.5
    assert mapped["norm_topk_prob"] is True
    assert (mapped["n_routed_experts"], mapped["n_shared_experts"]) == (256, 1)


OF_2_2: dict[str, dict[str, Any]] = {
    "LLaDA2.0-mini": {"expert_capacity": 48},
    "a-checkpoint": {"delete_token_id": 6},
    "another": {"split_token_id": 7},
    "LLaDA2.2-flash": {},
    "renamed": {"_name_or_path": "inclusionAI/LLaDA2.2-flash"},
}


@pytest.mark.parametrize("name", sorted(OF_2_2))
def test_2_2_is_refused_with_the_reason(llada2: Callable[..., Path], name: str) -> None:
    with pytest.raises(CheckpointError, match="LLaDA2.2: it chooses the experts of a whole block"):
        load_model(llada2(name, **OF_2_2[name]), device="cpu", weights=False)


def test_2_2_is_refused_by_its_heading(llada2: Callable[..., Path]) -> None:
    path = llada2("LLaDA2.1-mini", expert_capacity=0)
    load_model(path, device="cpu", weights=False)
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# LLaDA2.1-mini\n")
    load_model(path, device="cpu", weights=False)
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# LLaDA 2.2\n")
    with pytest.raises(CheckpointError, match=r"README\.md is headed 'LLaDA 2\.2'"):
        load_model(path, device="cpu", weights=False)


def test_no_key_that_is_published_is_unheard_of(
    llada2: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_model(llada2("a"), device="cpu", weights=False)
    assert caplog.messages == []
    load_model(llada2("b", moe_frobnication=3), device="cpu", weights=False)
    assert "moe_frobnication" in caplog.text


def test_tokens_are_found_and_the_template_is_the_checkpoints(
    llada2: Callable[..., Path],
) -> None:
    """Nobody knows another: without one a chat prompt is refused."""
    path = llada2()
    model = load_model(path, device="cpu", weights=False)
    assert model.token_ids == TokenIds(mask=5, eos=1, eot=4)
    problem = Problem(id="p", question="2 + 2?", answer="4")
    text = "<role>HUMAN</role>2 + 2?<|role_end|><role>ASSISTANT</role>"
    assert prompt_text(problem, model, style="chat") == text
    settings = json.loads((path / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    model = load_model(path, device="cpu", weights=False)
    with pytest.raises(ValueError, match="raw"):
        prompt_text(problem, model, style="chat")


def test_ids_that_no_file_names_are_the_published_codes(
    bundled_model: MaskedDiffusionModel,
) -> None:
    config = {"pad_token_id": 156892}
    ids = special_tokens(LLADA2.tokens, config, bundled_model.tokenizer, Path("checkpoint"))
    assert (ids.mask, ids.eos) == (156895, 156892)


@pytest.mark.parametrize("key", ["block_length", "block_size"])
def test_the_length_of_a_block_is_the_checkpoints(llada2: Callable[..., Path], key: str) -> None:
    for name, said, length in (("a", {key: 16}, 16), ("b", {}, 32)):
        model = load_model(llada2(name, **said), device="cpu", weights=False)
        assert model.sampler_defaults["block_length"] == length
    path = llada2("c", **{key: 16})
    (path / "generation_config.json").write_text(json.dumps({"block_length": 8}))
    assert load_model(path, device="cpu", weights=False).sampler_defaults["block_length"] == 8
