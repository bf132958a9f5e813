"""From a problem to the tokens the model sees and the tokens of its gold answer.

A prompt that cannot be decoded is refused here, with the reason that the run records for that
problem.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..models.loading import MaskedDiffusionModel
from ..problems.read import Problem
from ..store.counts import count_text
from .chat_template import PromptError, render_chat
from .start import Start
from .template import QUESTION, text_with, turns_of, turns_with

MAX_ANSWER_TOKENS = 32
RAW_SUFFIX = " Answer:"

__all__ = [
    "MAX_ANSWER_TOKENS",
    "RAW_SUFFIX",
    "Prompt",
    "PromptError",
    "build_prompt",
    "problem_key",
    "prompt_text",
]


class Prompt(NamedTuple):
    """One problem ready to be decoded. `key` names it in the noise: 32 bits of its id, whatever
    else is in the run. `start` is where a branch begins; None where nothing is decoded yet."""

    problem: Problem
    place: int
    key: int
    token_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    start: Start | None = None


def prompt_text(
    problem: Problem, model: MaskedDiffusionModel, *, style: str, template: str = ""
) -> str:
    """The text the model sees. `chat`: the checkpoint's chat template, or its family's where it has
    none; `raw`: the question followed by " Answer:". `template`: other words around the question.

    Raises PromptError, and TemplateError (a CheckpointError) where the chat template itself is at
    fault.
    """
    if style == "raw":
        return text_with(template or QUESTION + RAW_SUFFIX, problem.question)
    fallback = model.family.chat_template
    if model.tokenizer.chat_template is None and fallback is None:
        raise PromptError("the checkpoint has no chat template; use --prompt-style raw")
    messages = _messages(problem, template)
    variables = model.family.template_variables
    return render_chat(model.tokenizer, messages, fallback=fallback, variables=variables)


def _messages(problem: Problem, template: str) -> Sequence[Mapping[str, Any]]:
    """The conversation that ends with the problem's question."""
    if not template:
        return problem.messages or [{"role": "user", "content": problem.question}]
    if problem.messages and len(problem.messages) > 1:
        raise PromptError(
            f"the problem is a conversation of {len(problem.messages)} turns, and a prompt "
            "template is for one question; leave --prompt-template out"
        )
    turns = turns_of(template)
    return turns_with(turns or [{"role": "user", "content": template}], problem.question)


def build_prompt(
    problem: Problem,
    index: int,
    model: MaskedDiffusionModel,
    *,
    style: str,
    gen_length: int,
    template: str = "",
) -> Prompt:
    """Tokenise one problem; raises PromptError if it is too long, holds a mask token or one that
    the model does not have, and as `prompt_text` does."""
    text = prompt_text(problem, model, style=style, template=template)
    # The template already holds the start token.
    ids = model.tokenizer.encode(text, add_special_tokens=False)

    if len(ids) + gen_length > model.max_length:
        raise PromptError(
            f"prompt of {count_text(len(ids), 'token')} + gen_length {gen_length} exceeds the "
            f"model's {model.max_length} positions"
        )
    if not ids:
        raise PromptError("the prompt has no tokens")
    if model.token_ids.mask in ids:
        raise PromptError("the prompt holds the mask token itself, which the sampler would fill in")

    answer: list[int] = []
    if problem.answer is not None:
        answer = model.tokenizer.encode(problem.answer, add_special_tokens=False)
    largest = max((*ids, *answer))
    rows = len(model.head_weight)
    if largest >= rows:
        raise PromptError(
            f"the tokenizer gives token {largest}, and the model has {count_text(rows, 'token')}, "
            "from 0; tokenizer.json and config.json are not of one checkpoint"
        )
    return Prompt(
        problem, index, problem_key(problem.id), tuple(ids), tuple(answer[:MAX_ANSWER_TOKENS])
    )


def problem_key(problem_id: str) -> int:
    """32 bits of the problem's id, the problem's word in every noise counter."""
    return int.from_bytes(hashlib.blake2b(problem_id.encode(), digest_size=4).digest(), "little")
