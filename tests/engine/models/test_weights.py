"""Weights one tensor at a time: the same network as transformers loads, and no copy of it on the
host on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from diffengine.engine.models.bundled import BUNDLED
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.llada import LLADA, stock_config
from diffengine.engine.models.network import stock_of
from diffengine.engine.models.weights import WeightsLater, load_weights

PEAK = """
import json, sys
import torch
from diffengine.engine.models.llada import LLADA, stock_config
from diffengine.engine.models.network import filled, stock_of
from pathlib import Path

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

directory = Path(sys.argv[1])
stock = stock_of(LLADA, stock_config(json.loads((directory / "config.json").read_text())))
seen = []
original = torch.Tensor.to
def to(tensor, *rest, **options):
    moved = original(tensor, *rest, **options)
    seen.append(anonymous())
    return moved
torch.Tensor.to = to
before = anonymous()
filled(stock, LLADA, directory, device=torch.device("meta"), dtype=getattr(torch, sys.argv[2]))
print(max(seen) - before)
"""
"""The device is torch's meta device, as far from the host's memory as a GPU."""


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 83 MB whose largest tensor has 4 MB, in bfloat16."""
    path = tmp_path_factory.mktemp("larger")
    config = json.loads((BUNDLED / "config.json").read_text())
    config |= {"d_model": 1024, "mlp_hidden_size": 2048, "n_heads": 8, "n_kv_heads": 8}
    (path / "config.json").write_text(json.dumps(config))
    tensors = {}
    for name, tensor in load_file(BUNDLED / "model.safetensors").items():
        width = {128: 1024, 384: 2048}
        shape = [width.get(size, size) for size in tensor.shape]
        tensors[name] = torch.ones(shape, dtype=torch.bfloat16)
    save_file(tensors, path / "model.safetensors")
    return path


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_host_never_holds_the_model_on_its_way_to_a_device(larger: Path, dtype: str) -> None:
    program = [sys.executable, "-P", "-c", PEAK, str(larger), dtype]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    size = (larger / "model.safetensors").stat().st_size
    assert size > 60_000_000
    assert int(done.stdout) < size / 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_network_is_the_one_that_transformers_loads(dtype: torch.dtype) -> None:
    config = json.loads((BUNDLED / "config.json").read_text())
    stock = stock_of(LLADA, stock_config(config))
    theirs = stock.cls.from_pretrained(
        BUNDLED,
        config=stock.config,
        key_mapping=dict(LLADA.renames),
        dtype=dtype,
        local_files_only=True,
    )
    with WeightsLater():
        ours = stock.cls(stock.config)
    files = [BUNDLED / "model.safetensors"]
    load_weights(ours, LLADA, files, device=torch.device("cpu"), dtype=dtype)

    expected = dict(theirs.named_parameters()) | dict(theirs.named_buffers())
    result = dict(ours.named_parameters()) | dict(ours.named_buffers())
    assert result.keys() == expected.keys()
    for name, tensor in expected.items():
        assert result[name].dtype == tensor.dtype, name
        assert torch.equal(result[name], tensor), name


def test_a_tied_head_is_the_embedding_itself() -> None:
    path = BUNDLED
    config = json.loads((path / "config.json").read_text()) | {"weight_tying": True}
    stock = stock_of(LLADA, stock_config(config))
    with WeightsLater():
        network: Any = stock.cls(stock.config)
    cpu = torch.device("cpu")
    load_weights(network, LLADA, [path / "model.safetensors"], device=cpu, dtype=torch.float32)
    stored = load_file(path / "model.safetensors")["model.transformer.ff_out.weight"].float()
    # This checkpoint has a head of its own, and nobody guesses which is meant: `filled` refuses.
    assert torch.equal(network.lm_head.weight, stored)

    (own,) = [tensor for name, tensor in network.named_parameters() if name == "lm_head.weight"]
    assert own is not network.model.embed_tokens.weight


def test_a_tensor_that_nobody_fills_is_named() -> None:
    class Strange(torch.nn.Module):
        config = transformers.LlamaConfig()

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.empty(3), persistent=False)

        def get_input_embeddings(self) -> Any:
            return torch.nn.Embedding(1, 1)

    with WeightsLater():
        network = Strange()
    with pytest.raises(CheckpointError, match="no values for table, which the stock class Strange"):
        load_weights(
            network,
            LLADA,
            [BUNDLED / "model.safetensors"],
            device=torch.device("cpu"),
            dtype=torch.float32,
        )


def test_outside_of_the_mode_matrices_are_real() -> None:
    with WeightsLater():
        assert torch.empty(2).is_meta
        assert not torch.arange(2).is_meta
    assert not torch.empty(2).is_meta
