"""The tutorial: every command and every block of Python in it, in order, as printed; and that what
it tells of them is so."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from diffengine.engine import cli

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
PIECE = re.compile(
    r"^    (?P<command>diffengine [^\n]+)$|^```python\n(?P<python>.*?)^```$", re.MULTILINE | re.S
)


class Done(NamedTuple):
    """What was typed, and what it printed."""

    typed: str
    printed: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def done(folder: Path) -> Iterator[list[Done]]:
    """The whole page, carried out in a folder of its own."""
    import torch

    handler = signal.getsignal(signal.SIGTERM)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # rows this small gain nothing from more, which wait for each other
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield list(_carried_out(PAGE.read_text(encoding="utf-8"), patch))
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, handler)


def _carried_out(page: str, patch: pytest.MonkeyPatch) -> Iterator[Done]:
    for piece in PIECE.finditer(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if piece["python"]:
                exec(compile(piece["python"], PAGE.name, "exec"), {})
            else:
                _call(piece["command"], patch)
        yield Done(piece["python"] or piece["command"], printed.getvalue())


def _call(command: str, patch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command, comments=True)
    patch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as over:
        cli.main()
    assert not over.value.code, command


def test_the_page_is_linked_and_has_what_it_is_for(done: list[Done]) -> None:
    assert "(docs/tutorial.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    typed = "\n".join(each.typed for each in done)
    for wanted in ("diffengine run", "diffengine branch", "diffengine analyze", "de.branch("):
        assert wanted in typed
    for wanted in ("remask answer", "forbid answer"):
        assert wanted in typed


def test_every_fenced_block_is_python_or_output() -> None:
    fences = re.findall(r"^```(\w*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= {"python", "text"} and set(fences[1::2]) == {""}


def test_the_answer_is_decided_on_the_way(done: list[Done], folder: Path) -> None:
    """H(A | x_t) falls from step to step, I_t is measured, and one table names pivotal steps."""
    from diffengine.analysis.results import load_analysis

    analysis = load_analysis(folder / "runs" / "decided" / "analysis.h5")
    entropy = analysis["answer_entropy/miller_madow"]
    shown = entropy.values[[0, 3, 6]]
    assert entropy.ok and (shown[:-1] > shown[1:]).all() and shown[-1] < 0.5
    assert analysis["answer_information/miller_madow"].ok
    rows = (folder / "runs" / "decided" / "pivotal_steps.csv").read_text().splitlines()
    assert len(rows) > 3
    assert "Pivotal steps" in (folder / "runs" / "decided" / "analysis_summary.txt").read_text()


def test_the_outputs_shown_have_the_lines_of_those_printed(done: list[Done]) -> None:
    """Line by line without their numbers, which another machine may round otherwise."""
    page = PAGE.read_text(encoding="utf-8")
    printed = {_bare(line) for each in done for line in each.printed.splitlines()}
    blocks = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.S)
    assert blocks
    for block in blocks:
        for line in block.splitlines():
            assert line.strip() in ("", "...") or _bare(line) in printed, line


def _bare(line: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[-+]?\d[\d.,]*", "#", line)).strip()
