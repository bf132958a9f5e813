"""`diffengine`: the group of commands, and what becomes of an error that one of them raises.

Each command lives in the file of the question that it answers and is imported when it is asked for,
so that `--help` is fast and a broken package spoils no command that does without it.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from ... import __version__
from ..checkout import hide_checkout_root
from ..registry import Registry, UnknownNameError
from .config_file import config_option

COMMANDS = Registry(
    "command",
    {
        "run": "diffengine.engine.cli.run:run",
        "estimate": "diffengine.engine.cli.run:estimate",
        "branch": "diffengine.engine.cli.branch:branch",
        "sweep": "diffengine.engine.cli.sweep:sweep",
        "analyze": "diffengine.engine.cli.analyze:analyze",
        "report": "diffengine.engine.cli.analyze:report",
        "likelihood": "diffengine.engine.cli.likelihood:likelihood",
        "inspect": "diffengine.engine.cli.inspect:inspect",
        "verify": "diffengine.engine.cli.inspect:verify",
        "export": "diffengine.engine.cli.analyze:export",
        "bench": "diffengine.engine.cli.bench:bench",
        "list": "diffengine.engine.cli.list_names:list_names",
        "doctor": "diffengine.engine.cli.doctor:doctor",
    },
)
"""In the order of `diffengine --help`."""

ERROR = 1
USAGE = 2
INTERRUPTED = 130
"""Exit codes, besides 0 for done; `diffengine run` ends with 3 where single problems failed."""

USER_ERRORS = {
    "diffengine.engine.options": USAGE,
    "diffengine.engine.registry": USAGE,
    "diffengine.analysis.errors": USAGE,
    "diffengine.engine.models.family": ERROR,
    "diffengine.engine.problems.read": ERROR,
    "diffengine.engine.runs.cluster.ray_session": ERROR,
    "diffengine.engine.store.errors": ERROR,
}
"""Modules whose exceptions a user can act on, with the exit code: 2 for what was typed, 1 for what
was found. By name, so that none of them is imported for a message."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for; each takes `--config`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = COMMANDS.load(cmd_name)
        if all(parameter.name != "config" for parameter in command.params):
            command.params.append(config_option(self))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; a name that no command has is answered with all names and the nearest."""
        if not args[0].startswith("-"):
            try:
                COMMANDS.row(args[0])
            except UnknownNameError as error:
                ctx.fail(str(error))
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def group() -> None:
    """When, during denoising, does a diffusion language model know the answer?"""


group.params.append(config_option(group))


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 error, 2 usage, 3 finished with failed problems,
    130 interrupted."""
    hide_checkout_root()
    try:
        sys.exit(group.main(prog_name="diffengine", standalone_mode=False))
    except (click.exceptions.Abort, KeyboardInterrupt):
        _end_interrupted()
    except click.exceptions.Exit as over:
        sys.exit(over.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        _end_unread()
    except Exception as error:
        code = expected_failure(error)
        if code is None:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(code)


def expected_failure(error: BaseException) -> int | None:
    """The exit code for an error that a user can act on; None for a bug, whose traceback should be
    seen."""
    for kind in type(error).__mro__:
        if kind.__module__ in USER_ERRORS:
            return USER_ERRORS[kind.__module__]
    return ERROR if isinstance(error, OSError) else None


def _end_interrupted() -> NoReturn:
    click.echo("\ninterrupted; finished problems are published, the same command goes on", err=True)
    sys.exit(INTERRUPTED)


def _end_unread() -> NoReturn:
    """Nobody reads standard output any more (`| head`); what Python still flushes goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(ERROR)
