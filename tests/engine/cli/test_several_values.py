"""Several values behind one option: what is typed in any way reads the same, and what cannot be is
one sentence."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from diffengine.engine.cli.several_values import SeveralValues


@click.command(cls=SeveralValues)
@click.option("--threshold", "-t", type=float, multiple=True)
@click.option("--word", multiple=True)
@click.option("--problems", "sources", multiple=True)
@click.option("--record")
@click.option("--quick", is_flag=True)
@click.option("--exact/--no-exact", default=True)
def command(**options: object) -> None:
    click.echo(repr(dict(sorted(options.items()))))


def typed(*arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments))
    return done.output.strip()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--threshold", ".6", ".7", ".8"],
        ["--threshold", ".6", "--threshold", ".7", "--threshold", ".8"],
        ["--threshold", ".6", ".7", "--threshold", ".8"],
        ["--threshold=.6", ".7", ".8"],
        ["-t", ".6", ".7", "-t", ".8"],
    ],
)
@pytest.mark.parametrize("rest", [[], ["--quick"], ["--record", "all", "--no-exact"]])
def test_all_ways_to_type_it_are_one(arguments: list[str], rest: list[str]) -> None:
    said = typed(*arguments, *rest)
    assert "'threshold': (0.6, 0.7, 0.8)" in said
    assert typed(*rest, *arguments) == said


def test_negative_numbers_and_the_standard_input_are_values() -> None:
    assert "'threshold': (-1.0, -0.5, 1e-05)" in typed("--threshold", "-1", "-.5", "1e-5")
    assert "'sources': ('a.jsonl', '-')" in typed("--problems", "a.jsonl", "-")


def test_the_first_value_may_look_like_an_option() -> None:
    """As click has it."""
    assert "'word': ('--quick', 'b')" in typed("--word", "--quick", "b")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--record", "all", "masked"], "--record takes one value, and 'masked' is a second one"),
        (["--record=all", "masked"], "--record takes one value, and 'masked' is a second one"),
        (["--quick", ".7"], "Got unexpected extra argument (.7)"),
        ([".7"], "Got unexpected extra argument (.7)"),
        (["--no-exact", "x"], "Got unexpected extra argument (x)"),
        (["--threshold"], "Option '--threshold' requires an argument"),
        (["--threshold", ".6", "x"], "'x' is not a valid float"),
        (["--treshold", ".6", ".7"], "No such option '--treshold'"),
        (["--record"], "Option '--record' requires an argument"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output
