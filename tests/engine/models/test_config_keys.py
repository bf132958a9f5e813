"""Keys of published configs: every one is asked for or known to change nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.models.config_keys import HARMLESS, AskedConfig, refuse_quantised
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.llada import LLADA
from diffengine.engine.models.loading import load_model
from diffengine.engine.runs.run import BUNDLED

LLADA_8B: dict[str, Any] = {
    "activation_type": "silu",
    "alibi": False,
    "alibi_bias_max": 8.0,
    "architectures": ["LLaDAModelLM"],
    "attention_dropout": 0.0,
    "attention_layer_norm": False,
    "attention_layer_norm_with_affine": True,
    "auto_map": {"AutoModel": "modeling_llada.LLaDAModelLM"},
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "llama",
    "d_model": 4096,
    "embedding_dropout": 0.0,
    "embedding_size": 126464,
    "eos_token_id": 126081,
    "flash_attention": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "init_cutoff_factor": None,
    "init_device": "meta",
    "init_fn": "mitchell",
    "init_std": 0.02,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "mask_token_id": 126336,
    "max_sequence_length": 4096,
    "mlp_hidden_size": 12288,
    "mlp_ratio": 4,
    "model_type": "llada",
    "multi_query_attention": None,
    "n_heads": 32,
    "n_kv_heads": 32,
    "n_layers": 32,
    "pad_token_id": 126081,
    "precision": "amp_bf16",
    "residual_dropout": 0.0,
    "rms_norm_eps": 1e-05,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 500000.0,
    "scale_logits": False,
    "transformers_version": "4.46.3",
    "use_cache": False,
    "vocab_size": 126464,
    "weight_tying": False,
}


def test_lladas_published_config_is_covered() -> None:
    config = AskedConfig(LLADA_8B)
    LLADA.stock_config(config)
    LLADA.n_candidates(config)
    tokens = {LLADA.tokens.mask.key}
    assert config.passed_over(LLADA.harmless | tokens) == []
    assert {key for key in LLADA.harmless if key not in LLADA_8B} == set()


def test_the_bundled_model_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_model(BUNDLED, device="cpu", weights=False)
    assert caplog.messages == []


def test_an_unknown_key_is_told_and_does_not_block(
    random_checkpoint: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = random_checkpoint(residual_scale=0.5, note=None, experimental=False, tags=[])
    with caplog.at_level(logging.WARNING):
        load_model(path, device="cpu", weights=False)
    (said,) = caplog.messages
    assert f"{path}/config.json: this family knows nothing of residual_scale and" in said


def test_a_key_is_asked_for_however_it_is_looked_up() -> None:
    config = AskedConfig({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "dtype": "bfloat16"})
    assert config["a"] == 1
    assert config.get("b") == 2
    assert "c" in config
    assert "dtype" in HARMLESS
    assert config.passed_over({"d"}) == ["e"]
    assert len(config) == 6 and dict(config)["e"] == 5
    assert config.passed_over(()) == []


@pytest.mark.parametrize(
    ("value", "says"),
    [({"quant_method": "awq"}, "weights quantised by 'awq'"), ({"bits": 4}, "quantised weights")],
)
def test_quantised_weights_are_refused_by_name(value: object, says: str) -> None:
    with pytest.raises(CheckpointError, match=f"quantization_config says {says}"):
        refuse_quantised({"quantization_config": value})
    refuse_quantised({"quantization_config": None})
