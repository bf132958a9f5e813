"""Published evaluations of the small models of dllm: Qwen3-0.6B made a diffusion model by masks,
and chat models of ModernBERT.

Settings and scores: scripts and tables of the authors' repository. Its sampler is LLaDA's; with one
step for each token its schedule is LLaDA's as well.
"""

from __future__ import annotations

from typing import Any

from .preset import EXTRACTION, STOP_WORDS, Preset, Score

EXAMPLES = "https://github.com/ZHZisZZ/dllm/blob/ca176752fbceec49c6b4777a2c18ae88e4eb10ed/examples"

MEASURED_WITH = "lm-eval, by dllm's authors"


def published(block: int, template: str = "") -> dict[str, Any]:
    """Every setting; all these give 256 tokens as many steps."""
    return {
        "policy": "llada",
        "steps": 256,
        "gen_length": 256,
        "block_length": block,
        "temperature": 0.0,
        "cfg_scale": 0.0,
        "remasking": "low_confidence",
        "logits_eos_inf": False,
        "confidence_eos_eot_inf": False,
        "prompt_style": "chat",
        "prompt_template": template,
        "dtype": "bfloat16",
    }


def qwen3(task: str, examples: int, score: float, prompt: str, *, template: str = "") -> Preset:
    """An evaluation of Qwen3-0.6B-diffusion-mdlm, in one block."""
    return Preset(
        model="dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1",
        architecture="A2DQwen3LMHeadModel",
        task=task,
        settings=published(256, template),
        scores=(Score(score, MEASURED_WITH),),
        examples=examples,
        prompt=prompt,
        differs=(EXTRACTION, STOP_WORDS),
        sources=(f"{EXAMPLES}/a2d/README.md", f"{EXAMPLES}/a2d/mdlm/eval.sh"),
    )


def modern_bert(size: str, task: str, examples: int, score: float) -> Preset:
    """An evaluation of a ModernBERT chat model, in blocks of 32."""
    return Preset(
        model=f"dllm-hub/ModernBERT-{size}-chat-v0.1",
        architecture="ModernBertForMaskedLM",
        task=task,
        settings=published(32),
        scores=(Score(score, MEASURED_WITH),),
        examples=examples,
        prompt=f"lm-eval's, {examples} worked examples before it" if examples else "lm-eval's",
        differs=(EXTRACTION, STOP_WORDS),
        sources=(f"{EXAMPLES}/bert/README.md", f"{EXAMPLES}/bert/eval.sh"),
    )


PRESETS = {
    "qwen3-0.6b-mdlm-gsm8k": qwen3("GSM8K", 5, 29.3, "5 worked examples before it"),
    "qwen3-0.6b-mdlm-math": qwen3(
        "MATH",
        0,
        8.7,
        "Problem: and Solution: around the problem",
        template="Problem:\n{question}\n\nSolution:",
    ),
    "qwen3-0.6b-mdlm-bbh": qwen3("BBH", 3, 26.7, "3 worked examples before it"),
    "modernbert-base-chat-gsm8k": modern_bert("base", "GSM8K", 0, 3.6),
    "modernbert-large-chat-gsm8k": modern_bert("large", "GSM8K", 0, 9.3),
    "modernbert-base-chat-math": modern_bert("base", "MATH", 4, 3.1),
    "modernbert-large-chat-math": modern_bert("large", "MATH", 4, 3.6),
}
