"""The words around a question: `{question}` in a text, or in the last of several turns.

Published evaluations put their own words around a question, and worked examples before it; with a
template the model sees what it saw there. No torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..options import ConfigError
from ..store.counts import count_text

QUESTION = "{question}"


def check_template(template: str, *, style: str) -> None:
    """Raise ConfigError for a template that no prompt of this style can be made with."""
    if not template:
        return
    turns = turns_of(template)
    text = template if turns is None else _last_turn(turns)
    if turns is not None and style != "chat":
        raise ConfigError(
            f"prompt_template has {count_text(len(turns), 'turn')}, but prompt_style is {style!r}, "
            "a text; use prompt_style chat, or write the template as one text"
        )
    if QUESTION not in text:
        raise ConfigError(
            f"prompt_template is {_beginning(text)!r}, without {QUESTION}; write {QUESTION} where "
            "the problem's question belongs"
        )


def turns_of(template: str) -> list[dict[str, Any]] | None:
    """The turns of a template that is a JSON list of them, None for a text.

    Raises ConfigError for a list of something else.
    """
    if not template.lstrip().startswith("["):
        return None
    try:
        turns = json.loads(template)
    except (ValueError, RecursionError):
        return None  # a text that begins with a bracket
    if not turns or not all(_is_turn(turn) for turn in turns):
        raise ConfigError(
            f"prompt_template is the JSON {_beginning(template)!r}; a list must be one of turns, "
            'as {"role": "user", "content": "..."}'
        )
    return list(turns)


def text_with(template: str, question: str) -> str:
    """The text of a template with this question in it."""
    return template.replace(QUESTION, question)


def turns_with(turns: Sequence[Mapping[str, Any]], question: str) -> list[dict[str, Any]]:
    """The turns with this question in the last of them; the others stay as they are."""
    *earlier, last = (dict(turn) for turn in turns)
    return [*earlier, {**last, "content": text_with(last["content"], question)}]


def _last_turn(turns: Sequence[Mapping[str, Any]]) -> str:
    last = turns[-1]
    if last["role"] != "user":
        raise ConfigError(
            f"prompt_template ends with a turn of {last['role']!r}; expected 'user', whom the "
            "model answers"
        )
    return str(last["content"])


def _is_turn(turn: object) -> bool:
    if not isinstance(turn, dict):
        return False
    return isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)


def _beginning(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
