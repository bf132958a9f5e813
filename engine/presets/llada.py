"""Published evaluations of LLaDA-8B-Base, LLaDA-8B-Instruct and LLaDA 1.5.

All settings and scores: EVAL.md of the authors' repository, and the files of its folder
opencompass/examples/. Steps are as many as generated tokens in each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .preset import CHOICES, EXTRACTION, INSTRUCTIONS, PROGRAMS, STOP_WORDS, Preset, Score

REPOSITORY = "https://github.com/ML-GSAI/LLaDA/blob/b7e6c3565f194352da44b38dd12b6970597309f3"
EVAL = f"{REPOSITORY}/EVAL.md"
DATASETS = f"{REPOSITORY}/opencompass/opencompass/configs/datasets"


INTERNAL = "internal toolkit"
OPENCOMPASS = "OpenCompass"
LM_EVAL = "lm-eval"


LAST = "confidence_eos_eot_inf"
NEVER = "logits_eos_inf"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A set of problems and how the harness shows them."""

    name: str
    shown: str
    template: str = ""
    examples: int = 0
    metric: str = "accuracy"
    differs: tuple[str, ...] = (EXTRACTION,)
    source: str = ""


GSM8K = Task(
    name="GSM8K",
    shown="4 worked examples as earlier turns; step by step",
    examples=4,
    source=f"{DATASETS}/gsm8k/gsm8k_gen_1d7fe4.py",
)
MATH = Task(
    name="MATH",
    shown="the problem, then the request to reason step by step and to box the answer",
    template="{question}\nPlease reason step by step, and put your final answer within \\boxed{}.",
    source=f"{DATASETS}/math/math_0shot_gen_11c4b5.py",
)
HUMANEVAL = Task(
    name="HumanEval",
    shown="the request to complete the code, then the code",
    template="Complete the following python code:\n{question}",
    metric="pass@1",
    differs=(PROGRAMS,),
    source=f"{DATASETS}/humaneval/humaneval_gen_8e312c.py",
)
MBPP = Task(
    name="MBPP",
    shown="3 worked examples as earlier turns, with their tests",
    examples=3,
    metric="pass@1",
    differs=(PROGRAMS,),
    source=f"{DATASETS}/mbpp/mbpp_gen_830460.py",
)
GPQA = Task(
    name="GPQA (diamond)",
    shown="5 worked examples in the same turn",
    examples=5,
    differs=(CHOICES, EXTRACTION),
    source=f"{DATASETS}/gpqa/gpqa_fewshot_gen.py",
)
ARC_C = Task(
    name="ARC-C",
    shown="the question with its choices",
    differs=(CHOICES, EXTRACTION),
    source=f"{DATASETS}/ARC_c/ARC_c_gen_1e0de5.py",
)
MMLU = Task(
    name="MMLU",
    shown="5 worked examples of the subject as earlier turns",
    examples=5,
    differs=(CHOICES, EXTRACTION),
    source=f"{DATASETS}/mmlu/mmlu_gen_a484b3.py",
)
MMLU_PRO = Task(
    name="MMLU-Pro",
    shown="the question with its choices; step by step",
    differs=(CHOICES, EXTRACTION),
    source=f"{DATASETS}/mmlu_pro/mmlu_pro_0shot_cot_gen_08c1de.py",
)
HELLASWAG = Task(
    name="HellaSwag",
    shown="the beginning with its four endings",
    differs=(CHOICES, EXTRACTION),
    source=f"{DATASETS}/hellaswag/hellaswag_gen_6faab5.py",
)
IFEVAL = Task(
    name="IFEval",
    shown="the instruction alone",
    metric="instructions followed",
    differs=(INSTRUCTIONS,),
    source=f"{DATASETS}/IFEval/IFEval_gen_353ae7.py",
)


def published(length: int, block: int, *flags: str, prompt_style: str) -> dict[str, Any]:
    """Every setting of an evaluation that gives `length` tokens as many steps; `flags` are the
    options that are true."""
    return {
        "policy": "llada",
        "steps": length,
        "gen_length": length,
        "block_length": block,
        "temperature": 0.0,
        "cfg_scale": 0.0,
        "remasking": "low_confidence",
        "logits_eos_inf": NEVER in flags,
        "confidence_eos_eot_inf": LAST in flags,
        "prompt_style": prompt_style,
        "dtype": "bfloat16",
    }


def chat(model: str, task: Task, settings: dict[str, Any], *scores: float) -> Preset:
    """An evaluation of a chat model; the scores are the internal toolkit's and OpenCompass'."""
    return Preset(
        model=model,
        architecture="LLaDAModelLM",
        task=task.name,
        settings=settings | {"prompt_template": task.template},
        scores=tuple(map(Score, scores, (INTERNAL, OPENCOMPASS))),
        metric=task.metric,
        examples=task.examples,
        prompt=task.shown,
        differs=task.differs,
        sources=(EVAL, task.source),
    )


def instruct(task: Task, length: int, block: int, *flags: str, scores: tuple[float, ...]) -> Preset:
    """An evaluation of LLaDA-8B-Instruct."""
    settings = published(length, block, *flags, prompt_style="chat")
    return chat("GSAI-ML/LLaDA-8B-Instruct", task, settings, *scores)


def preferred(
    task: Task, length: int, block: int, *flags: str, scores: tuple[float, ...]
) -> Preset:
    """An evaluation of LLaDA 1.5."""
    settings = published(length, block, *flags, prompt_style="chat")
    return chat("GSAI-ML/LLaDA-1.5", task, settings, *scores)


def base(task: str, examples: int, length: int, *scores: float) -> Preset:
    """An evaluation of LLaDA-8B-Base by lm-eval, in one block; a second score is OpenCompass'."""
    is_program = task in ("HumanEval", "MBPP")
    return Preset(
        model="GSAI-ML/LLaDA-8B-Base",
        architecture="LLaDAModelLM",
        task=task,
        settings={
            **published(length, length, prompt_style="raw"),
            "prompt_template": "" if examples else "{question}",
        },
        scores=tuple(map(Score, scores, (LM_EVAL, OPENCOMPASS))),
        metric="pass@1" if is_program else "accuracy",
        examples=examples,
        prompt=f"lm-eval's, with {examples} worked examples before it" if examples else "lm-eval's",
        differs=(PROGRAMS,) if is_program else (EXTRACTION, STOP_WORDS),
        sources=(EVAL, f"{REPOSITORY}/eval_llada_lm_eval.sh"),
    )


PRESETS = {
    "llada-8b-base-gsm8k": base("GSM8K", 5, 1024, 70.3),
    "llada-8b-base-gsm8k-512": base("GSM8K", 5, 512, 70.8),
    "llada-8b-base-gsm8k-256": base("GSM8K", 5, 256, 70.0, 71.9),
    "llada-8b-base-math": base("MATH", 4, 1024, 31.4),
    "llada-8b-base-math-512": base("MATH", 4, 512, 30.9),
    "llada-8b-base-math-256": base("MATH", 4, 256, 30.3, 30.7),
    "llada-8b-base-bbh": base("BBH", 3, 1024, 49.7),
    "llada-8b-base-bbh-512": base("BBH", 3, 512, 50.4),
    "llada-8b-base-bbh-256": base("BBH", 3, 256, 45.0, 47.3),
    "llada-8b-base-humaneval": base("HumanEval", 0, 1024, 35.4),
    "llada-8b-base-humaneval-512": base("HumanEval", 0, 512, 32.9),
    "llada-8b-base-humaneval-256": base("HumanEval", 0, 256, 32.9, 34.1),
    "llada-8b-base-mbpp": base("MBPP", 3, 1024, 40.0),
    "llada-8b-base-mbpp-512": base("MBPP", 3, 512, 39.2),
    "llada-8b-base-mbpp-256": base("MBPP", 3, 256, 40.2, 38.8),
    "llada-8b-instruct-gsm8k": instruct(GSM8K, 512, 512, LAST, scores=(69.4, 68.8)),
    "llada-8b-instruct-gsm8k-block8": instruct(GSM8K, 256, 8, scores=(78.6, 78.9)),
    "llada-8b-instruct-math": instruct(MATH, 512, 512, LAST, scores=(31.9, 29.6)),
    "llada-8b-instruct-math-block64": instruct(MATH, 512, 64, scores=(42.2, 42.7)),
    "llada-8b-instruct-humaneval": instruct(HUMANEVAL, 512, 512, NEVER, scores=(49.4, 47.0)),
    "llada-8b-instruct-mbpp": instruct(MBPP, 256, 256, LAST, scores=(41.0, 39.6)),
    "llada-8b-instruct-gpqa": instruct(GPQA, 64, 64, LAST, scores=(33.3, 32.3)),
    "llada-8b-instruct-arc-c": instruct(ARC_C, 512, 512, scores=(88.5, 89.2)),
    "llada-8b-instruct-mmlu": instruct(MMLU, 3, 3, scores=(65.5, 65.4)),
    "llada-8b-instruct-mmlu-pro": instruct(MMLU_PRO, 256, 256, scores=(37.0, 36.6)),
    "llada-8b-instruct-hellaswag": instruct(HELLASWAG, 3, 3, scores=(74.6, 75.3)),
    "llada-1.5-gsm8k": preferred(GSM8K, 256, 16, LAST, scores=(83.8, 83.6)),
    "llada-1.5-math": preferred(MATH, 1024, 128, LAST, scores=(42.6, 42.3)),
    "llada-1.5-gpqa": preferred(GPQA, 256, 16, scores=(36.9, 34.8)),
    "llada-1.5-humaneval": preferred(HUMANEVAL, 512, 32, LAST, scores=(52.4, 51.2)),
    "llada-1.5-mbpp": preferred(MBPP, 512, 32, LAST, scores=(42.8, 42.6)),
    "llada-1.5-ifeval": preferred(IFEVAL, 256, 16, LAST, scores=(66.2, 65.2)),
}
