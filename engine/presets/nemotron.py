"""Recipes of Nemotron-Labs-Diffusion: what the model cards say of its diffusion mode, under which
vLLM's default is the same. Its scores are published as a picture, without settings.
"""

from __future__ import annotations

from typing import Any

from ..policies.nemotron_options import NemotronOptions
from .preset import Preset

VLLM = (
    "https://github.com/vllm-project/vllm/blob/06c838a515e9c4634c69a802a189b55175e8d0f5/"
    "vllm/model_executor/models/nemotron_dllm.py"
)
CARD = (
    "https://github.com/linyewei526/Nemotron-Labs-Diffusion/blob/"
    "ae0b179809d20a27638559e8515707785028b410/chat/chat_dlm.py"
)
"""The card's example, in a copy of the authors' repository."""


def published() -> dict[str, Any]:
    """Every setting: greedy, 512 tokens in blocks of 32, all that are at least .9 sure."""
    options: dict[str, Any] = {
        "gen_length": 512,
        "block_length": 32,
        "steps_per_block": 32,
        "strategy": "confidence_threshold",
        "threshold": 0.9,
        "temperature": 0.0,
        "eos_early_stop": True,
    }
    steps = NemotronOptions.resolved(options, {}).steps
    of_run = {"prompt_style": "chat", "prompt_template": "", "dtype": "bfloat16"}
    return {"policy": "nemotron", "steps": steps} | options | of_run


def recipe(size: str) -> Preset:
    """The recipe for one size; all have the same."""
    return Preset(
        model=f"nvidia/Nemotron-Labs-Diffusion-{size}",
        architecture="NemotronLabsDiffusionModel",
        task="",
        settings=published(),
        prompt="the user's turn",
        sources=(VLLM, CARD),
    )


PRESETS = {f"nemotron-labs-diffusion-{size.lower()}": recipe(size) for size in ("3B", "8B", "14B")}
