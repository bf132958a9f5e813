"""The fused network: on a CPU the stock network's bits, with the kernels its values, and the same
run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from diffengine.engine.cli.command_line import group
from diffengine.engine.config import ConfigError
from diffengine.engine.models import fused as fused_module
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.family import CheckpointError
from diffengine.engine.models.fused import FusedForward, fused
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.runs import device as one_device
from diffengine.engine.runs.execution import Execution
from diffengine.engine.store import open_run
from diffengine.kernels.triton_rows import layers as layer_kernels

CPU = torch.device("cpu")


def batch(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor, Any]:
    ids = torch.randint(0, 500, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    positions = torch.cat([torch.arange(length) for length in lengths])
    return ids, positions, packing_of(lengths, CPU)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("heads", [4, 2])
def test_on_a_cpu_the_bits_are_the_stock_networks(
    random_checkpoint: Callable[..., Path], dtype: str, heads: int
) -> None:
    model = load_model(random_checkpoint(n_kv_heads=heads), device="cpu", dtype=dtype)
    for lengths in ([40], [7, 7, 31]):
        expected = model.hidden(*batch(lengths))
        assert torch.equal(fused(model).forward.hidden(*batch(lengths)), expected)
        assert expected.isfinite().all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_with_the_kernels_the_values_are_the_stock_networks(
    random_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    model = load_model(random_checkpoint(), device="cpu", dtype=dtype)
    for name in ("add_rms_norm", "rotated", "gated"):
        monkeypatch.setattr(fused_module, name, getattr(layer_kernels, name))
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 0.05, "atol": 0.1}
    torch.testing.assert_close(
        fused(model).forward.hidden(*batch([7, 12])), model.hidden(*batch([7, 12])), **close
    )


def test_the_option_reaches_the_network_and_is_off_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    real = FusedForward.hidden

    def hidden(self: FusedForward, *arguments: Any) -> torch.Tensor:
        passes.append("fused")
        return real(self, *arguments)

    monkeypatch.setattr(FusedForward, "hidden", hidden)
    arguments = [
        "run",
        "--limit",
        "3",
        "--steps",
        "4",
        "--gen-length",
        "4",
        "--model",
        "bundled",
        "--device",
        "cpu",
    ]
    for name, more in (("plain", []), ("fused", ["--fused"])):
        done = CliRunner().invoke(group, [*arguments, *more, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        assert bool(passes) == bool(more)
    plain, ours = open_run(tmp_path / "plain"), open_run(tmp_path / "fused")
    assert (
        plain.info["fingerprint"] == ours.info["fingerprint"]
    )  # so either may go on with the other's run
    for name in ("token", "entropy", "kl"):
        np.testing.assert_array_equal(ours[name][...], plain[name][...])


def test_what_cannot_be_fused_is_refused(bundled_model: MaskedDiffusionModel) -> None:
    with pytest.raises(ConfigError, match="--compile and --fused"):
        Execution(compile=True, fused=True)
    other = one_device.Device.__new__(one_device.Device)  # any object that is no Llama
    with pytest.raises(CheckpointError, match="network is a Device, expected a LlamaForCausalLM"):
        fused(replace(bundled_model, network=other))
