"""The grammar of `--do`: from the text of one action to the action.

An action is words apart by spaces. A text, an id or a path with spaces at its ends, with quotes or
with a semicolon in it stands in double quotes, as a JSON string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..options import ConfigError
from ..registry import nearest
from .actions import (
    Action,
    Forbid,
    Force,
    Nothing,
    PatchStates,
    Put,
    Remask,
    RemaskLeast,
    RemaskRandom,
    Resample,
    SwapAnswer,
)
from .where import NUMBER, read_where


class Form(NamedTuple):
    """One form of an action: how it is written, and what it does."""

    written: str
    does: str


FORMS = (
    Form("nothing", "the state as it was"),
    Form("remask WHERE", "masks in the place of the tokens there"),
    Form(
        "remask least K",
        "masks in the place of the K tokens that were least sure when they committed",
    ),
    Form("remask random K", "masks in the place of K tokens, drawn by seed, problem and step"),
    Form("set WHERE TEXT", "the tokens of TEXT there, whatever stood there"),
    Form("resample POSITION", "a mask at this one position, which the sampler commits anew"),
    Form(
        "swap answer [from ID]",
        "the tokens of another problem's final answer where this one's stands",
    ),
    Form("force WHERE TEXT", "whenever a position there commits, it commits to its token of TEXT"),
    Form("forbid WHERE TEXT", "no position there commits to any token of TEXT"),
    Form(
        "patch WHERE layer L from step T", "states of layer L come from the same problem at step T"
    ),
    Form(
        "patch WHERE layer L from run PATH [problem ID] [step T]",
        "states of layer L come from another run of the same model",
    ),
)
"""All forms, in the order of docs/analysis.md."""

QUOTED = r'"(?:[^"\\]|\\.)*"'
WORD = re.compile(rf"{QUOTED}|[^\s\"]+")
PART = re.compile(
    rf"(?P<quoted>{QUOTED})"  # a JSON string
    r"|(?P<plain>[^\";]+)"  # anything else up to the next quote or semicolon
    r"|(?P<end>;)"  # between two actions
)


def split_actions(text: str) -> list[str]:
    """The actions of one intervention, which semicolons outside of quotes part. Raises
    ConfigError."""
    actions = [""]
    place = 0
    while place < len(text):
        part = PART.match(text, place)
        if part is None:
            raise ConfigError(
                f"--do {text!r} has a double quote that nothing closes; write a text with a quote "
                'in it as a JSON string: set 3:5 "say \\"7\\""'
            )
        if part["end"]:
            actions.append("")
        else:
            actions[-1] += part[0]
        place = part.end()
    return [action.strip() for action in actions]


@dataclass
class Words:
    """The words of an action that are still to be read."""

    text: str
    gen_length: int
    place: int = 0

    def next(self, expected: str) -> str:
        """The next word, without its quotes. Raises ConfigError, saying what was `expected`."""
        self._skip_spaces()
        match = WORD.match(self.text, self.place)
        if match is None:
            said = "nothing more" if self.is_done else repr(self.text[self.place :])
            raise ConfigError(f"got {said}; expected {expected}")
        self.place = match.end()
        return unquoted(match[0])

    def keyword(self, *words: str) -> str:
        """The next word, one of these. Raises ConfigError."""
        word = self.next(" or ".join(words))
        if word not in words:
            raise ConfigError(f"got {word!r}; expected {' or '.join(words)}")
        return word

    def number(self, name: str, *, least: int, most: int | None = None) -> int:
        """The next word as a whole number. Raises ConfigError."""
        limit = f"from {least}" if most is None else f"from {least} to {most}"
        expected = f"{name}, a whole number {limit}"
        word = self.next(expected)
        value = int(word) if re.fullmatch(NUMBER, word) else -1
        if value < least or (most is not None and value > most):
            raise ConfigError(f"got {word!r}; expected {expected}")
        return value

    def rest(self, expected: str) -> str:
        """All that is left, as a text. Raises ConfigError where that is nothing."""
        self._skip_spaces()
        left = self.text[self.place :]
        self.place = len(self.text)
        text = unquoted(left)
        if not text:
            raise ConfigError(f"got nothing more; expected {expected}")
        return text

    @property
    def is_done(self) -> bool:
        """Whether no word is left."""
        return not self.text[self.place :].strip()

    def _skip_spaces(self) -> None:
        while self.place < len(self.text) and self.text[self.place].isspace():
            self.place += 1


def unquoted(word: str) -> str:
    """What a word says: a JSON string where it begins with a quote, else itself. Raises
    ConfigError."""
    if not word.startswith('"'):
        return word
    try:
        said = json.loads(word)
    except ValueError as error:
        raise ConfigError(
            f"{word} begins with a quote and is no JSON string ({error}); expected one and nothing "
            "behind it"
        ) from None
    return str(said)


def read_action(text: str, *, gen_length: int) -> Action:
    """The action that `text` is. Raises ConfigError, which says what was expected."""
    words = Words(text, gen_length)
    name = words.next("an action")
    if name not in READERS:
        hint = nearest(name, list(READERS))
        raise ConfigError(f"got {name!r}; expected one of {', '.join(READERS)}.{hint}")
    action = READERS[name](words)
    if not words.is_done:
        raise ConfigError(f"got {words.text[words.place :].strip()!r} behind {action.text!r}")
    return action


def _nothing(words: Words) -> Action:
    return Nothing()


def _remask(words: Words) -> Action:
    word = words.next("WHERE, least K or random K")
    if word == "least":
        return RemaskLeast(words.number("K", least=1, most=words.gen_length))
    if word == "random":
        return RemaskRandom(words.number("K", least=1, most=words.gen_length))
    return Remask(read_where(word, gen_length=words.gen_length))


def _resample(words: Words) -> Action:
    place = read_where(words.next("POSITION"), gen_length=words.gen_length)
    if place.length != 1:
        raise ConfigError(
            f"got {place.text!r}; expected one position, or each; `remask {place.text}` masks "
            "several at once"
        )
    return Resample(place)


def _put(words: Words) -> Action:
    place = read_where(words.next("WHERE"), gen_length=words.gen_length)
    return Put(place, words.rest("TEXT"))


def _force(words: Words) -> Action:
    place = read_where(words.next("WHERE"), gen_length=words.gen_length)
    return Force(place, words.rest("TEXT"))


def _forbid(words: Words) -> Action:
    place = read_where(words.next("WHERE"), gen_length=words.gen_length)
    return Forbid(place, words.rest("TEXT"))


def _swap(words: Words) -> Action:
    words.keyword("answer")
    if words.is_done:
        return SwapAnswer()
    words.keyword("from")
    return SwapAnswer(words.next("ID, a problem of the run"))


def _patch(words: Words) -> Action:
    place = read_where(words.next("WHERE"), gen_length=words.gen_length)
    words.keyword("layer")
    layer = words.number("L", least=0)
    words.keyword("from")
    if words.keyword("step", "run") == "step":
        return PatchStates(place, layer, step=words.number("T", least=0))

    run = words.next("PATH, the directory of a run")
    problem = ""
    step = None
    if not words.is_done and words.keyword("problem", "step") == "problem":
        problem = words.next("ID, a problem of that run")
        if words.is_done:
            return PatchStates(place, layer, run=run, problem=problem)
        words.keyword("step")
        step = words.number("T", least=0)
    elif not words.is_done:
        step = words.number("T", least=0)
    return PatchStates(place, layer, step=step, run=run, problem=problem)


READERS: dict[str, Callable[[Words], Action]] = {
    "nothing": _nothing,
    "remask": _remask,
    "set": _put,
    "resample": _resample,
    "swap": _swap,
    "force": _force,
    "forbid": _forbid,
    "patch": _patch,
}
