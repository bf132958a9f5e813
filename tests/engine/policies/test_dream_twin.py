"""Dream's sampler, packed, against its slow twin at every step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.policies.dream import DreamPolicy
from diffengine.engine.runs.run import BUNDLED

sys.path.append(str(Path(__file__).parent))
from dream_twin import compare, config_of, published

ALGS = ("origin", "maskgit_plus", "topk_margin", "entropy")
GRID: dict[str, dict[str, Any]] = {
    "greedy": {},
    "few steps": {"steps": 5},
    "more steps than tokens": {"steps": 30},
    "single step": {"steps": 1},
    "one token": {"steps": 3, "gen_length": 1},
    "coarse end": {"eps": 0.5},
    "no end": {"eps": 0.0},
    "constant noise level": {"eps": 1.0},
    "warm": {"temperature": 0.7},
    "published recipe": {"temperature": 0.2, "top_p": 0.95},
    "greedy nucleus": {"top_p": 0.6},
    "first token alone": {"temperature": 1.0, "top_p": 0.0},
    "few tokens": {"temperature": 1.5, "top_k": 3},
    "one token to draw from": {"temperature": 1.5, "top_k": 1},
    "nucleus of few": {"temperature": 1.2, "top_p": 0.8, "top_k": 4, "steps": 7},
    "noisy order": {"alg_temp": 0.3},
    "all noise": {"temperature": 0.9, "top_p": 0.9, "alg_temp": 0.1, "seed": 123456789012},
}


SATURATED = ("greedy", "few steps", "greedy nucleus", "noisy order", "all noise")
"""What the trained model is asked as well, whose confidences tie at 1."""


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize(
    ("name", "which"),
    [
        *((name, "random_model") for name in GRID),
        *((name, "bundled_model") for name in SATURATED),
    ],
)
def test_every_step_is_the_published_one(
    name: str,
    alg: str,
    which: str,
    request: pytest.FixtureRequest,
    packed: Callable[..., Any],
    prompts_of: Any,
) -> None:
    model = request.getfixturevalue(which)
    config = config_of(alg=alg, **GRID[name])
    compare(model, config, packed, prompts_of)


REFERENCE = ("greedy", "few steps", "published recipe", "greedy nucleus", "few tokens", "all noise")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("name", REFERENCE)
def test_reference_numerics_are_the_published_ones(
    name: str, alg: str, dtype: str, packed: Callable[..., Any], prompts_of: Any
) -> None:
    """In bfloat16 confidences have eight bits: ties everywhere."""
    model = load_model(BUNDLED, device="cpu", dtype=dtype)
    config = config_of(alg=alg, numerics="reference", dtype=dtype, **GRID[name])
    compare(model, config, packed, prompts_of)


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("name", ["greedy", "published recipe", "all noise"])
def test_bfloat16_with_default_numerics(
    name: str, alg: str, packed: Callable[..., Any], prompts_of: Any
) -> None:
    model = load_model(BUNDLED, device="cpu", dtype="bfloat16")
    config = config_of(alg=alg, dtype="bfloat16", **GRID[name])
    compare(model, config, packed, prompts_of)


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("numerics", ["default", "reference"])
def test_a_model_that_predicts_the_mask_token(
    alg: str,
    numerics: str,
    random_checkpoint: Callable[..., Path],
    packed: Callable[..., Any],
    prompts_of: Any,
) -> None:
    """By default it is never proposed; the published code spends commits on it, and its next counts
    are a share of more masks."""
    path = random_checkpoint(scale=4.0)
    tensors = load_file(path / "model.safetensors")
    head = tensors["model.transformer.ff_out.weight"]
    head[5] = head.abs().sum(0)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    model = load_model(path, device="cpu")
    config = config_of(alg=alg, numerics=numerics)
    columns = compare(model, config, packed, prompts_of)
    masks = [int((column["token"][-1] == 5).sum()) for column in columns.values()]
    assert (sum(masks) > 0) == (numerics == "reference")


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": "origin"},
        {"alg": "origin", "temperature": 0.8, "record": "masked"},
        {"alg": "entropy", "temperature": 0.4, "top_p": 0.9, "alg_temp": 0.2},
        {"alg": "maskgit_plus", "record": "masked", "steps": 9},
        {"alg": "topk_margin", "numerics": "reference"},
    ],
    ids=str,
)
def test_a_problem_is_the_same_alone_in_any_batch_in_any_order(
    bundled_model: MaskedDiffusionModel,
    changes: dict[str, Any],
    packed: Callable[..., Any],
    prompts_of: Any,
) -> None:
    config = config_of(**changes)
    prompts = prompts_of(bundled_model, config.gen_length)
    together = packed(bundled_model, config, prompts)
    alone = {p.problem.id: packed(bundled_model, config, [p])[p.problem.id] for p in prompts}
    narrow = packed(bundled_model, config, prompts[::-1], budget=150)
    waiting = packed(bundled_model, config, prompts[2:] + prompts[:2], budget=150, refill=False)
    for other in (alone, narrow, waiting):
        for key, columns in together.items():
            for name in ("token", "committed", "performed", "n_masked", "n_forwards"):
                assert np.array_equal(columns[name], other[key][name]), name


@pytest.mark.parametrize("alg", ALGS[1:])
def test_the_confidence_is_the_twins(
    alg: str,
    random_model: MaskedDiffusionModel,
    monkeypatch: pytest.MonkeyPatch,
    packed: Callable[..., Any],
    prompts_of: Any,
) -> None:
    seen: list[torch.Tensor] = []
    step = DreamPolicy.step

    def watched(self: Any, canvas: Any, proposal: Any, stats: Any) -> Any:
        seen.append(proposal.confidence.clone()[canvas.masked])
        return step(self, canvas, proposal, stats)

    monkeypatch.setattr(DreamPolicy, "step", watched)
    changes = {"temperature": 0.6, "top_p": 0.9, "top_k": 12}
    config = config_of(alg=alg, **changes)
    (prompt,) = prompts_of(random_model, config.gen_length)[:1]
    packed(random_model, config, [prompt])
    expected: list[torch.Tensor] = []
    published(random_model, config, prompt, confidences=expected)
    expected = expected[-len(seen) :]  # a first step that commits nothing was stepped over
    for ours, theirs in zip(seen, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
