"""Published evaluations of dllm's block diffusion models: Qwen3-0.6B continued by bd3lm.

Settings and scores: scripts and tables of the authors' repository, without worked examples.
"""

from __future__ import annotations

from typing import Any

from ..policies.bd3lm_options import BD3LMOptions
from .dllm import EXAMPLES, MEASURED_WITH
from .preset import EXTRACTION, STOP_WORDS, Preset, Score


def published(template: str) -> dict[str, Any]:
    """Every setting: 256 tokens in blocks of 32, one step for each token."""
    options: dict[str, Any] = {
        "gen_length": 256,
        "block_length": 32,
        "steps_per_block": 32,
        "remasking": "low_confidence",
        "temperature": 0.0,
        "eos_early_stop": True,
    }
    steps = BD3LMOptions.resolved(options, {}).steps
    of_run = {"prompt_style": "chat", "prompt_template": template, "dtype": "bfloat16"}
    return {"policy": "bd3lm", "steps": steps} | options | of_run


def qwen3(task: str, score: float, prompt: str, template: str) -> Preset:
    """An evaluation of Qwen3-0.6B-diffusion-bd3lm."""
    return Preset(
        model="dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1",
        architecture="A2DQwen3LMHeadModel",
        task=task,
        settings=published(template),
        scores=(Score(score, MEASURED_WITH),),
        prompt=prompt,
        differs=(EXTRACTION, STOP_WORDS),
        sources=(f"{EXAMPLES}/a2d/README.md", f"{EXAMPLES}/a2d/bd3lm/eval.sh"),
    )


PRESETS = {
    "qwen3-0.6b-bd3lm-gsm8k": qwen3(
        "GSM8K", 46.3, "Q: and A: around the question", "Q: {question}\nA:"
    ),
    "qwen3-0.6b-bd3lm-math": qwen3(
        "MATH",
        12.9,
        "Problem: and Solution: around the problem",
        "Problem:\n{question}\n\nSolution:",
    ),
}
