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

import pytest
from simulated_run import simulate

from diffengine.engine.runs.cluster import crew as cluster

SEEDS = int(os.environ.get("DIFFENGINE_SEEDS", "1000"))

BREAKS = {
    "what a dead worker published is forgotten": (
        "        self._on_published([stored[i] for i in mine if i in stored])\n",
        "",
    ),
    "what a dead worker published is decoded again": (
        "        stored = self._give_up(self._job, place.name)\n",
        "        self._give_up(self._job, place.name)\n        stored = {}\n",
    ),
    "what was decoded and not stored is lost with its worker": (
        "        if unstored:\n",
        "        if False:\n",
    ),
    "what was decoded is never stored": ("elif place.ready and place.unconfirmed:", "elif False:"),
    "suspects share a worker with others": (
        "return bool(self.unconfirmed) and (",
        "return False and (",
    ),
    "one failure is enough": (
        "alone and failures >= FAILURES_BEFORE_SPLIT",
        "alone and failures >= 1",
    ),
    "a failure in company counts as one alone": (
        "counted = failures if len(part) > 1 or alone else 0",
        "counted = failures",
    ),
    "whoever dies storing is never charged": (
        "            suspects = Batch(list(unstored.values()), failures)\n",
        "            self._waiting.append(Batch(list(unstored.values())))\n            suspects = "
        "Batch([])\n",
    ),
    "a dead worker counts as ready": (
        "was_ready, place.ready, place.actor = place.ready, False, None",
        "was_ready, place.actor = place.ready, None",
    ),
    "a worker that cannot start is tried for ever": (
        "self.failed_starts < STARTS_PER_PLACE",
        "True",
    ),
    "a place is given up for three bad starts in all": (
        "place.ready, place.failed_starts = True, 0",
        "place.ready = True",
    ),
    "a stop is not heard": (
        "return bool(self._waiting) and not self._stop.asked",
        "return bool(self._waiting)",
    ),
    "nobody is waited for without end": ("> NOBODY_SECONDS:", "> 1e9:"),
    "names of workers that live on are used again": ("place.name in self._names_taken or ", ""),
    "what a worker passed over is not missed": (
        'self._charge(batch, stored | place.unconfirmed.keys(), "passed over", alone=len(batch.prompts) == 1)',
        "pass",
    ),
    "a drain that stores nothing is repeated for ever": (
        'self._bury(place, f"it did not store {len(place.unconfirmed)} problems that it had decoded")',
        "pass",
    ),
    "a worker gets more than it has room for": ("if n >= len(batch.prompts):", "if True:"),
    "an error without a word ends the driver": (" or [type(error).__name__])[0]", ")[0]"),
}


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
    before, after = BREAKS[fault]
    source = Path(cluster.__file__).read_text(encoding="utf-8")
    assert source.count(before) == 1, (
        f"engine/runs/cluster/crew.py has changed: {before!r} is there {source.count(before)} times"
    )
    broken = types.ModuleType("diffengine.engine.broken_cluster")
    broken.__package__ = "diffengine.engine"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, broken.__name__, broken)
        exec(compile(source.replace(before, after), "broken_cluster.py", "exec"), broken.__dict__)
        with pytest.raises(AssertionError, match="replay it with"):
            for seed in range(SEEDS):
                simulate(seed, broken)
