"""A tiny random model in SDAR's format, prompts of chosen lengths, and what a decoder is seen to
do."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.qwen3 import modeling_qwen3

from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.runs.run import BUNDLED

# Widths are multiples of 32, as published ones are: torch computes what is left of two vectors of
# the processor by another routine, whose last bits are others.
CONFIG: dict[str, Any] = {
    "architectures": ["SDARForCausalLM"],
    "model_type": "sdar",
    "vocab_size": 560,
    "hidden_size": 32,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "block_size": 4,
    "mask_token_id": 5,
    "eos_token_id": 1,
    "torch_dtype": "float32",
}


def write_sdar(directory: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A checkpoint of random weights in SDAR's published format; `changes` go into config.json."""
    directory.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED / name, directory / name)
    config = CONFIG | changes
    (directory / "config.json").write_text(json.dumps(config))
    arguments = {
        name: config[name] for name in CONFIG if name not in ("architectures", "model_type")
    }
    with torch.device("meta"):
        network = modeling_qwen3.Qwen3ForCausalLM(modeling_qwen3.Qwen3Config(**arguments))
    generator = torch.Generator().manual_seed(seed)

    def draw(name: str, shape: Sequence[int]) -> Tensor:
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            return 1 + 0.3 * noise
        return noise * (4.0 if name.startswith("lm_head") else 1.0) / shape[1] ** 0.5

    tensors = {name: draw(name, value.shape) for name, value in network.state_dict().items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture(scope="session")
def sdar_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint itself."""
    return write_sdar(tmp_path_factory.mktemp("sdar") / "model")


@pytest.fixture(scope="session")
def sdar(sdar_path: Path) -> MaskedDiffusionModel:
    """The model in float32."""
    return load_model(sdar_path, device="cpu")


@pytest.fixture
def wide_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock norm goes through float32 whatever its input is; here it stays in float64, of the
    engine's network and of the twin's alike."""

    def forward(self: Any, states: Tensor) -> Tensor:
        scale = torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * (states * scale)

    monkeypatch.setattr(modeling_qwen3.Qwen3RMSNorm, "forward", forward)


@pytest.fixture(scope="session")
def sdar_double(sdar: MaskedDiffusionModel) -> MaskedDiffusionModel:
    """The model in float64: of no checkpoint's dtype, so made of the loaded one."""
    network = copy.deepcopy(sdar.network).double()
    network.config.dtype = torch.float64
    forward = type(sdar.forward)(network)
    return dataclasses.replace(sdar, network=network, forward=forward)
