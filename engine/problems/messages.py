"""Conversations in the two forms of the field, OpenAI's (`role`, `content`) and ShareGPT's (`from`,
`value`)."""

from __future__ import annotations

from collections.abc import Mapping

from .values import RecordError, as_text, json_type

ROLES = ("system", "user", "assistant")
NAMES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "developer": "system",
}
"""Other names of the three roles; `bot` as ShareGPT's `from` alone."""


def read_messages(raw: object, key: str) -> tuple[tuple[Mapping[str, str], ...], str | None]:
    """The conversation up to its last user message, and the assistant's reply to that one if there
    is any.

    Raises RecordError for anything that is not a list of messages of text.
    """
    if not isinstance(raw, list):
        raise RecordError(
            f"`{key}` is a JSON {json_type(raw)}, expected a list of "
            '{"role": ..., "content": ...}'
        )
    turns = [_message(entry, key, number) for number, entry in enumerate(raw, 1)]
    last = max((place for place, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if last is None:
        raise RecordError(f'`{key}` holds no message with the role "user"')
    return tuple(turns[: last + 1]), "\n".join(
        turn["content"] for turn in turns[last + 1 :]
    ) or None


def _message(entry: object, key: str, number: int) -> dict[str, str]:
    if not isinstance(entry, Mapping):
        raise RecordError(
            f"message {number} is a JSON {json_type(entry)}, expected an object with role and "
            "content"
        )
    share_gpt = "from" in entry and "role" not in entry
    role, content = ("from", "value") if share_gpt else ("role", "content")
    name = entry.get(role)
    known = name if name in ROLES else NAMES.get(name) if isinstance(name, str) else None
    if known is None or (name == "bot" and not share_gpt):
        raise RecordError(
            f"message {number} has the role {name!r}, expected one of {', '.join(ROLES)}"
        )
    return {
        "role": known,
        "content": _content(entry.get(content), f"{key}[{number - 1}].{content}"),
    }


def _content(value: object, key: str) -> str:
    """Text, or a list of parts that are all text."""
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        kinds = {str(part.get("type", "text")) for part in value} - {"text"}
        if kinds:
            raise RecordError(
                f"`{key}` holds parts of type {', '.join(sorted(kinds))}, expected text alone"
            )
        return "".join(as_text(part.get("text"), f"{key}.text") for part in value)
    return as_text(value, key)
