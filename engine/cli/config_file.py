"""`--config FILE`: settings of the commands from a TOML file, below whatever the command line says.

The option stands before the command or behind it. Knows click's commands and parameters, not what
any of them does.
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
    else:  # behind the command: the nearer file wins
        context.default_map = {
            **(context.default_map or {}),
            **tables.get(str(context.info_name), {}),
        }


def _tables(context: click.Context, path: Path, group: click.Group) -> dict[str, dict[str, Any]]:
    """Each command's table by the names of its parameters; click.UsageError for anything else in
    the file."""
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise click.UsageError(f"--config {path}: {error}") from None
    commands = group.list_commands(context)
    tables = {}
    for table, values in content.items():
        command = group.get_command(context, table)
        if command is None or not isinstance(values, dict):
            raise click.UsageError(
                f"--config {path}: {table} is not the table of a command; expected "
                f"{', '.join(f'[{name}]' for name in commands)}, and settings inside them"
            )
        settings = _settings_of(command)
        unknown = [name for name in values if name not in settings]
        if unknown:
            raise click.UsageError(
                f"--config {path}: [{table}] has no setting {', '.join(unknown)}"
            )
        try:
            tables[table] = {
                str(settings[name].name): _value(value, settings[name])
                for name, value in values.items()
            }
        except TypeError as error:
            raise click.UsageError(f"--config {path}: [{table}] {error}") from None
    return tables


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
    given several times."""
    several = parameter.multiple or parameter.nargs != 1
    if isinstance(value, dict) or (isinstance(value, list) and not several):
        kind = "table" if isinstance(value, dict) else "list"
        raise TypeError(f"{parameter.name} is a {kind}, expected one value")
    if several:
        items = value if isinstance(value, list) else [value]
        return [str(item) for item in items]
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    return value if is_flag and isinstance(value, bool) else str(value)
