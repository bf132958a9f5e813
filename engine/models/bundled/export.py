"""Write a training state as a checkpoint directory in the on-disk format of LLaDA, or of SDAR for
the block model.

`python -m diffengine.engine.models.bundled.export --work DIR --out DIR`, and `--block-length K` of
the block model. Averaged weights, bfloat16, the published names of tensors; the sampler's defaults
go to generation_config.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from ..checkpoint import original_name
from ..llada import LLADA
from . import BUNDLED, BUNDLED_BLOCK
from .tokenizer import EOS, MASK, save_tokenizer
from .train import ROPE_THETA, SHAPE

BLOCK_SAMPLER = {
    "gen_length": 48,
    "remasking_strategy": "low_confidence_static",
    "temperature": 0.0,
}
"""Of the block model: one token a step, as the other has it; the published defaults draw tokens."""

SAMPLER = {"steps": 48, "gen_length": 48, "block_length": 8, "temperature": 0.0}


def llada_config(vocab_size: int) -> dict[str, object]:
    """config.json with the fields of LLaDA-8B's."""
    return {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        "d_model": SHAPE["hidden_size"],
        "mlp_hidden_size": SHAPE["intermediate_size"],
        "n_layers": SHAPE["num_hidden_layers"],
        "n_heads": SHAPE["num_attention_heads"],
        "n_kv_heads": SHAPE["num_attention_heads"],
        "vocab_size": vocab_size,
        "embedding_size": vocab_size,
        "max_sequence_length": SHAPE["max_position_embeddings"],
        "rms_norm_eps": SHAPE["rms_norm_eps"],
        "rope": True,
        "rope_theta": ROPE_THETA,
        "rope_full_precision": True,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "block_type": "llama",
        "block_group_size": 1,
        "activation_type": "silu",
        "alibi": False,
        "attention_layer_norm": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "input_emb_norm": False,
        "scale_logits": False,
        "weight_tying": False,
        "multi_query_attention": None,
        "mask_token_id": MASK,
        "eos_token_id": EOS,
        "pad_token_id": EOS,
        "torch_dtype": "bfloat16",
        "use_cache": False,
    }


def sdar_config(vocab_size: int, block_length: int) -> dict[str, object]:
    """config.json with the fields of SDAR's checkpoints."""
    heads = SHAPE["num_attention_heads"]
    return {
        "architectures": ["SDARForCausalLM"],
        "model_type": "sdar",
        "vocab_size": vocab_size,
        "hidden_size": SHAPE["hidden_size"],
        "intermediate_size": SHAPE["intermediate_size"],
        "num_hidden_layers": SHAPE["num_hidden_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": SHAPE["hidden_size"] // heads,
        "hidden_act": "silu",
        "max_position_embeddings": SHAPE["max_position_embeddings"],
        "rms_norm_eps": SHAPE["rms_norm_eps"],
        "rope_theta": ROPE_THETA,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": SHAPE["num_hidden_layers"],
        "tie_word_embeddings": False,
        "block_size": block_length,
        "mask_token_id": MASK,
        "eos_token_id": EOS,
        "pad_token_id": EOS,
        "torch_dtype": "bfloat16",
        "use_cache": False,
    }


def export(work: Path, out: Path, *, block_length: int | None = None) -> None:
    """Write `out` from the state and tokenizer that training left in `work`; the block model's with
    its `block_length`."""
    out.mkdir(parents=True, exist_ok=True)
    state = torch.load(work / "state.pt", map_location="cpu", weights_only=True)
    tensors = {}
    for name, weight in state["average"].items():
        published = name if block_length else original_name(name, LLADA.renames)
        tensors[published] = weight.to(torch.bfloat16).contiguous()
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})

    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    save_tokenizer(tokenizer, out, max_length=int(SHAPE["max_position_embeddings"]))

    vocab_size = tokenizer.get_vocab_size()
    config = sdar_config(vocab_size, block_length) if block_length else llada_config(vocab_size)
    sampler = BLOCK_SAMPLER if block_length else SAMPLER
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "generation_config.json").write_text(json.dumps(sampler, indent=2) + "\n")


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--block-length", type=int, help="of the block model, if it is that")
    args = parser.parse_args()
    out = args.out or (BUNDLED_BLOCK if args.block_length else BUNDLED)
    export(args.work, out, block_length=args.block_length)


if __name__ == "__main__":
    main()
