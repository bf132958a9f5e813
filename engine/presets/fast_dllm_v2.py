"""Published evaluations of Fast-dLLM v2, and its recipe.

Scores: the paper (arXiv 2509.26328). Settings of the evaluations: the authors' harness (v2/eval.py,
v2/eval_script.sh), which commits one token a step; it is read in a copy of their repository. The
recipe, by which several tokens commit in a step, is their chat script.
"""

from __future__ import annotations

from typing import Any

from ..policies.fast_dllm_v2_options import FastDLLMv2Options
from .preset import EXTRACTION, Preset, Score

CHAT = (
    "https://github.com/NVlabs/Fast-dLLM/blob/b9cf368a15befff80af3f849bd9fd3c5b066dbe0/"
    "v2/run_chatbot.py"
)
HARNESS = "https://github.com/Teddygat0r/Fast-dLLM/blob"
EVALUATION = (
    f"{HARNESS}/ddf6d820aa06430646c59ca6313a26dc7c5ef051/v2/eval_script.sh",
    f"{HARNESS}/17f2351dc4240372ea8d26b9aa9674438afd2ea2/v2/eval.py",
)
REPORT = "https://arxiv.org/abs/2509.26328"

STEP_BY_STEP = "Please reason step by step, and put your final answer within \\boxed{{}}."
"""With the braces doubled, as the harness has it."""


def published(threshold: float, template: str = "") -> dict[str, Any]:
    """Every setting: greedy, 2048 tokens in blocks of 32 in parts of 8."""
    options: dict[str, Any] = {
        "gen_length": 2048,
        "block_length": 32,
        "sub_block_length": 8,
        "threshold": threshold,
        "eos_early_stop": True,
        "temperature": 0.0,
        "top_p": 0.95,
        "top_k": 0,
    }
    steps = FastDLLMv2Options.resolved(options, {}).steps
    of_run = {"prompt_style": "chat", "prompt_template": template, "dtype": "bfloat16"}
    return {"policy": "fast_dllm_v2", "steps": steps} | options | of_run


def evaluated(size: str, task: str, score: float, before: str) -> Preset:
    """An evaluation with the question after the word that lm-eval puts `before` it."""
    return Preset(
        model=f"Efficient-Large-Model/Fast_dLLM_v2_{size}",
        architecture="Fast_dLLM_QwenForCausalLM",
        task=task,
        settings=published(1.0, f"{before}{STEP_BY_STEP}"),
        scores=(Score(score, "lm-eval, by the authors"),),
        prompt="the request to reason step by step in place of lm-eval's last word",
        differs=(EXTRACTION,),
        sources=(CHAT, *EVALUATION, REPORT),
    )


def recipe(size: str) -> Preset:
    """What the authors' chat script decodes with."""
    return Preset(
        model=f"Efficient-Large-Model/Fast_dLLM_v2_{size}",
        architecture="Fast_dLLM_QwenForCausalLM",
        task="",
        settings=published(0.9),
        prompt="the user's turn",
        sources=(CHAT,),
    )


QUESTION = "Question: {question}\n"
PROBLEM = "Problem:\n{question}\n\n"

PRESETS = {
    "fast-dllm-v2-1.5b-gsm8k": evaluated("1.5B", "GSM8K", 62.0, QUESTION),
    "fast-dllm-v2-1.5b-math": evaluated("1.5B", "MATH", 38.1, PROBLEM),
    "fast-dllm-v2-7b-gsm8k": evaluated("7B", "GSM8K", 83.7, QUESTION),
    "fast-dllm-v2-7b-math": evaluated("7B", "MATH", 61.6, PROBLEM),
    "fast-dllm-v2-7b": recipe("7B"),
}
