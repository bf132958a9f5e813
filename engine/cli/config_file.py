"""`--config FILE`: settings of the commands from a TOML file, below whatever the command line says.

The option stands before the command or behind it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


def config_option(group: click.Group) -> click.Option:
    """The option for `group` itself and for each of its commands."""
    return click.Option(
        ["--config"],
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=lambda context, _, path: _read(context, path, group),
        help="TOML file with a table for each command, as [run]; the command line wins.",
    )


def _read(context: click.Context, path: Path | None, group: click.Group) -> None:
    if path is None:
        return
    tables = _tables(context, path, group)
    if context.command is group:
        context.default_map = tables
        return
    # Behind the command: of two files the nearer one wins.
    table = tables.get(str(context.info_name), {})
    context.default_map = {**(context.default_map or {}), **table}


def _tables(context: click.Context, path: Path, group: click.Group) -> dict[str, dict[str, Any]]:
    """Each command's table by the names of its parameters; click.UsageError for anything else in
    the file."""
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise click.UsageError(f"--config {path}: {error}") from None
    tables = {}
    for name, values in content.items():
        command = group.get_command(context, name)
        if command is None or not isinstance(values, dict):
            expected = ", ".join(f"[{known}]" for known in group.list_commands(context))
            raise click.UsageError(
                f"--config {path}: {name} is not the table of a command; expected {expected}, and "
                "settings inside them"
            )
        try:
            tables[name] = _table(command, values)
        except ValueError as error:
            raise click.UsageError(f"--config {path}: [{name}] {error}") from None
    return tables


def _table(command: click.Command, values: dict[str, Any]) -> dict[str, Any]:
    """The values by the names of the command's parameters. Raises ValueError for what it has no
    setting for, or one of another kind."""
    settings = _settings_of(command)
    unknown = [name for name in values if name not in settings]
    if unknown:
        raise ValueError(f"has no setting {', '.join(unknown)}")
    table = {}
    for name, value in values.items():
        parameter = settings[name]
        table[str(parameter.name)] = _value(value, parameter)
    return table


def _settings_of(command: click.Command) -> dict[str, click.Parameter]:
    """The names that a setting of `command` may have in a TOML file (block-length,
    block_length)."""
    names: dict[str, click.Parameter] = {}
    for parameter in command.params:
        if parameter.name == "config":
            continue
        for option in (*parameter.opts, str(parameter.name)):
            plain = option.lstrip("-")
            names |= {plain: parameter, plain.replace("-", "_"): parameter}
    return names


def _value(value: Any, parameter: click.Parameter) -> Any:
    """A default as click reads it: text but for booleans, and a list where the parameter may be
    given several times. Raises ValueError."""
    several = parameter.multiple or parameter.nargs != 1
    if isinstance(value, dict) or (isinstance(value, list) and not several):
        kind = "table" if isinstance(value, dict) else "list"
        raise ValueError(f"{parameter.name} is a {kind}, expected one value")
    if several:
        items = value if isinstance(value, list) else [value]
        return [str(item) for item in items]
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    return value if is_flag and isinstance(value, bool) else str(value)
