"""A command whose options take several values one behind the other: `--threshold .6 .7 .8`.

click reads one value an option, and the same option several times; what is typed is brought into
that form first. Only a command without arguments can do so, for else nobody knows where the values
end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click


class SeveralValues(click.Command):
    """A command without arguments; each of its options that may be given several times also takes
    several values at once."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does. Raises click.UsageError also for a second value of an option that takes
        one."""
        return super().parse_args(ctx, one_value_each(args, options_by_name(self, ctx)))


def options_by_name(command: click.Command, ctx: click.Context) -> dict[str, click.Option]:
    """The options of a command by each of the ways to type them."""
    names = {}
    for parameter in command.get_params(ctx):
        if isinstance(parameter, click.Option):
            for name in (*parameter.opts, *parameter.secondary_opts):
                names[name] = parameter
    return names


def one_value_each(args: Sequence[str], options: Mapping[str, click.Option]) -> list[str]:
    """`--threshold .6 .7` as `--threshold .6 --threshold .7`. Raises click.UsageError for a second
    value of an option that takes one."""
    result: list[str] = []
    name = ""
    for place, word in enumerate(args):
        awaits_value = _takes_value(options.get(name)) and result[-1] == name
        if awaits_value:
            result.append(word)
        elif _is_name(word):
            name = word.partition("=")[0]
            result.append(word)
        elif name in options and _takes_value(options[name]):
            _refuse_second(name, options[name], args, place)
            result += [name, word]
        else:
            result.append(word)
    return result


def _takes_value(option: click.Option | None) -> bool:
    return option is not None and not option.is_flag and not option.count


def _is_name(word: str) -> bool:
    """Whether a word names an option; a negative number and `-`, the standard input, are values."""
    if not word.startswith("-") or word == "-":
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


def _refuse_second(name: str, option: click.Option, args: Sequence[str], place: int) -> None:
    if option.multiple:
        return
    raise click.UsageError(
        f"{name} takes one value, and {args[place]!r} is a second one; several make a grid only "
        "for options of the policy"
    )
