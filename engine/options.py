"""Options as data: frozen dataclasses whose fields carry help, choices and a rule.

The command line, the checks and run.json all come from these fields; see `RunConfig` and the
`Options` of a policy. Imports no torch, so that `run --help` answers at once.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from .registry import nearest

KINDS: tuple[type, ...] = (bool, int, float, str)
"""What the value of an option may be; each may also be None where the annotation says so."""

BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class ConfigError(ValueError):
    """A setting that cannot be; the message says what, got, expected and what to do."""


class Rule(NamedTuple):
    """What a value must satisfy, and the half sentence that says so."""

    holds: Callable[[Any], bool]
    sentence: str


AT_LEAST_ONE = Rule(lambda value: value >= 1, "it must be at least 1")
NOT_NEGATIVE = Rule(lambda value: 0 <= value < float("inf"), "it must be finite and not negative")
SHARE = Rule(lambda value: 0 <= value <= 1, "it must be between 0 and 1")
SEED = Rule(lambda value: 0 <= value < 2**63, "it must be between 0 and 2^63 - 1")


@dataclass(frozen=True)
class Option:
    """What is known of a field besides its type and default.

    `default_text`: how help names the default, where it names one. `from_checkpoint`: a value in
    the checkpoint's generation_config.json stands above the default.
    """

    help: str
    choices: tuple[str, ...] = ()
    rule: Rule | None = None
    default_text: str = ""
    from_checkpoint: bool = False


def option(default: Any, help: str, **more: Any) -> Any:
    """A dataclass field with this default; `more` are the other parts of `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(help, **more)})


def no_option() -> Any:
    """A dataclass field that nobody sets as an option."""
    return dataclasses.field(metadata={"option": None})


def options_of(kind: type) -> dict[str, Option]:
    """The options of a dataclass by name, in its order; a plain field is one without help."""
    options = {}
    for field in dataclasses.fields(kind):
        entry = field.metadata.get("option", Option(""))
        if entry is not None:
            options[field.name] = entry
    return options


@cache
def kinds_of(kind: type, name: str) -> tuple[type, ...]:
    """The types that an option may have, NoneType among them where it may be None."""
    try:
        hint = typing.get_type_hints(kind)[name]
    except NameError as error:
        raise ConfigError(
            f"{kind.__module__}.{kind.__qualname__}: its fields cannot be read: {error}"
        ) from error
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    strange = [part for part in parts if part not in (*KINDS, types.NoneType)]
    if strange:
        raise ConfigError(
            f"{kind.__module__}.{kind.__qualname__}: option {name} is a {hint}; an option may be "
            f"{', '.join(k.__name__ for k in KINDS)}, or one of them or None"
        )
    return tuple(parts)


def check_options(kind: type, values: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first of `values` that is none of the option's type, choices or
    rule."""
    for name, entry in options_of(kind).items():
        if name not in values:
            continue
        value = values[name]
        _check_type(name, value, kinds_of(kind, name))
        if entry.choices and value not in entry.choices:
            raise ConfigError(f"{name} is {value!r}; use one of {', '.join(entry.choices)}")
        if entry.rule is not None and value is not None and not entry.rule.holds(value):
            raise ConfigError(f"{name} is {value}; {entry.rule.sentence}")


def refuse_unknown(given: Iterable[str], names: Iterable[str], *, policy: str) -> None:
    """Raise ConfigError if a name that was given is none of the `names` that there are."""
    possible = sorted(names)
    unknown = sorted(set(given) - set(possible))
    if unknown:
        raise ConfigError(
            f"unknown setting {', '.join(unknown)}; with policy {policy} there are: "
            f"{', '.join(possible)}.{nearest(unknown[0], possible)}"
        )


def parse_option(kind: type, name: str, text: str) -> Any:
    """The value of an option that was typed as `text`; raises ConfigError."""
    kinds = kinds_of(kind, name)
    if types.NoneType in kinds and text.lower() == "none":
        return None
    for each in kinds:
        if each is not types.NoneType and (value := _read(each, text)) is not None:
            return value
    raise ConfigError(f"{name} is {text!r}; expected {_named(kinds)}")


def _read(kind: type, text: str) -> Any:
    if kind is bool:
        return BOOLEANS.get(text.lower())
    try:
        return kind(text)
    except ValueError:
        return None


def _check_type(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if isinstance(value, bool):
        fits = bool in kinds
    elif isinstance(value, int):
        fits = int in kinds or float in kinds
    else:
        fits = isinstance(value, kinds)
    if not fits:
        raise ConfigError(
            f"{name} is {value!r}, of type {type(value).__name__}; expected {_named(kinds)}"
        )


def _named(kinds: tuple[type, ...]) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return " or ".join(words.get(kind, "none") for kind in kinds)
