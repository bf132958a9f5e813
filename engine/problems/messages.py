"""Conversations in the two forms of the field, OpenAI's (`role`, `content`) and ShareGPT's (`from`,
`value`)."""

from __future__ import annotations

from collections.abc import Mapping

from .record import Record
from .values import RecordError, as_text, json_type

MESSAGE_KEYS = ("messages", "conversations", "conversation", "prompt")
ROLES = ("system", "user", "assistant")
OTHER_NAMES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "developer": "system",
}
"""Of the three roles; `bot` as ShareGPT's `from` alone."""

Messages = tuple[Mapping[str, str], ...]


def read_conversation(record: Record) -> tuple[Messages | None, str | None]:
    """The conversation of a record and the reply to it, None and None where it has none.

    `messages` goes before a question; under another key it is one where no question stands beside
    it. Raises RecordError.
    """
    has_question = record.first_key(("question", "problem")) is not None
    for key in MESSAGE_KEYS:
        value = record.get(key)
        is_plain_prompt = key == "prompt" and isinstance(value, str)
        if value is None or is_plain_prompt or (has_question and key != "messages"):
            continue
        record.mark_read(key)
        return read_messages(value, key)
    return None, None


def read_messages(raw: object, key: str) -> tuple[Messages, str | None]:
    """The conversation up to its last user message, and the assistant's reply to that one if there
    is any.

    Raises RecordError for anything that is not a list of messages of text.
    """
    if not isinstance(raw, list):
        raise RecordError(
            f"`{key}` is a JSON {json_type(raw)}, expected a list of "
            '{"role": ..., "content": ...}'
        )
    turns = [_message(entry, key, number) for number, entry in enumerate(raw)]
    user_turns = [number for number, turn in enumerate(turns) if turn["role"] == "user"]
    if not user_turns:
        raise RecordError(f'`{key}` holds no message with the role "user"')
    end = user_turns[-1] + 1
    reply = "\n".join(turn["content"] for turn in turns[end:])
    return tuple(turns[:end]), reply or None


def _message(entry: object, key: str, number: int) -> dict[str, str]:
    """Message `number` (from 0) as role and content."""
    if not isinstance(entry, Mapping):
        raise RecordError(
            f"message {number + 1} is a JSON {json_type(entry)}, expected an object with role and "
            "content"
        )
    share_gpt = "from" in entry and "role" not in entry
    role_key = "from" if share_gpt else "role"
    content_key = "value" if share_gpt else "content"

    role = _role(entry.get(role_key), share_gpt=share_gpt)
    if role is None:
        raise RecordError(
            f"message {number + 1} has the role {entry.get(role_key)!r}, expected one of "
            f"{', '.join(ROLES)}"
        )
    content = _content(entry.get(content_key), f"{key}[{number}].{content_key}")
    return {"role": role, "content": content}


def _role(name: object, *, share_gpt: bool) -> str | None:
    if not isinstance(name, str) or (name == "bot" and not share_gpt):
        return None
    return name if name in ROLES else OTHER_NAMES.get(name)


def _content(value: object, key: str) -> str:
    """Text, or a list of parts that are all text."""
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        types = {str(part.get("type", "text")) for part in value}
        others = sorted(types - {"text"})
        if others:
            raise RecordError(
                f"`{key}` holds parts of type {', '.join(others)}, expected text alone"
            )
        return "".join(as_text(part.get("text"), f"{key}.text") for part in value)
    return as_text(value, key)
