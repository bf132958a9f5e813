"""A checkpoint's chat template, rendered in a process of its own within bounds of time, memory and
length.

A template is a program that came with the weights. jinja2's sandbox keeps it from the machine, but
not from looping for ever or from filling the memory, and a thread cannot be stopped inside `10 **
10 ** 10`; so one worker process per process of ours (`template_worker`) renders all prompts, and is
killed where one goes beyond its bounds. The processor time is bounded, not the clock, so that a
busy machine fails nothing.
"""

from __future__ import annotations

import atexit
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..line_process import EndedError, KeptProcess
from ..models.family import CheckpointError

SECONDS = 10.0
"""Of processor time for one prompt; a real template takes a millisecond."""

CLOCK_SECONDS = 300.0
"""On the clock, for a worker that waits for memory or a processor for ever."""

MOST_CHARACTERS = 10_000_000
"""Of one prompt."""

MOST_BYTES = 1 << 30
"""Of the worker's memory."""


class PromptError(ValueError):
    """A problem that cannot be turned into a prompt; the message says why."""


class TemplateError(CheckpointError):
    """A chat template that no prompt can be made with; the message names its file."""


class TemplateWorker(KeptProcess):
    """The process that renders, started when first asked."""

    def __init__(self, *, seconds: float = SECONDS, most_characters: int = MOST_CHARACTERS) -> None:
        script = str(Path(__file__).with_name("template_worker.py"))
        super().__init__([sys.executable, "-P", script])
        self._seconds = seconds
        self._most_characters = most_characters

    def render(
        self,
        template: str,
        messages: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        *,
        file: str,
    ) -> str:
        """The prompt for `messages`, `variables` being the special tokens; `file` is where the
        template came from.

        Raises TemplateError where the template can make no prompt at all, PromptError where not of
        these messages.
        """
        turns = []
        for turn in messages:
            turns.append({key: value for key, value in turn.items() if value is not None})
        request = {
            "template": template,
            "messages": turns,
            "variables": dict(variables),
            "most_characters": self._most_characters,
            "most_bytes": MOST_BYTES,
            "seconds": self._seconds,
        }
        answer = self._ask(json.dumps(request, default=str))
        if "text" in answer:
            return str(answer["text"])
        kind = TemplateError if answer["whole"] else PromptError
        raise kind(
            f"{file}: the chat template {answer['error']}; mend it there, or use --prompt-style raw"
        )

    def _ask(self, line: str) -> dict[str, Any]:
        try:
            return self.ask_line(line, read=json.loads, seconds=CLOCK_SECONDS)
        except TimeoutError:
            what = f"was not rendered within {CLOCK_SECONDS:g} s"
        except EndedError as error:
            what = f"ended the process that rendered it (status {error.code})"
            if error.code == -signal.SIGPROF:
                what = (
                    f"took more than {self._seconds:g} s of processor time for one prompt and was "
                    "stopped"
                )
        return {"error": what, "whole": True}


_WORKER = TemplateWorker()
atexit.register(_WORKER.close)


def render_chat(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    *,
    fallback: str | None = None,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """What `tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False,
    **variables)` gives, within bounds; by the template `fallback` where the tokenizer has none.

    Raises PromptError, TemplateError.
    """
    file = template_file(tokenizer)
    template = tokenizer.chat_template
    if template is None and fallback is not None:
        file = f"{file} (has none, so its family's is used)"
        template = fallback
    template = _default_template(template, file)
    told = {**tokenizer.special_tokens_map, **(variables or {})}
    return _WORKER.render(template, messages, told, file=file)


def _default_template(template: Any, file: str) -> str:
    """The text of a template, or of the one called default where there are several by name."""
    if isinstance(template, dict):
        if "default" not in template:
            names = ", ".join(sorted(map(str, template))[:8])
            raise TemplateError(
                f"{file}: has chat templates called {names}, none called default; name one so, "
                "or use --prompt-style raw"
            )
        template = template["default"]
    if not isinstance(template, str):
        raise TemplateError(
            f"{file}: the chat template is a {type(template).__name__}, expected text; mend it "
            "there, or use --prompt-style raw"
        )
    return template


def template_file(tokenizer: Any) -> str:
    """The file that the tokenizer's chat template was read from: chat_template.jinja goes before
    the config."""
    directory = Path(str(getattr(tokenizer, "name_or_path", "") or ""))
    own = directory / "chat_template.jinja"
    return str(own if own.is_file() else directory / "tokenizer_config.json")
