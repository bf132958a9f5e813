"""Multiple choice: the choices of a record in each of the forms of public data sets, its right
letter, its prompt.

Whatever labels a record has (1 to 4, a to e), the prompt shows A, B, C, ... and the gold answer is
the letter. Knows nothing of how the rest of a record reads.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import NamedTuple

from .values import RecordError, as_scalar, json_type

INSTRUCTION = "Answer with the letter of the right choice."
LIST_KEYS = ("choices", "options", "endings")
COLUMN_KEYS = (tuple(string.ascii_uppercase[:10]), ("sol1", "sol2"), ("option1", "option2"))
"""Choices in columns of their own: MMLU's tables, PIQA, WinoGrande."""
GOLD_KEYS = ("answer", "answerKey", "correct", "label", "answer_index", "answer_idx", "Answer")


class Choices(NamedTuple):
    """The texts of the choices, the record's own labels of them (None: it has none), and the keys
    they came from."""

    texts: list[str]
    labels: list[str] | None
    keys: tuple[str, ...]


def choices_of(record: Mapping[str, object]) -> Choices | None:
    """The choices of a record, None where it has none. Raises RecordError for choices that cannot
    be shown."""
    for key in LIST_KEYS:
        if record.get(key):
            texts, labels = _from_value(record[key], key)
            return _checked(Choices(texts, labels, (key,)))
    for keys in COLUMN_KEYS:
        present = tuple(key for key in keys if record.get(key) is not None)
        if len(present) >= 2 and present == keys[: len(present)]:
            texts = [as_scalar(record[key], key) for key in present]
            labels = ["1", "2"] if keys[0] == "option1" else None
            return Choices(texts, labels, present)
    return None


def with_choices(question: str, choices: Choices) -> str:
    """The question as the model sees it: every choice on a line behind its letter, and what to
    answer with."""
    lines = [
        f"{letter}. {text}"
        for letter, text in zip(string.ascii_uppercase, choices.texts, strict=False)
    ]
    return "\n".join([question.rstrip() + "\n", *lines, "", INSTRUCTION])


def right_letter(record: Mapping[str, object], choices: Choices) -> tuple[str | None, str]:
    """The letter of the right choice (None: the record says null), and the key that names it.
    Raises RecordError."""
    key = next((key for key in GOLD_KEYS if record.get(key) is not None), None)
    if key is None:
        named = next((key for key in GOLD_KEYS if key in record), None)
        if named is None:
            raise RecordError(
                f"choices, but no answer among {', '.join(f'`{name}`' for name in GOLD_KEYS)}; "
                "give null where there is no gold answer"
            )
        return None, named
    return string.ascii_uppercase[_place(record[key], key, choices)], key


def _place(value: object, key: str, choices: Choices) -> int:
    """The place, from 0, of the choice that `value` means: a label, a letter, the text of a choice,
    or its place."""
    n_choices = len(choices.texts)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RecordError(
            f"`{key}` is a JSON {json_type(value)}, expected the letter, place or text of one "
            "choice"
        )
    name = as_scalar(value, key)
    if choices.labels and name in choices.labels:
        return choices.labels.index(name)
    if re.fullmatch(r"\(?[A-Za-z][).]?", name):
        letter = re.sub(r"[().]", "", name).upper()
        if (place := string.ascii_uppercase.index(letter)) < n_choices:
            return place
    same = [place for place, text in enumerate(choices.texts) if text.strip() == name]
    is_place = name.isdecimal() and int(name) < n_choices
    if isinstance(value, str) and is_place and same and same != [int(name)]:
        raise RecordError(
            f"`{key}` {name!r} is the text of one choice and the place of another; give its letter"
        )
    if is_place:
        return int(name)
    if len(same) == 1 and isinstance(value, str):
        return same[0]
    raise RecordError(
        f"`{key}` {name[:60]!r} is none of the {n_choices} choices: expected a letter up to "
        f"{string.ascii_uppercase[n_choices - 1]}, a number from 0 to {n_choices - 1} as its "
        "place, or its text"
    )


def _from_value(value: object, key: str) -> tuple[list[str], list[str] | None]:
    """Lists of texts; lists of objects with text and label; an object of both lists; an object by
    letter."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        labels = value.get("label")
        texts = [as_scalar(text, f"{key}.text") for text in value["text"]]
        return texts, [as_scalar(label, f"{key}.label") for label in labels] if isinstance(
            labels, list
        ) else None
    if isinstance(value, Mapping) and list(value) == list(string.ascii_uppercase[: len(value)]):
        return [as_scalar(text, f"{key}.{letter}") for letter, text in value.items()], None
    if not isinstance(value, list):
        raise RecordError(
            f"`{key}` is a JSON {json_type(value)}, expected a list of choices or {{text, label}}"
        )
    if all(isinstance(item, Mapping) for item in value):
        texts = [as_scalar(item.get("text"), f"{key}.text") for item in value]
        labelled = all("label" in item for item in value)
        return texts, [
            as_scalar(item["label"], f"{key}.label") for item in value
        ] if labelled else None
    texts = [as_scalar(item, f"{key}[{place}]") for place, item in enumerate(value)]
    return _without_letters(texts), None


def _without_letters(texts: list[str]) -> list[str]:
    """`A)21`, `B)22` as AQuA writes them: without the letters, where each choice begins with its
    own."""
    marks = [
        re.match(rf"\(?{letter}\s*[).:]\s*(?=\S)", text)
        for letter, text in zip(string.ascii_uppercase, texts, strict=False)
    ]
    if len(marks) == len(texts) and all(marks):
        return [text[mark.end() :] for text, mark in zip(texts, marks, strict=True) if mark]
    return texts


def _checked(choices: Choices) -> Choices:
    (key,) = choices.keys
    if not 2 <= len(choices.texts) <= len(string.ascii_uppercase):
        raise RecordError(
            f"`{key}` holds {len(choices.texts)} choices, expected 2 to "
            f"{len(string.ascii_uppercase)}"
        )
    if choices.labels is not None and len(set(choices.labels)) != len(choices.texts):
        raise RecordError(
            f"`{key}` has {len(choices.texts)} texts and {len(set(choices.labels))} different "
            "labels"
        )
    return choices
