"""The driver of a run on workers under a thousand seeds of deaths, late answers, lost machines; and
broken on purpose.

A seed that fails is printed with the command that replays it. More seeds: DIFFENGINE_SEEDS=100000
pytest ...
"""

from __future__ import annotations

import logging
import os
import sys
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from simulated_run import simulate

from diffengine.engine.runs.cluster import crew as cluster

SEEDS = int(os.environ.get("DIFFENGINE_SEEDS", "1000"))


class Break(NamedTuple):
    """A line of the driver (crew.py, seat.py or backlog.py), and what stands there instead."""

    file: str
    line: str
    instead: str


BREAKS = {
    "what a dead worker published is forgotten": Break(
        "crew", "self.on_published(settled, self.begun)", "pass"
    ),
    "what a dead worker published is decoded again": Break(
        "crew", "stored = self.give_up(self.job, seat.name)", "stored = self.give_up(self.job, seat.name) and {}"
    ),
    "what was decoded and not stored is lost with its worker": Break("crew", "if held.unstored:", "if False:"),
    "what was decoded is never stored": Break("crew", "elif seat.ready and seat.unconfirmed:", "elif False:"),
    "suspects share a worker with others": Break(
        "seat", "return bool(self.unconfirmed) and (batch.suspect or last_is_suspect)", "return False"
    ),
    "one failure is enough": Break("backlog", "alone and failures >= FAILURES_BEFORE_SPLIT", "alone and failures >= 1"),
    "a failure in company counts as one alone": Break(
        "backlog", "counted = failures if len(part) > 1 or alone else 0", "counted = failures"
    ),
    "whoever dies storing is never charged": Break(
        "crew",
        "suspects = Batch(list(held.unstored.values()), failures)",
        "self.backlog._waiting.append(Batch(list(held.unstored.values()))); suspects = Batch([])",
    ),
    "a dead worker counts as ready": Break("seat", "        self.ready = False\n", ""),
    "a worker that cannot start is tried for ever": Break("seat", "self.failed_starts < STARTS_IN_A_ROW", "True"),
    "a seat is given up for three bad starts in all": Break("seat", "        self.failed_starts = 0\n", ""),
    "a stop is not heard": Break("crew", " and not self.stop.asked", ""),
    "work is handed out on a full disk": Break("crew", " and self._fatal is None", ""),
    "nobody is waited for without end": Break("crew", "> NOBODY_SECONDS:", "> 1e9:"),
    "names of workers that live on are used again": Break("crew", "set(self.names_taken)", "set()"),
    "what a worker passed over is not missed": Break(
        "crew", 'self.backlog.put_back(batch, accounted, "passed over", alone=batch.is_one_problem)', "pass"
    ),
    "a drain that stores nothing is repeated for ever": Break(
        "crew", 'self._replace(seat, f"it did not store {lost} that it had decoded")', "pass"
    ),
    "a worker gets more than it has room for": Break("backlog", "if n >= len(batch.prompts):", "if True:"),
    "an error without a word ends the driver": Break("crew", " or [type(error).__name__]", ""),
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The driver warns of every death, and here there are tens of thousands."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_every_problem_is_published_once_or_given_up_for_what_it_did_alone_and_nobody_waits_for_ever() -> (
    None
):
    ends: Counter[str] = Counter()
    for seed in range(SEEDS):
        simulation = simulate(seed)
        ends[simulation.ended] += 1
        ends["late"] += simulation.world.n_late > 0
        ends["given up"] += bool(simulation.failed)
        ends["machine lost"] += any("is lost" in line for line in simulation.world.trace)
    # The simulation has seen what it is there for.
    expected = ("finished", "stopped", "disk full", "nobody", "late", "given up")
    assert min(ends[what] for what in expected) >= SEEDS // 100, ends
    assert ends["machine lost"] >= SEEDS // 10


def test_a_seed_always_tells_the_same_story() -> None:
    for seed in range(20):
        assert simulate(seed).world.trace == simulate(seed).world.trace


@pytest.mark.parametrize("fault", BREAKS)
def test_a_broken_driver_is_found(fault: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        broken = broken_driver(BREAKS[fault], patch)
        with pytest.raises(AssertionError, match="replay it with"):
            for seed in range(SEEDS):
                simulate(seed, broken)


def broken_driver(fault: Break, patch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module `crew` as it would be with the fault in one of its files."""
    folder = Path(cluster.__file__).parent
    package = cluster.__package__
    module = types.ModuleType("no file of the driver")
    for name in ("backlog", "seat", "crew"):
        source = (folder / f"{name}.py").read_text(encoding="utf-8")
        if name == fault.file:
            count = source.count(fault.line)
            assert count == 1, f"{name}.py has changed: {fault.line!r} is there {count} times"
            source = source.replace(fault.line, fault.instead)
        module = types.ModuleType(f"{package}.{name}")
        module.__package__ = package
        patch.setitem(sys.modules, module.__name__, module)
        exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module
