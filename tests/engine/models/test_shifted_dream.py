"""Dream's sampler on a model whose predictions stand one position before their token."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.models.loading import MaskedDiffusionModel

sys.path.append(str(Path(__file__).parents[1] / "policies"))
from dream_twin import compare, config_of

GRID: dict[str, dict[str, Any]] = {
    "greedy": {},
    "published recipe": {"temperature": 0.2, "top_p": 0.95},
    "noisy order in few steps": {"temperature": 1.0, "top_k": 5, "alg_temp": 0.2, "steps": 7},
    "reference": {"temperature": 0.5, "numerics": "reference"},
    "masked positions alone": {"record": "masked"},
}


@pytest.mark.parametrize("alg", ["origin", "maskgit_plus", "topk_margin", "entropy"])
@pytest.mark.parametrize("name", list(GRID))
def test_every_step_is_the_published_one(
    name: str,
    alg: str,
    shifted_model: MaskedDiffusionModel,
    packed: Callable[..., Any],
    prompts_of: Any,
) -> None:
    """The twin moves the logits of the whole canvas, as the published code does."""
    compare(shifted_model, config_of(alg=alg, **GRID[name]), packed, prompts_of)
