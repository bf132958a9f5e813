"""The mapping into the stock class, against LLaDA's block written out by hand, and the refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.llada import COVERED, stock_config
from diffengine.engine.models.loading import load_model

LLADA_8B = {
    "d_model": 4096,
    "n_layers": 32,
    "n_heads": 32,
    "n_kv_heads": 32,
    "mlp_hidden_size": 12288,
    "vocab_size": 126464,
    "embedding_size": 126464,
    "max_sequence_length": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "weight_tying": False,
    "rope": True,
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
}


def llada_logits(weights: dict[str, torch.Tensor], config: dict, ids: torch.Tensor) -> torch.Tensor:
    """LLaDA's network as published, one sequence [L] -> logits [L, V], in the dtype of the
    weights."""
    w = {k.removeprefix("model.transformer."): v for k, v in weights.items()}
    heads, width = config["n_heads"], config["d_model"]
    kv_heads, size = config["n_kv_heads"], width // heads
    inverse = 1.0 / config["rope_theta"] ** (torch.arange(0, size, 2).float() / size)
    angles = torch.outer(torch.arange(len(ids)).float(), inverse).repeat(1, 2)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + config["rms_norm_eps"])
        return w[f"{name}.weight"] * scaled.to(x.dtype)

    def rotate(x: torch.Tensor) -> torch.Tensor:
        a, b = x.float().chunk(2, -1)
        turned = torch.cat([-b, a], -1)
        return (x.float() * angles.cos() + turned * angles.sin()).to(x.dtype)

    h = w["wte.weight"][ids]
    for layer in range(config["n_layers"]):
        n = f"blocks.{layer}."
        x = norm(h, n + "attn_norm")
        q, k, v = (
            (x @ w[f"{n}{p}_proj.weight"].T).view(len(ids), count, size).transpose(0, 1)
            for p, count in (("q", heads), ("k", kv_heads), ("v", kv_heads))
        )
        q, k = rotate(q), rotate(k)
        k, v = (t.repeat_interleave(heads // kv_heads, 0) for t in (k, v))
        if (
            ids.device.type == "cpu" and h.dtype == torch.bfloat16
        ):  # the published code's kernel, for its rounding
            attended = torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None])[
                0
            ]
        else:
            attended = (q @ k.transpose(-1, -2) / math.sqrt(size)).softmax(-1) @ v
        h = h + attended.transpose(0, 1).reshape(len(ids), width) @ w[n + "attn_out.weight"].T
        x = norm(h, n + "ff_norm")
        gated = torch.nn.functional.silu(x @ w[n + "ff_proj.weight"].T) * (
            x @ w[n + "up_proj.weight"].T
        )
        h = h + gated @ w[n + "ff_out.weight"].T
    return norm(h, "ln_f") @ w.get("ff_out.weight", w["wte.weight"]).T


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_kv_heads": 2},
        {"weight_tying": True},
        {"embedding_size": None},
        {"rope_theta": 500000.0},
    ],
)
def test_the_stock_class_computes_lladas_network(random_checkpoint, changes: dict) -> None:
    path = random_checkpoint(**changes)
    model = load_model(path, device="cpu")
    ids = torch.randint(6, 500, (90,), generator=torch.Generator().manual_seed(1))
    expected = llada_logits(
        load_file(path / "model.safetensors"), json.loads((path / "config.json").read_text()), ids
    )
    hidden = model.hidden(ids, torch.arange(90), packing_of([90], model.device))
    torch.testing.assert_close(hidden @ model.head_weight.T, expected, atol=2e-5, rtol=2e-5)


def test_bfloat16_is_bit_equal_to_the_published_network(random_checkpoint) -> None:
    path = random_checkpoint(scale=4.0)
    model = load_model(path, device="cpu", dtype="bfloat16")
    weights = {k: v.to(torch.bfloat16) for k, v in load_file(path / "model.safetensors").items()}
    ids = torch.randint(6, 500, (200,), generator=torch.Generator().manual_seed(2))
    expected = llada_logits(weights, json.loads((path / "config.json").read_text()), ids)
    hidden = model.hidden(ids, torch.arange(200), packing_of([200], model.device))
    assert torch.equal(hidden @ model.head_weight.T, expected)


def test_bfloat16_keeps_float32_rope(random_checkpoint) -> None:
    path = random_checkpoint()
    model = load_model(path, device="cpu", dtype="bfloat16")
    assert model.network.model.rotary_emb.inv_freq.dtype == torch.float32
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}
    cos, _ = model.network.model.rotary_emb(
        torch.zeros(1, 1, dtype=torch.bfloat16), torch.arange(1000)[None]
    )
    assert cos.dtype == torch.float32


def test_lladas_own_shape_maps() -> None:
    mapped = stock_config(LLADA_8B)
    assert (mapped["hidden_size"], mapped["intermediate_size"], mapped["vocab_size"]) == (
        4096,
        12288,
        126464,
    )
    assert mapped["rope_parameters"] == {"rope_type": "default", "rope_theta": 500000.0}
    assert mapped["tie_word_embeddings"] is False


@pytest.mark.parametrize("field", list(COVERED))
def test_every_uncovered_value_is_refused_by_name(field: str) -> None:
    with pytest.raises(CheckpointError, match=rf"config\.json: {field} is 'something else'"):
        stock_config(LLADA_8B | {field: "something else"})


@pytest.mark.parametrize(
    "field", ["d_model", "n_heads", "n_layers", "rms_norm_eps", "weight_tying", "rope_theta"]
)
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(CheckpointError, match=field):
        stock_config({k: v for k, v in LLADA_8B.items() if k != field})


def test_refusals_name_the_directory(random_checkpoint: object, tmp_path: Path) -> None:
    path = random_checkpoint(alibi=True)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=f"{path}/config.json: alibi is True"):
        load_model(path, device="cpu")
