"""A model family from outside: an installed package with an entry point, and a checkpoint of it.

The family is shifted as Dream is: the stock class is Qwen2, and the prediction of a position is read
one position before it.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from diffengine.engine.models import FAMILIES
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.runs.run import BUNDLED

SHAPE = {
    "vocab_size": 560,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}

SOURCE = f"""
from diffengine.engine.models.family import Family, TokenName, TokenNames, required

FIELDS = {tuple(SHAPE)!r}


def stock_config(config):
    required(config, "hidden_size")
    arguments = {{name: config[name] for name in FIELDS}}
    arguments["rope_parameters"] = {{"rope_type": "default", "rope_theta": 10000.0}}
    return arguments | {{"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}}


SHIFTED = Family(
    stock_class="Qwen2ForCausalLM",
    stock_config=stock_config,
    renames={{}},
    n_candidates=lambda config: required(config, "vocab_size"),
    tokens=TokenNames(
        mask=TokenName(text="<|mdm_mask|>"),
        eos=TokenName(key="eos_token_id", text="<|endoftext|>"),
        eot=TokenName(text="<|eot_id|>", optional=True),
    ),
    read_offset=-1,
    chat_template="Q: {{{{ messages[-1]['content'] }}}}\\nA:",
)
"""


class Plugin:
    """An installed package `shifted-family` of one module, which offers families."""

    SOURCE = SOURCE

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def offer(self, source: str = SOURCE, **targets: str) -> None:
        """Write the module, and the entry points `architecture=attribute`."""
        (self._folder / "shifted_family.py").write_text(source)
        info = self._folder / "shifted_family-1.5.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: shifted-family\nVersion: 1.5\n"
        )
        points = [f"{name} = shifted_family:{attribute}" for name, attribute in targets.items()]
        text = "\n".join(["[diffengine.families]", *points, ""])
        (info / "entry_points.txt").write_text(text)
        sys.modules.pop("shifted_family", None)
        importlib.invalidate_caches()
        FAMILIES._all = None


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    """A place for a package from outside, which is gone after the test."""
    folder = tmp_path / "site"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Plugin(folder)
    sys.modules.pop("shifted_family", None)
    monkeypatch.undo()
    importlib.invalidate_caches()
    FAMILIES._all = None


def qwen2(**changes: object) -> transformers.Qwen2ForCausalLM:
    """A bidirectional Qwen2 of random weights and biases, its confidences spread out."""
    config = transformers.Qwen2Config(
        **SHAPE,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        is_causal=False,
        use_cache=False,
        attn_implementation="eager",
        **changes,
    )
    torch.manual_seed(11)
    network = transformers.Qwen2ForCausalLM(config).eval().requires_grad_(False)
    for name, weights in network.named_parameters():
        if weights.ndim == 1:
            weights.add_(0.3 * torch.randn_like(weights))
        else:
            weights.copy_(torch.randn_like(weights) / weights.shape[1] ** 0.5)
            weights.mul_(3 if name.startswith("lm_head") else 1)
    return network


def write_shifted(directory: Path, **changes: object) -> Path:
    """A checkpoint of `qwen2()` under its own tensor names; `changes` go into config.json."""
    directory.mkdir(parents=True)
    shutil.copy(BUNDLED / "tokenizer.json", directory)
    tokenizer = json.loads((BUNDLED / "tokenizer_config.json").read_text())
    del tokenizer["chat_template"]
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    config = {"architectures": ["ShiftedModel"], "eos_token_id": 1, **SHAPE, **changes}
    (directory / "config.json").write_text(json.dumps(config))
    tensors = {name: tensor.contiguous() for name, tensor in qwen2().state_dict().items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture
def shifted_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint of the shifted family."""
    return lambda **changes: write_shifted(tmp_path / "shifted", **changes)


@pytest.fixture
def shifted_model(plugin: Plugin, shifted_checkpoint: Callable[..., Path]) -> MaskedDiffusionModel:
    """The shifted family's model, loaded through its package's entry point."""
    plugin.offer(ShiftedModel="SHIFTED")
    return load_model(shifted_checkpoint(), device="cpu")


@pytest.fixture
def dense_network() -> transformers.Qwen2ForCausalLM:
    """The same network by transformers alone."""
    return qwen2()


WAITING = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "bincount", "_unique2", "item"}
"""Operations that wait for a device to tell the host something."""


class RefusingWaits(TorchDispatchMode):
    """Refuses operations for which a host would wait; a CPU is asked for the same ones."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in WAITING, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def refusing_waits() -> type[RefusingWaits]:
    """In its context nothing may wait for the device."""
    return RefusingWaits


class InFloat64(TorchFunctionMode):
    """What is put into float32 on the way (norms, rotations, routing, the softmax of attention)
    stays in float64, so that a stock class in float64 can be compared with arithmetic by hand to
    float64's rounding."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        wide = [torch.float64 if arg is torch.float32 else arg for arg in args]
        options = dict(kwargs or {})
        if options.get("dtype") is torch.float32:
            options["dtype"] = torch.float64
        return func(*wide, **options)


@pytest.fixture
def in_float64() -> type[InFloat64]:
    """In its context a stock class in float64 rounds nothing to float32."""
    return InFloat64
