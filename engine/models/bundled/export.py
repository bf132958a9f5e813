"""Write a training state as a checkpoint directory in LLaDA's own on-disk format.

`python -m diffengine.engine.models.bundled.export --work DIR --out DIR`. Averaged weights,
bfloat16, LLaDA's tensor names; the sampler's defaults go to generation_config.json.
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
from .tokenizer import EOS, MASK, save_tokenizer
from .train import ROPE_THETA, SHAPE

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


def export(work: Path, out: Path) -> None:
    """Write `out` from the state and tokenizer that training left in `work`."""
    out.mkdir(parents=True, exist_ok=True)
    state = torch.load(work / "state.pt", map_location="cpu", weights_only=True)
    tensors = {}
    for name, weight in state["average"].items():
        tensors[original_name(name, LLADA.renames)] = weight.to(torch.bfloat16).contiguous()
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})

    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    save_tokenizer(tokenizer, out, max_length=int(SHAPE["max_position_embeddings"]))

    config = llada_config(tokenizer.get_vocab_size())
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "generation_config.json").write_text(json.dumps(SAMPLER, indent=2) + "\n")


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "checkpoint")
    args = parser.parse_args()
    export(args.work, args.out)


if __name__ == "__main__":
    main()
