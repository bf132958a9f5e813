"""Published pairs of Fast-dLLM: LLaDA-8B-Instruct with a threshold, and the exact baseline of it.

Settings: llada/eval.md of the authors' repository. Scores: the table of its README, the columns
without a cache. With a threshold their loop takes as many steps as it needs, so `steps` is here the
most there can be.
"""

from __future__ import annotations

from typing import Any

from .preset import EXTRACTION, PROGRAMS, Preset, Score

REPOSITORY = "https://github.com/NVlabs/Fast-dLLM/blob/24cc59e75f20a6384bae8c905965bb090b96388e"

EXACT = {
    "policy": "llada",
    "cfg_scale": 0.0,
    "remasking": "low_confidence",
    "logits_eos_inf": False,
    "confidence_eos_eot_inf": False,
}
PARALLEL = {"policy": "threshold", "threshold": 0.9}


def gsm8k(rule: dict[str, Any], length: int, score: float) -> Preset:
    """GSM8K with 5 worked examples, all of it in one user's turn."""
    return _pair(
        rule,
        length,
        score,
        task="GSM8K",
        examples=5,
        prompt="lm-eval's, 5 worked examples and the question in one turn",
        differs=(EXTRACTION,),
    )


def humaneval(rule: dict[str, Any], length: int, score: float) -> Preset:
    """HumanEval without examples."""
    return _pair(
        rule,
        length,
        score,
        task="HumanEval",
        metric="pass@1",
        prompt="lm-eval's, in one turn",
        differs=(PROGRAMS,),
    )


def _pair(rule: dict[str, Any], length: int, score: float, **rest: Any) -> Preset:
    settings = {
        **rule,
        "steps": length,
        "gen_length": length,
        "block_length": 32,
        "temperature": 0.0,
        "prompt_style": "chat",
        "prompt_template": "",
        "dtype": "bfloat16",
    }
    return Preset(
        model="GSAI-ML/LLaDA-8B-Instruct",
        architecture="LLaDAModelLM",
        settings=settings,
        scores=(Score(score, "lm-eval, by Fast-dLLM's authors"),),
        sources=(f"{REPOSITORY}/README.md", f"{REPOSITORY}/llada/eval.md"),
        **rest,
    )


PRESETS = {
    "fast-dllm-llada-gsm8k": gsm8k(PARALLEL, 256, 79.2),
    "fast-dllm-llada-gsm8k-exact": gsm8k(EXACT, 256, 79.3),
    "fast-dllm-llada-gsm8k-512": gsm8k(PARALLEL, 512, 77.6),
    "fast-dllm-llada-gsm8k-512-exact": gsm8k(EXACT, 512, 77.5),
    "fast-dllm-llada-humaneval": humaneval(PARALLEL, 256, 43.9),
    "fast-dllm-llada-humaneval-exact": humaneval(EXACT, 256, 41.5),
    "fast-dllm-llada-humaneval-512": humaneval(PARALLEL, 512, 43.3),
    "fast-dllm-llada-humaneval-512-exact": humaneval(EXACT, 512, 43.9),
}
