"""Published evaluations of the SDAR chat models, and published recipes of SDAR and TraDo.

Settings: README.md and the OpenCompass configurations of JetAstra/SDAR, README.md and the
evaluation configurations of Gen-Verse/dLLM-RL. Scores: table 1 of SDAR's README.md.
"""

from __future__ import annotations

from typing import Any

from ..policies.sdar_options import SDAROptions
from .preset import EXTRACTION, Preset, Score

SDAR = "https://github.com/JetAstra/SDAR/blob/c2041a8333333d685f6e15122c84f60f51f85ebd"
EVALUATION = f"{SDAR}/evaluation/opencompass/configs/eval_sdar_lmdeploy.py"
REPORT = "https://arxiv.org/abs/2510.06303"
TRADO = "https://github.com/Gen-Verse/dLLM-RL/blob/10b4fd1cba83e4496c20585dc2fd01dc02f20255"

STEP_BY_STEP = "{question}\nPlease reason step by step, and put your final answer within \\boxed{}."
HALF = "the evaluation was in float16"


def published(length: int, template: str = "", **sampler: Any) -> dict[str, Any]:
    """Every setting of the sampler: blocks of 4 in as many steps, greedy and static unless
    `sampler` says otherwise."""
    options: dict[str, Any] = {
        "gen_length": length,
        "block_length": 4,
        "denoising_steps": 4,
        "eos_early_stop": True,
        "remasking_strategy": "low_confidence_static",
        "confidence_threshold": 0.85,
        "entropy_bound": 0.1,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
    }
    options |= sampler
    steps = SDAROptions.resolved(options, {}).steps
    of_run = {"prompt_style": "chat", "prompt_template": template, "dtype": "bfloat16"}
    return {"policy": "sdar", "steps": steps} | options | of_run


def chat(size: str, task: str, score: float) -> Preset:
    """An evaluation of an SDAR chat model."""
    return Preset(
        model=f"JetLM/SDAR-{size}-Chat",
        architecture="SDARMoeForCausalLM" if size.endswith("A3B") else "SDARForCausalLM",
        task=task,
        settings=published(4096, STEP_BY_STEP),
        scores=(Score(score, "OpenCompass, by the authors"),),
        prompt="the request to reason step by step and to box the answer",
        differs=(EXTRACTION, HALF),
        sources=(f"{SDAR}/README.md", EVALUATION, REPORT),
    )


def drawn(model: str, length: int, template: str, *sources: str) -> Preset:
    """A recipe that draws tokens and commits those above 0.9."""
    sampler: dict[str, Any] = {"temperature": 1.0, "confidence_threshold": 0.9}
    sampler |= {"remasking_strategy": "low_confidence_dynamic"}
    return Preset(
        model=model,
        architecture="SDARForCausalLM",
        task="",
        settings=published(length, template, **sampler),
        prompt="the request to reason step by step" if template else "the user's turn",
        sources=sources,
    )


def trado(size: str, length: int, configuration: str) -> Preset:
    """The recipe of a TraDo model."""
    config = f"{TRADO}/configs/{configuration}.yaml"
    return drawn(f"Gen-Verse/TraDo-{size}", length, STEP_BY_STEP + "\n", config, TRADO_README)


TRADO_README = f"{TRADO}/README.md"

PRESETS = {
    "sdar-1.7b-chat-gsm8k": chat("1.7B", "GSM8K", 80.1),
    "sdar-1.7b-chat-math500": chat("1.7B", "MATH-500", 63.2),
    "sdar-4b-chat-gsm8k": chat("4B", "GSM8K", 89.9),
    "sdar-4b-chat-math500": chat("4B", "MATH-500", 72.8),
    "sdar-8b-chat-gsm8k": chat("8B", "GSM8K", 91.3),
    "sdar-8b-chat-math500": chat("8B", "MATH-500", 78.6),
    "sdar-30b-a3b-chat-gsm8k": chat("30B-A3B", "GSM8K", 91.4),
    "sdar-30b-a3b-chat-math500": chat("30B-A3B", "MATH-500", 77.8),
    "sdar-1.7b-chat": drawn("JetLM/SDAR-1.7B-Chat", 256, "", f"{SDAR}/README.md"),
    "trado-4b-instruct": trado("4B-Instruct", 2000, "trado_eval"),
    "trado-8b-instruct": trado("8B-Instruct", 2000, "trado_eval"),
    "trado-8b-thinking": trado("8B-Thinking", 10000, "trado_longcot_eval"),
}
