"""Multiple choice: the choices of a record in each of the forms of public data sets, its right
letter, its prompt.

Whatever labels a record has (1 to 4, a to e), the prompt shows A, B, C, ... and the gold answer is
the letter.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..store.counts import count_text
from .values import RecordError, as_scalar, json_type

LETTERS = string.ascii_uppercase
INSTRUCTION = "Answer with the letter of the right choice."
LIST_KEYS = ("choices", "options", "endings")
COLUMN_KEYS = (tuple(LETTERS[:10]), ("sol1", "sol2"), ("option1", "option2"))
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
    lines = [question.rstrip(), ""]
    for letter, text in zip(LETTERS, choices.texts, strict=False):
        lines.append(f"{letter}. {text}")
    return "\n".join([*lines, "", INSTRUCTION])


def right_letter(record: Mapping[str, object], choices: Choices) -> tuple[str | None, str]:
    """The letter of the right choice (None: the record says null), and the key that names it.
    Raises RecordError."""
    keys = [key for key in GOLD_KEYS if key in record]
    if not keys:
        raise RecordError(
            f"choices, but no answer among {', '.join(f'`{key}`' for key in GOLD_KEYS)}; "
            "give null where there is no gold answer"
        )
    for key in keys:
        if record[key] is not None:
            return LETTERS[_number_of_choice(record[key], key, choices)], key
    return None, keys[0]


def _number_of_choice(value: object, key: str, choices: Choices) -> int:
    """Which choice, from 0, `value` means: by a label, a letter, the text of a choice, or its
    number."""
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
        if LETTERS.index(letter) < n_choices:
            return LETTERS.index(letter)

    same_text = []
    if isinstance(value, str):
        same_text = [n for n, text in enumerate(choices.texts) if text.strip() == name]
    if name.isdecimal() and int(name) < n_choices:
        if same_text and same_text != [int(name)]:
            raise RecordError(
                f"`{key}` {name!r} is the text of one choice and the place of another; give its "
                "letter"
            )
        return int(name)
    if len(same_text) == 1:
        return same_text[0]
    raise RecordError(
        f"`{key}` {name[:60]!r} is none of the {n_choices} choices: expected a letter up to "
        f"{LETTERS[n_choices - 1]}, a number from 0 to {n_choices - 1} as its "
        "place, or its text"
    )


def _from_value(value: object, key: str) -> tuple[list[str], list[str] | None]:
    """Texts and labels, however a data set has them: lists of texts, lists of objects with text and
    label, an object of both lists, an object by letter."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        return _from_two_lists(value, key)
    if isinstance(value, Mapping) and list(value) == list(LETTERS[: len(value)]):
        return [as_scalar(text, f"{key}.{letter}") for letter, text in value.items()], None
    if not isinstance(value, list):
        raise RecordError(
            f"`{key}` is a JSON {json_type(value)}, expected a list of choices or {{text, label}}"
        )
    if all(isinstance(item, Mapping) for item in value):
        return _from_objects(value, key)
    texts = [as_scalar(item, f"{key}[{number}]") for number, item in enumerate(value)]
    return _without_letters(texts), None


def _from_two_lists(value: Mapping[str, Any], key: str) -> tuple[list[str], list[str] | None]:
    texts = [as_scalar(text, f"{key}.text") for text in value["text"]]
    labels = value.get("label")
    if not isinstance(labels, list):
        return texts, None
    return texts, [as_scalar(label, f"{key}.label") for label in labels]


def _from_objects(items: list[Mapping[str, Any]], key: str) -> tuple[list[str], list[str] | None]:
    texts = [as_scalar(item.get("text"), f"{key}.text") for item in items]
    if not all("label" in item for item in items):
        return texts, None
    return texts, [as_scalar(item["label"], f"{key}.label") for item in items]


def _without_letters(texts: list[str]) -> list[str]:
    """`A)21`, `B)22` as AQuA writes them: without the letters, where each choice begins with its
    own."""
    without = []
    for letter, text in zip(LETTERS, texts, strict=False):
        mark = re.match(rf"\(?{letter}\s*[).:]\s*(?=\S)", text)
        if mark is None:
            return texts
        without.append(text[mark.end() :])
    return without if len(without) == len(texts) else texts


def _checked(choices: Choices) -> Choices:
    (key,) = choices.keys
    n_texts = len(choices.texts)
    if not 2 <= n_texts <= len(LETTERS):
        choices_text = count_text(n_texts, "choice")
        raise RecordError(f"`{key}` holds {choices_text}, expected 2 to {len(LETTERS)}")
    if choices.labels is not None and len(set(choices.labels)) != n_texts:
        raise RecordError(
            f"`{key}` has {n_texts} texts and "
            f"{count_text(len(set(choices.labels)), 'different label')}"
        )
    return choices
