"""Which canvas each gold answer is asked on: right behind its prompt, or at the place of the
extracted one in a finished generation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..models.loading import MaskedDiffusionModel
from ..problems.read import Problem
from ..prompts.prompt import PromptError, build_prompt
from ..store.counts import count_text

if TYPE_CHECKING:
    from ..store import Run


class Case(NamedTuple):
    """One gold answer on a canvas of token ids, to be asked at `positions`; or why it cannot be
    (`skipped`)."""

    problem_id: str
    place: int
    canvas: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    answer: tuple[int, ...] = ()
    skipped: str = ""


class _Tokens(NamedTuple):
    answer: tuple[int, ...]
    prompt: tuple[int, ...]


class _Skipped(Exception):
    """Why a gold answer is not asked for."""


def cases_after_prompt(
    problems: Iterable[Problem], model: MaskedDiffusionModel, *, style: str, template: str = ""
) -> Iterator[Case]:
    """Each gold answer right behind its prompt, nothing else generated: log p(answer given
    question)."""
    for index, problem in enumerate(problems):
        try:
            tokens = _tokens(problem, model, style=style, template=template)
        except _Skipped as reason:
            yield Case(problem.id, index, skipped=str(reason))
            continue
        canvas = tokens.prompt + tokens.answer
        positions = tuple(range(len(tokens.prompt), len(canvas)))
        yield Case(problem.id, index, canvas, positions, tokens.answer)


def cases_in_generation(run: Run, model: MaskedDiffusionModel) -> Iterator[Case]:
    """Each gold answer at the place of the extracted one, the rest of the finished generation as
    the run left it."""
    config = run.info["config"]
    room = int(config["gen_length"])
    by_id = {problem.id: problem for problem in run.problems}
    for row, problem_id in enumerate(run.ids):
        index = int(run.index[row])
        start = int(run["answer_start"][row])
        try:
            tokens = _tokens(
                by_id[problem_id],
                model,
                style=config["prompt_style"],
                template=config.get("prompt_template", ""),
                room=room,
            )
            _check_place(start, len(tokens.answer), room)
        except _Skipped as reason:
            yield Case(problem_id, index, skipped=str(reason))
            continue
        final = run["token"][row, -1].tolist()
        canvas = (*tokens.prompt, *final)
        first = len(tokens.prompt) + start
        end = first + len(tokens.answer)
        positions = tuple(range(first, end))
        yield Case(problem_id, index, canvas, positions, tokens.answer)


def _check_place(start: int, length: int, room: int) -> None:
    if start < 0:
        raise _Skipped("no answer was extracted, so it has no place")
    if start + length > room:
        raise _Skipped(
            f"an answer of {count_text(length, 'token')} does not fit between position {start} and "
            "the end of the canvas"
        )


def _tokens(
    problem: Problem,
    model: MaskedDiffusionModel,
    *,
    style: str,
    template: str,
    room: int | None = None,
) -> _Tokens:
    """All tokens of the gold answer, and the prompt's; `room` generated positions, those of the
    answer if None.

    Raises _Skipped where there is no answer, or no prompt.
    """
    if problem.answer is None:
        raise _Skipped("no gold answer")
    answer = tuple(model.tokenizer.encode(problem.answer, add_special_tokens=False))
    if not answer:
        raise _Skipped("the gold answer has no tokens")
    gen_length = room or len(answer)
    try:
        prompt = build_prompt(
            problem, 0, model, style=style, gen_length=gen_length, template=template
        )
    except PromptError as error:
        raise _Skipped(str(error)) from None
    return _Tokens(answer, prompt.token_ids)
