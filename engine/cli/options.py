"""Options of dataclasses as options of click, so that a name, its type and its help stand once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from ..options import Option, kinds_of, options_of, parse_option, refuse_unknown
from ..policies import OPTIONS, options_class

Decorator = Callable[[Any], Any]


def click_options(
    kind: type, names: Iterable[str] | None = None, *, several: bool = False
) -> list[Decorator]:
    """The options of a dataclass, or those of these names, as decorators of a command.

    None is what click hands on for an option that was not given. `several`: each but a flag may be
    given several times, and an empty tuple is what is not given.
    """
    known = options_of(kind)
    chosen = known if names is None else names
    decorators = []
    for name in chosen:
        text = _help(known[name], _default(known[name]))
        decorators.append(_click_option(kind, name, text, several=several))
    return decorators


def _click_option(kind: type, name: str, text: str, *, several: bool) -> Decorator:
    option = options_of(kind)[name]
    plain = name.replace("_", "-")
    (value_type, *_) = kinds_of(kind, name)
    if value_type is bool:
        default = getattr(kind, name)
        flag = f"--{plain}/--no-{plain}" if default else f"--{plain}"
        return click.option(flag, is_flag=True, default=None, help=text)
    if option.choices:
        choice = click.Choice(option.choices)
        return click.option(f"--{plain}", type=choice, help=text, multiple=several)
    return click.option(f"--{plain}", type=value_type, help=text, multiple=several)


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


def options_of_policies(*, several: bool = False) -> list[Decorator]:
    """The options of our policies, each name once, with the policies that have it; a stranger's
    policy takes those that it has as well. `several` as in `click_options`."""
    decorators = []
    for name, owners in policies_by_option().items():
        kind = next(iter(owners.values()))
        option = options_of(kind)[name]
        default = _default(option, _other_defaults(name, owners))
        text = _help(option, default, _owned_by(list(owners)))
        decorators.append(_click_option(kind, name, text, several=several))
    return decorators


def _other_defaults(name: str, owners: Mapping[str, type]) -> str:
    """The defaults of an option that are not those of its first owner, each with its policies."""
    policies: dict[str, list[str]] = {}
    for policy, kind in owners.items():
        policies.setdefault(options_of(kind)[name].default_text, []).append(policy)
    _, *others = policies.items()
    return "".join(f"; {', '.join(owned)}: {text}" for text, owned in others)


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
    values = {}
    for name, each in typed_values(texts, [policy]).items():
        if len(each) > 1:
            raise click.UsageError(f"--option {name}: given twice")
        values[name] = each[0]
    return values


def typed_values(texts: Iterable[str], policies: Sequence[str]) -> dict[str, list[Any]]:
    """The values of `--option NAME=VALUE` by name, several where a name is given several times, as
    the first of the policies that has the option reads them. Raises as `typed_options`."""
    values: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise click.UsageError(f"--option {text}: expected NAME=VALUE")
        kind = _kind_with(name, policies)
        values.setdefault(name, []).append(parse_option(kind, name, value.strip()))
    return values


def _kind_with(name: str, policies: Sequence[str]) -> type:
    """The options of the first policy that has one of this name."""
    names: set[str] = set()
    for policy in policies:
        kind = options_class(policy)
        if name in options_of(kind):
            return kind
        names |= options_of(kind).keys()
    refuse_unknown([name], names, policy=" or ".join(policies))
    raise AssertionError(name)
