"""Options of dataclasses as options of click, so that a name, its type and its help stand once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from ..options import Option, kinds_of, options_of, parse_option, refuse_unknown
from ..policies import OPTIONS, options_class

Decorator = Callable[[Any], Any]


def click_options(kind: type, names: Iterable[str] | None = None) -> list[Decorator]:
    """The options of a dataclass, or those of these names, as decorators of a command.

    None is what click hands on for an option that was not given.
    """
    known = options_of(kind)
    chosen = known if names is None else names
    return [_click_option(kind, name, known[name]) for name in chosen]


def _click_option(kind: type, name: str, option: Option) -> Decorator:
    plain = name.replace("_", "-")
    (value_type, *_) = kinds_of(kind, name)
    text = _help(option)
    if value_type is bool:
        default = getattr(kind, name)
        flag = f"--{plain}/--no-{plain}" if default else f"--{plain}"
        return click.option(flag, is_flag=True, default=None, help=text)
    if option.choices:
        return click.option(f"--{plain}", type=click.Choice(option.choices), help=text)
    return click.option(f"--{plain}", type=value_type, help=text)


def _help(option: Option) -> str:
    default = f"[default: {option.default_text}]" if option.default_text else ""
    return "  ".join(part for part in (option.help, default) if part)


def names_of_policies() -> dict[str, type]:
    """The names of our policies' options, each with the first dataclass that has it. No policy is
    imported."""
    names: dict[str, type] = {}
    for policy in OPTIONS:
        kind = options_class(policy)
        for name in options_of(kind):
            names.setdefault(name, kind)
    return names


def options_of_policies() -> list[Decorator]:
    """The options of our policies, each name once; a stranger's policy takes those that it has as
    well."""
    return [
        decorator
        for name, kind in names_of_policies().items()
        for decorator in click_options(kind, [name])
    ]


def typed_options(texts: Iterable[str], policy: str) -> dict[str, Any]:
    """The values of `--option NAME=VALUE` for this policy. Raises ConfigError for a name that it
    has not and a value that cannot be, UnknownNameError, PluginError."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise click.UsageError(f"--option {text}: expected NAME=VALUE")
        if name in pairs:
            raise click.UsageError(f"--option {name}: given twice")
        pairs[name] = value.strip()
    if not pairs:
        return {}
    kind = options_class(policy)
    refuse_unknown(pairs, options_of(kind), policy=policy)
    return {name: parse_option(kind, name, value) for name, value in pairs.items()}
