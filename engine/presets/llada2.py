"""Published evaluations of LLaDA2.0 and LLaDA2.1, and published recipes of LLaDA2.1.

Settings: the model cards, by the reports. Scores: the reports (arXiv 2512.15745, 2602.08676). A
mode of 2.1 is a pair of thresholds; diffusers' documentation has others under the same names, and
they are presets of their own. SGLang's `JointThreshold` is the authors' speed mode.
"""

from __future__ import annotations

from typing import Any

from ..policies.llada2_options import LLaDA2Options
from .preset import CHOICES, EXTRACTION, PROGRAMS, Preset, Score

AUTHORS = (
    "https://github.com/inclusionAI/LLaDA2.X/blob/a79832985307bb8ac4a43ceeea54168bfb80f0cf/"
    "README.md"
)
REPORT_2_0 = "https://arxiv.org/abs/2512.15745"
REPORT_2_1 = "https://arxiv.org/abs/2602.08676"
DIFFUSERS = (
    "https://github.com/huggingface/diffusers/blob/1cae6f3e1e12675e727ff6d9d202a2311e8c8665/"
    "docs/source/en/api/pipelines/llada2.md"
)

MEASURED_WITH = "the authors' report"
PROMPT = "the report does not say"


def published(length: int, threshold: float, **sampler: Any) -> dict[str, Any]:
    """Every setting: greedy, in blocks of 32, ended with the block that holds the end."""
    options: dict[str, Any] = {
        "gen_length": length,
        "block_length": 32,
        "eos_early_stop": True,
        "steps_per_block": None,
        "minimal_topk": 1,
        "num_to_transfer": None,
        "threshold": threshold,
        "editing_threshold": None,
        "max_post_steps": 16,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
    }
    options |= sampler
    steps = LLaDA2Options.resolved(options, {}).steps
    of_run = {"prompt_style": "chat", "prompt_template": "", "dtype": "bfloat16"}
    return {"policy": "llada2", "steps": steps} | options | of_run


def first(size: str, task: str, score: float, *differs: str, metric: str = "accuracy") -> Preset:
    """An evaluation of LLaDA2.0, which never edits."""
    return Preset(
        model=f"inclusionAI/LLaDA2.0-{size}",
        architecture="LLaDA2MoeModelLM",
        task=task,
        settings=published(32768, 0.95, steps_per_block=32),
        scores=(Score(score, MEASURED_WITH),),
        metric=metric,
        prompt=PROMPT,
        differs=differs,
        sources=(AUTHORS, REPORT_2_0),
    )


MODES = {"quality": (0.7, 0.5), "speed": (0.5, 0.0)}
"""The two thresholds of the model card, of masks and of tokens."""


def second(
    size: str,
    mode: str,
    task: str = "",
    score: float | None = None,
    *differs: str,
    metric: str = "accuracy",
) -> Preset:
    """An evaluation of LLaDA2.1 in one of its modes; without a score a recipe."""
    threshold, editing = MODES[mode]
    return Preset(
        model=f"inclusionAI/LLaDA2.1-{size}",
        architecture="LLaDA2MoeModelLM",
        task=task,
        settings=published(16384, threshold, editing_threshold=editing, num_to_transfer=1),
        scores=(Score(score, MEASURED_WITH),) if score is not None else (),
        metric=metric,
        prompt=PROMPT if task else "the user's turn",
        differs=differs,
        sources=(AUTHORS, REPORT_2_1),
    )


def of_diffusers(threshold: float, editing: float | None) -> Preset:
    """A recipe of diffusers' documentation, whose limit of editing is one step longer."""
    sampler = {"editing_threshold": editing, "max_post_steps": 17, "steps_per_block": 32}
    return Preset(
        model="inclusionAI/LLaDA2.1-mini",
        architecture="LLaDA2MoeModelLM",
        task="",
        settings=published(256, threshold, **sampler),
        prompt="the user's turn",
        sources=(DIFFUSERS,),
    )


PRESETS = {
    "llada2.0-mini-gsm8k": first("mini", "GSM8K", 94.24, EXTRACTION),
    "llada2.0-mini-math": first("mini", "MATH", 93.22, EXTRACTION),
    "llada2.0-mini-humaneval": first("mini", "HumanEval", 86.59, PROGRAMS, metric="pass@1"),
    "llada2.0-flash-gsm8k": first("flash", "GSM8K", 96.06, EXTRACTION),
    "llada2.0-flash-math": first("flash", "MATH", 95.44, EXTRACTION),
    "llada2.0-flash-humaneval": first("flash", "HumanEval", 94.51, PROGRAMS, metric="pass@1"),
    "llada2.1-mini-quality-gpqa": second("mini", "quality", "GPQA", 53.28, CHOICES, EXTRACTION),
    "llada2.1-mini-speed-gpqa": second("mini", "speed", "GPQA", 48.36, CHOICES, EXTRACTION),
    "llada2.1-mini-quality-humaneval-plus": second(
        "mini", "quality", "HumanEval+", 82.93, PROGRAMS, metric="pass@1"
    ),
    "llada2.1-mini-speed-humaneval-plus": second(
        "mini", "speed", "HumanEval+", 80.49, PROGRAMS, metric="pass@1"
    ),
    "llada2.1-flash-quality": second("flash", "quality"),
    "llada2.1-flash-speed": second("flash", "speed"),
    "llada2.1-mini-diffusers-quality": of_diffusers(0.7, 0.5),
    "llada2.1-mini-diffusers-speed": of_diffusers(0.5, None),
}
