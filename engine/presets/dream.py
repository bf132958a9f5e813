"""Published evaluations of Dream 7B, and published recipes of Dream, Dream-Coder and DiffuCoder.

Settings: the scripts of the authors' repositories. Scores: the report (arXiv 2508.15487), as the
repository of dllm repeats them beside its own. A recipe is the example of a README.
"""

from __future__ import annotations

from typing import Any

from .preset import CHOICES, EXTRACTION, INSTRUCTIONS, PROGRAMS, STOP_WORDS, Preset, Score

DREAM = "https://github.com/DreamLM/Dream/blob/fac0a7f2664b4adf0925fe682b7866923fa2d62b"
DREAM_CODER = "https://github.com/DreamLM/Dream-Coder/blob/87409da7db991fd24c9299f5ec4ed358b94e4631"
DIFFUCODER = "https://github.com/apple/ml-diffucoder/blob/f735e01376b752b70356efe45192f31499bf30dc"
REPORT = "https://arxiv.org/abs/2508.15487"
REPEATED = (
    "https://github.com/ZHZisZZ/dllm/blob/ca176752fbceec49c6b4777a2c18ae88e4eb10ed/"
    "examples/dream/README.md"
)

MEASURED_WITH = "lm-eval, by the authors"
NO_START = "no start token stands before the prompt"


def published(length: int, *, temperature: float, top_p: float) -> dict[str, Any]:
    """Every setting of the sampler that gives `length` tokens as many steps, the least entropy
    first."""
    return {
        "policy": "dream",
        "steps": length,
        "gen_length": length,
        "alg": "entropy",
        "eps": 1e-3,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": 0,
        "alg_temp": 0.0,
        "dtype": "bfloat16",
    }


def instruct(
    task: str,
    length: int,
    score: float,
    *differs: str,
    prompt: str,
    template: str = "",
    examples: int = 0,
) -> Preset:
    """An evaluation of Dream-v0-Instruct-7B: temperature 0.1, top_p 0.9."""
    return Preset(
        model="Dream-org/Dream-v0-Instruct-7B",
        architecture="DreamModel",
        task=task,
        settings=published(length, temperature=0.1, top_p=0.9) | in_chat(template),
        scores=(Score(score, MEASURED_WITH),),
        metric=METRICS.get(task, "accuracy"),
        examples=examples,
        prompt=prompt,
        differs=differs,
        sources=(f"{DREAM}/eval_instruct/eval.sh", REPORT, REPEATED),
    )


def base(
    task: str, examples: int, length: int, score: float, *differs: str, temperature: float = 0.0
) -> Preset:
    """An evaluation of Dream-v0-Base-7B: top_p 0.95."""
    return Preset(
        model="Dream-org/Dream-v0-Base-7B",
        architecture="DreamModel",
        task=task,
        settings=published(length, temperature=temperature, top_p=0.95)
        | as_text("" if examples else ALONE),
        scores=(Score(score, MEASURED_WITH),),
        metric=METRICS.get(task, "accuracy"),
        examples=examples,
        prompt=f"lm-eval's, with {examples} worked examples before it" if examples else "lm-eval's",
        differs=(NO_START, *differs),
        sources=(f"{DREAM}/eval/eval_dream_gen.sh", REPORT, REPEATED),
    )


def recipe(
    model: str, length: int, source: str, *, temperature: float, is_chat: bool = True
) -> Preset:
    """The example of a README: top_p 0.95, no score."""
    prompt = in_chat("") if is_chat else as_text(ALONE)
    return Preset(
        model=model,
        architecture="DreamModel",
        task="",
        settings=published(length, temperature=temperature, top_p=0.95) | prompt,
        prompt="the chat template" if is_chat else "the text alone",
        sources=(source,),
    )


def in_chat(template: str) -> dict[str, Any]:
    """The settings of a prompt that is a user's turn; `template` are the words in it."""
    return {"prompt_style": "chat", "prompt_template": template}


def as_text(template: str) -> dict[str, Any]:
    """The settings of a prompt that is a text."""
    return {"prompt_style": "raw", "prompt_template": template}


ALONE = "{question}"

METRICS = {"HumanEval": "pass@1", "MBPP": "pass@1", "IFEval": "instructions followed"}

PRESETS = {
    "dream-7b-instruct": recipe(
        "Dream-org/Dream-v0-Instruct-7B", 512, f"{DREAM}/README.md", temperature=0.2
    ),
    "dream-7b-instruct-gsm8k": instruct(
        "GSM8K",
        256,
        81.0,
        EXTRACTION,
        STOP_WORDS,
        prompt="Q: and A: around the question",
        template="Q: {question}\nA:",
    ),
    "dream-7b-instruct-math": instruct(
        "MATH",
        512,
        39.2,
        EXTRACTION,
        STOP_WORDS,
        prompt="Problem: and Solution: around the problem",
        template="Problem:\n{question}\n\nSolution:",
    ),
    "dream-7b-instruct-mmlu": instruct(
        "MMLU", 128, 67.0, CHOICES, EXTRACTION, prompt="4 worked examples before it", examples=4
    ),
    "dream-7b-instruct-mmlu-pro": instruct(
        "MMLU-Pro", 128, 43.3, CHOICES, EXTRACTION, prompt="4 worked examples before it", examples=4
    ),
    "dream-7b-instruct-humaneval": instruct(
        "HumanEval",
        768,
        55.5,
        PROGRAMS,
        "the reply is not begun for the model",
        prompt="the request for a solution; the reply is begun with the function's head",
    ),
    "dream-7b-instruct-mbpp": instruct(
        "MBPP",
        1024,
        58.8,
        PROGRAMS,
        "the reply is not begun for the model",
        prompt="the task with three tests; the reply is begun with a code fence",
    ),
    "dream-7b-instruct-ifeval": instruct(
        "IFEval",
        1280,
        62.5,
        INSTRUCTIONS,
        prompt="the instruction alone",
    ),
    "dream-7b-base-gsm8k": base("GSM8K", 8, 256, 77.2, EXTRACTION, STOP_WORDS),
    "dream-7b-base-math": base("MATH", 4, 512, 39.6, EXTRACTION, STOP_WORDS),
    "dream-7b-base-bbh": base("BBH", 3, 512, 57.9, EXTRACTION, STOP_WORDS),
    "dream-7b-base-humaneval": base("HumanEval", 0, 512, 57.9, PROGRAMS, temperature=0.2),
    "dream-7b-base-mbpp": base("MBPP", 3, 512, 56.2, PROGRAMS, temperature=0.2),
    "dream-coder-7b-instruct": recipe(
        "Dream-org/Dream-Coder-v0-Instruct-7B", 768, f"{DREAM_CODER}/README.md", temperature=0.1
    ),
    "diffucoder-7b-base": recipe(
        "apple/DiffuCoder-7B-Base",
        256,
        f"{DIFFUCODER}/README.md",
        temperature=0.2,
        is_chat=False,
    ),
    "diffucoder-7b-instruct": recipe(
        "apple/DiffuCoder-7B-Instruct", 256, f"{DIFFUCODER}/inference_demo.py", temperature=0.3
    ),
    "diffucoder-7b-cpgrpo": recipe(
        "apple/DiffuCoder-7B-cpGRPO", 256, f"{DIFFUCODER}/README.md", temperature=0.4
    ),
}
