"""Checkpoints of ModernBERT as a diffusion model, random and tiny, in the format that is published;
and the stock class over them by transformers' own loading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.runs.run import BUNDLED

PUBLISHED: dict[str, Any] = {
    "architectures": ["ModernBertForMaskedLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "mean",
    "cls_token_id": 0,
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "dtype": "bfloat16",
    "embedding_dropout": 0.0,
    "eos_token_id": 4,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "gradient_checkpointing": False,
    "hidden_activation": "gelu",
    "hidden_size": 60,
    "initializer_cutoff_factor": 2.0,
    "initializer_range": 0.02,
    "intermediate_size": 88,
    "layer_norm_eps": 1e-05,
    "local_attention": 24,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 1024,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "model_type": "modernbert",
    "norm_bias": False,
    "norm_eps": 1e-05,
    "num_attention_heads": 5,
    "num_hidden_layers": 5,
    "pad_token_id": 1,
    "position_embedding_type": "absolute",
    "sep_token_id": 4,
    "sparse_pred_ignore_index": -100,
    "sparse_prediction": False,
    "tie_word_embeddings": True,
    "transformers_version": "4.57.1",
    "vocab_size": 560,
}
TOKENS = {"<|mdm_mask|>": "[MASK]", "<|endoftext|>": "[PAD]", "<|eot_id|>": "[SEP]"}


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of the published files: one head is the embedding, and only its bias is there."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "model.embeddings.tok_embeddings.weight": (config["vocab_size"], width),
        "model.embeddings.norm.weight": (width,),
        "model.final_norm.weight": (width,),
        "head.dense.weight": (width, width),
        "head.norm.weight": (width,),
        "decoder.bias": (config["vocab_size"],),
    }
    for layer in range(config["num_hidden_layers"]):
        block = {
            "attn.Wqkv.weight": (3 * width, width),
            "attn.Wo.weight": (width, width),
            "mlp.Wi.weight": (2 * inner, width),
            "mlp.Wo.weight": (width, inner),
            "mlp_norm.weight": (width,),
        }
        if layer:
            block["attn_norm.weight"] = (width,)
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return shapes


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if name == "decoder.bias":
        return 1.5 * noise
    if len(shape) == 1:
        return 1 + 0.3 * noise
    return 1.5 * noise / shape[1] ** 0.5


def write_checkpoint(directory: Path, **changes: Any) -> Path:
    directory.mkdir(parents=True)
    text = (BUNDLED / "tokenizer.json").read_text()
    for ours, theirs in TOKENS.items():
        text = text.replace(ours, theirs)
    (directory / "tokenizer.json").write_text(text)
    names = {"mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]"}
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192, **names}
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    config = PUBLISHED | changes
    (directory / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(3)
    tensors = {name: draw(name, shape, generator) for name, shape in shapes_of(config).items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint as it is published; `changes` go into config.json."""
    return lambda name="checkpoint", **changes: write_checkpoint(tmp_path / name, **changes)


@pytest.fixture
def model(checkpoint: Callable[..., Path]) -> MaskedDiffusionModel:
    """The checkpoint, loaded."""
    return load_model(checkpoint(), device="cpu")


@pytest.fixture
def published() -> dict[str, Any]:
    """config.json as the checkpoints have it."""
    return dict(PUBLISHED)


def load_stock(path: Path) -> Any:
    network = transformers.ModernBertForMaskedLM.from_pretrained(
        path, attn_implementation="eager", dtype=torch.float32
    )
    return network.eval()


@pytest.fixture
def stock() -> Callable[[Path], Any]:
    """`stock(path)`: the stock class by transformers' own loading, attention as it is written."""
    return load_stock
