"""Options of dataclasses as options of click, so that a name, its type and its help stand once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
    return [_click_option(kind, name, _help(known[name], _default(known[name]))) for name in chosen]


def _click_option(kind: type, name: str, text: str) -> Decorator:
    option = options_of(kind)[name]
    plain = name.replace("_", "-")
    (value_type, *_) = kinds_of(kind, name)
    if value_type is bool:
        default = getattr(kind, name)
        flag = f"--{plain}/--no-{plain}" if default else f"--{plain}"
        return click.option(flag, is_flag=True, default=None, help=text)
    if option.choices:
        return click.option(f"--{plain}", type=click.Choice(option.choices), help=text)
    return click.option(f"--{plain}", type=value_type, help=text)


def _help(option: Option, *notes: str) -> str:
    return "  ".join(part for part in (option.help, *notes) if part)


def _default(option: Option, others: str = "") -> str:
    return f"[default: {option.default_text}{others}]" if option.default_text else ""


def policies_by_option() -> dict[str, dict[str, type]]:
    """For each option of our policies the policies that have it, each with its dataclass. No policy
    is imported."""
    owners: dict[str, dict[str, type]] = {}
    for policy in OPTIONS:
        kind = options_class(policy)
        for name in options_of(kind):
            owners.setdefault(name, {})[policy] = kind
    return owners


def names_of_policies() -> list[str]:
    """The names of our policies' options. No policy is imported."""
    return list(policies_by_option())


def options_of_policies() -> list[Decorator]:
    """The options of our policies, each name once, with the policies that have it; a stranger's
    policy takes those that it has as well."""
    decorators = []
    for name, owners in policies_by_option().items():
        kind = next(iter(owners.values()))
        option = options_of(kind)[name]
        default = _default(option, _other_defaults(name, owners))
        text = _help(option, default, _owned_by(list(owners)))
        decorators.append(_click_option(kind, name, text))
    return decorators


def _other_defaults(name: str, owners: Mapping[str, type]) -> str:
    """The defaults of an option that are not those of its first owner, each with its policy."""
    texts = {policy: options_of(kind)[name].default_text for policy, kind in owners.items()}
    first = next(iter(texts.values()))
    return "".join(f"; {policy}: {text}" for policy, text in texts.items() if text != first)


def _owned_by(owners: list[str]) -> str:
    """Which policies have an option, in the shorter of two ways; nothing where all do."""
    others = [policy for policy in OPTIONS if policy not in owners]
    if not others:
        return ""
    if len(others) < len(owners):
        return f"[not {', '.join(others)}]"
    return f"[{', '.join(owners)}]"


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
