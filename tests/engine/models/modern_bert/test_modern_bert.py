"""ModernBERT's files and config.json: every tensor accounted for, every value used or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.loading import load_model
from diffengine.engine.models.modern_bert import stock_config

FAULTS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "no bias": (lambda t: t.pop("decoder.bias"), r"missing tensor decoder\.bias"),
    "no dense": (lambda t: t.pop("head.dense.weight"), r"missing tensor head\.dense\.weight"),
    "a norm of the first layer": (
        lambda t: t.update({"model.layers.0.attn_norm.weight": torch.ones(60)}),
        r"unexpected tensor model\.layers\.0\.attn_norm\.weight",
    ),
    "a bias in a layer": (
        lambda t: t.update({"model.layers.1.mlp.Wi.bias": torch.ones(176)}),
        r"unexpected tensor model\.layers\.1\.mlp\.Wi\.bias",
    ),
    "another shape": (
        lambda t: t.update({"model.layers.1.mlp.Wo.weight": torch.ones(60, 87)}),
        r"mlp\.Wo\.weight has shape \[60, 87\], config\.json implies \[60, 88\]",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_tensor_is_accounted_for(checkpoint: Callable[..., Path], fault: str) -> None:
    path = checkpoint()
    change, says = FAULTS[fault]
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=says):
        load_model(path, device="cpu")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_activation": "relu"}, "hidden_activation is 'relu'"),
        ({"classifier_activation": "silu"}, "classifier_activation is 'silu'"),
        ({"position_embedding_type": "relative"}, "position_embedding_type is 'relative'"),
        ({"rope_scaling": {"factor": 2}}, "rope_scaling is"),
        ({"num_attention_heads": 7}, "60 is not a multiple of num_attention_heads 7"),
        ({"global_attn_every_n_layers": 0}, "must be 1 or more, got 0"),
        ({"layer_types": ["full_attention"]}, "for each of 5 layers"),
        ({"layer_types": ["linear"] * 5}, "for each of 5 layers"),
        ({"local_rope_theta": None}, "local_rope_theta must be a float"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, "must say full_attention"),
        ({"rope_parameters": 5}, "must say full_attention"),
        ({"local_attention": "128"}, "local_attention must be a int"),
    ],
    ids=str,
)
def test_what_is_not_covered_is_refused_by_name(
    published: dict[str, Any], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(CheckpointError, match=says):
        stock_config(published | changes)


def test_new_and_old_names_of_the_same_settings_are_one(published: dict[str, Any]) -> None:
    kinds = ["full_attention", *["sliding_attention"] * 2, "full_attention", "sliding_attention"]
    rope = {
        "full_attention": {"rope_theta": 160000.0, "rope_type": "default"},
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
    }
    old = stock_config(published)
    assert (old["layer_types"], old["rope_parameters"]) == (kinds, rope)
    renamed = {"layer_types": kinds, "rope_parameters": rope}
    gone = {"global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"}
    new = {key: value for key, value in published.items() if key not in gone}
    assert stock_config(new | renamed) == old
    for wrong in ({"rope_type": "yarn"}, {"factor": 2.0}):
        changed = {**rope, "full_attention": rope["full_attention"] | wrong}
        with pytest.raises(CheckpointError, match="with the plain rotation only"):
            stock_config(new | renamed | {"rope_parameters": changed})


def test_no_key_that_is_published_is_unheard_of(
    checkpoint: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    more = {"reference_compile": True, "repad_logits_with_grad": True}
    load_model(checkpoint(**more), device="cpu", weights=False)
    assert not caplog.records


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder_bias": False},
        {"tie_word_embeddings": False},
        dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), True),
    ],
    ids=str,
)
def test_other_biases_and_heads_are_the_stock_classs(
    checkpoint: Callable[..., Path], stock: Callable[[Path], Any], changes: dict[str, Any]
) -> None:
    path = checkpoint(**changes)
    write_random(path, stock)
    model, dense = load_model(path, device="cpu"), stock(path)
    ids = torch.randint(6, 500, (40,), generator=torch.Generator().manual_seed(1))
    packing = packing_of([40], model.device)
    logits = model.hidden(ids, torch.arange(40), packing) @ model.head_weight.T
    with torch.inference_mode():
        expected = dense(ids[None]).logits[0]
    torch.testing.assert_close(logits, expected, atol=2e-5, rtol=2e-5)


def write_random(path: Path, stock: Callable[[Path], Any]) -> None:
    """Replace the weights by random ones of all that the stock class has with this config."""
    network = stock(path)
    generator = torch.Generator().manual_seed(4)
    tensors = {}
    for name, tensor in network.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        tensors[name] = 0.5 + 0.5 * noise if tensor.ndim == 1 else noise / tensor.shape[1] ** 0.5
    if network.config.tie_word_embeddings:
        del tensors["decoder.weight"]
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
