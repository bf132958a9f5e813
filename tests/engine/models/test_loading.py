"""Loading: nothing is executed, nothing is asked, and everything wrong is one message naming file
and field."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model


def test_the_directorys_code_never_runs_and_nothing_is_asked(
    random_checkpoint: Callable[..., Path],
) -> None:
    auto_map = {
        "AutoConfig": "modeling_planted.Config",
        "AutoModelForCausalLM": "modeling_planted.Model",
    }
    path = random_checkpoint(auto_map=auto_map)
    witness = path / "executed"
    planted = f"open({str(witness)!r}, 'w').write('ran')\nclass Config: pass\nclass Model: pass\n"
    (path / "modeling_planted.py").write_text(planted)
    tokenizer = json.loads((path / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["modeling_planted.Tokenizer", None]}
    (path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    code = (
        f"from diffengine.engine.models import load_model; load_model({str(path)!r}, device='cpu')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert not witness.exists()
    assert b"[y/N]" not in done.stdout + done.stderr


def test_sharded_checkpoints_load_alike(
    random_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    whole = random_checkpoint()
    parts = tmp_path / "parts"
    shutil.copytree(whole, parts)
    tensors = load_file(whole / "model.safetensors")
    names = sorted(tensors)
    files = {
        "model-00001-of-00002.safetensors": names[::2],
        "model-00002-of-00002.safetensors": names[1::2],
    }
    for file, members in files.items():
        save_file({n: tensors[n] for n in members}, parts / file, metadata={"format": "pt"})
    (parts / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {n: f for f, members in files.items() for n in members}}
    (parts / "model.safetensors.index.json").write_text(json.dumps(index))
    one, two = load_model(whole, device="cpu"), load_model(parts, device="cpu")
    for (name, a), (_, b) in zip(
        one.network.state_dict().items(), two.network.state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name
    (parts / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00002.safetensors: not found"):
        load_model(parts, device="cpu")


def test_packed_rows_do_not_see_each_other(random_model: MaskedDiffusionModel) -> None:
    lengths = [70, 70, 91, 130]
    ids = torch.randint(6, 500, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    positions = torch.cat([torch.arange(n) for n in lengths])
    together = random_model.hidden(ids, positions, packing_of(lengths, random_model.device)).split(
        lengths
    )
    for row, piece in zip(together, ids.split(lengths), strict=True):
        alone = random_model.hidden(
            piece, torch.arange(len(piece)), packing_of([len(piece)], random_model.device)
        )
        torch.testing.assert_close(row, alone, atol=1e-5, rtol=1e-5)


def test_attention_is_bidirectional(random_model: MaskedDiffusionModel) -> None:
    ids = torch.randint(6, 500, (70,), generator=torch.Generator().manual_seed(0))
    changed = ids.clone()
    changed[-1] = (changed[-1] + 1) % 500
    first, second = (
        random_model.hidden(i, torch.arange(70), packing_of([70], random_model.device))[0]
        for i in (ids, changed)
    )
    assert (first - second).abs().max() > 1e-3


def break_config(path: Path, **changes: object) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **changes}))


def truncate(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def reshape(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    tensors["model.transformer.blocks.0.q_proj.weight"] = torch.zeros(64, 32)
    save_file(tensors, path / "model.safetensors")


def drop(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    del tensors["model.transformer.blocks.1.ff_out.weight"]
    save_file(tensors, path / "model.safetensors")


def add(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    tensors["model.transformer.blocks.0.q_proj.bias"] = torch.zeros(64)
    save_file(tensors, path / "model.safetensors")


def pickled(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda p: (p / "config.json").unlink(), r"config\.json: not found"),
    "config not JSON": (
        lambda p: (p / "config.json").write_text("{"),
        r"config\.json: not valid JSON",
    ),
    "config a list": (
        lambda p: (p / "config.json").write_text("[]"),
        r"config\.json: expected a JSON object",
    ),
    "no architecture": (
        lambda p: break_config(p, architectures=None),
        r"config\.json: architectures",
    ),
    "foreign architecture": (
        lambda p: break_config(p, architectures=["GPT2LMHeadModel"]),
        "'GPT2LMHeadModel'; supported: .*LLaDAModelLM, ",
    ),
    "uncovered value": (
        lambda p: break_config(p, activation_type="gelu"),
        "activation_type is 'gelu'",
    ),
    "truncated weights": (truncate, r"model\.safetensors: truncated"),
    "not safetensors": (
        lambda p: (p / "model.safetensors").write_bytes(b"hello"),
        r"model\.safetensors: truncated or not",
    ),
    "wrong shape": (
        reshape,
        r"q_proj\.weight has shape \[64, 32\], config\.json implies \[64, 64\]",
    ),
    "missing tensor": (drop, r"missing tensor model\.transformer\.blocks\.1\.ff_out\.weight"),
    "extra tensor": (add, r"unexpected tensor model\.transformer\.blocks\.0\.q_proj\.bias"),
    "pickles only": (pickled, r"\*\.bin weights are not read"),
    "no tokenizer": (lambda p: (p / "tokenizer.json").unlink(), r"tokenizer\.json: not found"),
    "wrong mask id": (lambda p: break_config(p, mask_token_id=7), "mask_token_id 7"),
    "mask is eos": (lambda p: break_config(p, eos_token_id=5), "mask_token_id 5 is also eos"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_one_message_naming_file_and_field(
    random_checkpoint: Callable[..., Path], fault: str
) -> None:
    path = random_checkpoint()
    breaking, message = FAULTS[fault]
    breaking(path)
    with pytest.raises(CheckpointError, match=message):
        load_model(path, device="cpu")


def test_a_wrong_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such directory"):
        load_model(tmp_path / "nowhere", device="cpu")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file"):
        load_model(tmp_path / "file", device="cpu")


def test_the_fingerprint_follows_the_weights(random_checkpoint: Callable[..., Path]) -> None:
    one, same, other = (
        load_model(random_checkpoint(n, seed=s), device="cpu")
        for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint
