"""Statistics of wider logits than the model computes in: the truth of its hidden states, in the run
and its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.engine.config import ConfigError, RunConfig, fingerprint
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs.run import BUNDLED, run
from diffengine.engine.store import open_run, verify_run

SHORT: dict[str, Any] = {"steps": 8, "gen_length": 8, "block_length": 4}
BITS = 1.4426950408889634


@pytest.fixture(scope="module")
def half_model() -> MaskedDiffusionModel:
    return load_model(BUNDLED, device="cpu", dtype="bfloat16")


def exact(hidden: np.ndarray, weight: torch.Tensor) -> dict[str, np.ndarray]:
    """The statistics of every step and position from its hidden state [step, position, feature],
    slowly in float64."""
    logp = (torch.from_numpy(hidden).double() @ weight.double().T).log_softmax(-1)
    lse = (torch.from_numpy(hidden).double() @ weight.double().T).logsumexp(-1)
    kl = torch.full_like(lse, float("nan"))
    kl[1:] = (logp[1:].exp() * (logp[1:] - logp[:-1])).sum(-1) * BITS
    entropy = -(logp.exp() * logp).sum(-1) * BITS
    return {name: v.numpy() for name, v in {"logsumexp": lse, "entropy": entropy, "kl": kl}.items()}


def test_wide_logits_of_a_narrow_model_are_those_of_its_hidden_states(
    half_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    worst: dict[str, dict[str, float]] = {}
    for kind in ("model", "float32"):
        out = tmp_path / kind
        run(
            "generated:4",
            out=out,
            model=half_model,
            save_logits="hidden",
            logits_dtype=kind,
            **SHORT,
        )
        assert json.loads((out / "run.json").read_text())["config"]["logits_dtype"] == kind
        assert verify_run(out).ok
        stored = open_run(out)
        worst[kind] = {}
        for i in range(4):
            for name, true in exact(stored["hidden"][i], half_model.head_weight).items():
                apart = np.nanmax(np.abs(stored[name][i] - true))
                worst[kind][name] = max(apart, worst[kind].get(name, 0.0))
                assert np.array_equal(np.isnan(stored[name][i]), np.isnan(true))
        own = stored["topk_logit"][...][..., 0] - stored["logsumexp"][...] - stored["logprob"][...]
        same = stored["topk_id"][...][..., 0] == stored["prediction"][...]
        assert np.abs(own[same]).max() < (1e-5 if kind == "float32" else 1e-3)
    assert max(worst["float32"].values()) < 2e-5, worst
    assert min(worst["model"].values()) > 1e-3, worst  # what rounding the logits costs


def test_the_ring_holds_logits_of_that_type(
    half_model: MaskedDiffusionModel, prompts_of: Callable[..., list[Prompt]]
) -> None:
    for kind, expected in (
        ("model", torch.bfloat16),
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
    ):
        config = RunConfig.of(model="m", dtype="bfloat16", logits_dtype=kind, **SHORT)
        head = Setup(half_model, config).decoder(prompts_of(half_model, 8), budget=100).head
        assert head.ring is not None
        assert (
            head.ring.logits.dtype
            == head.logits(torch.zeros(1, 128, dtype=torch.bfloat16)).dtype
            == expected
        )


def test_narrow_logits_of_a_wide_model_are_rounded_once(
    bundled_model: MaskedDiffusionModel, prompts_of: Callable[..., list[Prompt]]
) -> None:
    config = RunConfig.of(model="m", logits_dtype="bfloat16", **SHORT)
    head = Setup(bundled_model, config).decoder(prompts_of(bundled_model, 8), budget=100).head
    hidden = torch.randn(70, 128, generator=torch.Generator().manual_seed(0))
    assert torch.equal(head.logits(hidden), (hidden @ bundled_model.head_weight.T).bfloat16())


def test_a_run_without_the_setting_goes_on_and_another_one_is_refused(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run("generated:2", out=out, model=bundled_model, **SHORT)
    info = json.loads((out / "run.json").read_text())
    del info["config"][
        "logits_dtype"
    ]  # as an older version wrote it, which kept no checksum either
    del info["sha256"]
    parts = {"model": info["model"]["fingerprint"], "problems": info["data"]["sha256"]}
    assert fingerprint(info["config"], **parts) == info["fingerprint"]
    (out / "run.json").write_text(json.dumps(info))
    assert run("generated:2", out=out, model=bundled_model, **SHORT).resumed == 2
    with pytest.raises(ConfigError, match="logits_dtype: 'model' there, 'bfloat16' now") as refused:
        run("generated:2", out=out, model=bundled_model, logits_dtype="bfloat16", **SHORT)
    assert str(refused.value).count(" there, ") == 1
    assert (
        fingerprint(info["config"] | {"logits_dtype": "bfloat16"}, **parts) != info["fingerprint"]
    )
