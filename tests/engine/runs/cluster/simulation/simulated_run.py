"""One simulated run of the driver from its seed, checked against what really happened in its world.

PYTHONPATH=.src python tests/engine/runs/cluster/simulation/simulated_run.py SEED      replays a
seed and prints every event
"""

from __future__ import annotations

import random
import sys
from collections import Counter, deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

from simulated_ray import SimulatedRay
from simulated_world import World, number_of

from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs.cluster import crew as cluster
from diffengine.engine.runs.cluster.ray_session import ClusterError
from diffengine.engine.signals import Stop
from diffengine.engine.store.check.repair import superfluous
from diffengine.engine.store.errors import StorageError

LONGEST = 40_000.0
"""Virtual seconds that no run may exceed: some hundred problems of a second each, and waiting for
machines."""
MOST_WAITS = 100_000
POISON = ("deadly", "wrong", "unstorable", "lost", "passed over")
GOOD = "good"


class Simulation:
    """One command: rounds of the driver until no problem has to be done again, as
    engine/runs/run.py has them."""

    def __init__(self, seed: int, driver: Any = cluster) -> None:
        """`driver`: the module with `Crew`; another than ours, so that a broken one can be shown to
        fail."""
        self.driver = driver
        rng = random.Random(seed + 1_000_000)
        count = rng.choice([1, 2, 7, 20, 40])
        share = rng.choice([0, 0, 0.05, 0.3])
        self.kinds = {
            f"p{n}": rng.choice(POISON) if rng.random() < share else GOOD for n in range(count)
        }
        self.workers = rng.choice([1, 2, 4])
        self.world = World(seed, self.kinds, machines=rng.choice([1, 2, 3]), slots=self.workers)
        self.ray = SimulatedRay(self.world)
        self.stop = Stop()
        self.size = rng.choice([1, 3, 8])
        self.job: Any = SimpleNamespace(execution=SimpleNamespace(on_gpu=False))
        self.counted: list[int] = []
        self.failed: dict[str, str] = {}
        self.ended = "finished"
        if rng.random() < 0.15:
            self.world.after(rng.uniform(0, 120), self._ask_to_stop)

    def run(self) -> None:
        """Run the driver and check everything; raises AssertionError."""
        prompts = [Prompt(Problem(i, "", None), 0, 0, (1,), ()) for i in self.kinds]
        try:
            while prompts and not self.stop.asked:
                self._round(prompts)
                prompts = self._to_do_again(prompts)
        except StorageError:
            self.ended = "disk full"
        except ClusterError as error:
            self.ended = "nobody"
            self._check_nobody_is_true(str(error))
        if self.stop.asked and self.ended == "finished":
            self.ended = "stopped"
        self._check_published()

    def _ask_to_stop(self) -> None:
        self.world.note("a stop is asked")
        self.stop.asked = self.world.stopped = True

    def _clock(self) -> float:
        assert self.world.now < LONGEST, f"still waiting after {self.world.now:.0f} s"
        assert self.ray.waits < MOST_WAITS, f"{self.ray.waits} waits"
        return self.world.now

    def _round(self, prompts: list[Prompt]) -> None:
        batches = deque(
            self.driver.Batch(prompts[i : i + self.size]) for i in range(0, len(prompts), self.size)
        )
        backlog = self.driver.Backlog(batches, fits=lambda report, prompts: report.budget)
        crew = self.driver.Crew(
            self.ray,
            self.job,
            backlog,
            seats=[self.driver.Seat(n) for n in range(min(self.workers, len(batches)))],
            on_published=self._count,
            stop=self.stop,
            give_up=self.world.give_up,
            clock=self._clock,
            names_taken=frozenset(self.world.marks),
        )
        self.world.failed_starts.clear()
        try:
            crew.run()
        finally:
            self.failed |= backlog.given_up
            self.world.end_of_session()

    def _count(self, verdicts: list[int], begun: float) -> None:
        on_disk = {number_of(i) for shard in self.world.disk for i in shard.ids}
        assert set(verdicts) <= on_disk, (
            f"counted {set(verdicts) - on_disk}, which are not on the disk"
        )
        again = set(verdicts) & set(self.counted)
        assert not again and len(set(verdicts)) == len(verdicts), (
            f"counted {again or verdicts} twice"
        )
        self.counted += verdicts
        assert 0 <= begun <= len(self.kinds) - len(self.counted), (
            f"{begun} problems begun, {len(self.counted)} of {len(self.kinds)} counted"
        )

    def _to_do_again(self, prompts: list[Prompt]) -> list[Prompt]:
        """The runner's rule for what workers published that had been given up."""
        shards = {shard.name: shard for shard in self.world.disk}
        names = superfluous(((name, shard.ids) for name, shard in shards.items()), lambda _: True)
        kept = {i for name, shard in shards.items() if name not in names for i in shard.ids}
        lost = {i for name in names for i in shards[name].ids} - kept
        self.world.disk = [shard for name, shard in shards.items() if name not in names]
        self.world.known_published &= kept
        self.counted = [n for n in self.counted if f"p{n}" not in lost]
        return [p for p in prompts if p.problem.id in lost and p.problem.id not in self.failed]

    def _check_published(self) -> None:
        patience = max(self.world.failed_starts.values(), default=0)
        assert patience <= cluster.STARTS_IN_A_ROW, f"a seat was tried {patience} times in a row"
        stored = Counter(i for shard in self.world.disk for i in shard.ids)
        for problem_id, reason in self.failed.items():
            deaths = self.world.failed_alone[problem_id]
            assert deaths >= 2, f"{problem_id} is given up after {deaths} failures alone: {reason}"
        if self.ended == "finished":
            assert max(stored.values(), default=1) == 1, (
                f"published more than once: {stored.most_common(3)}"
            )
            missing = self.kinds.keys() - stored.keys() - self.failed.keys()
            assert not missing, f"neither published nor given up: {sorted(missing)}"
            poison = {i for i, kind in self.kinds.items() if kind != GOOD}
            assert poison <= self.failed.keys(), f"not given up: {poison - self.failed.keys()}"
        on_time = {number_of(i) for shard in self.world.disk if not shard.late for i in shard.ids}
        uncounted = on_time - set(self.counted) - self.world.unheard()
        assert not uncounted, f"on the disk and not counted: {uncounted}"
        if self.ended in ("finished", "stopped"):
            assert not self.world.held_back(), f"decoded and never stored: {self.world.held_back()}"

    def _check_nobody_is_true(self, message: str) -> None:
        if "no worker was ready" in message:
            assert self.world.now >= cluster.NOBODY_SECONDS
            assert not any(a.ready and a.alive and a.in_touch for a in self.world.session), (
                "somebody was ready"
            )
            return
        starts = [
            self.world.failed_starts[f"w{n}"] for n in range(min(self.workers, len(self.kinds)))
        ]
        tried = [n for n in starts if n]
        assert tried and all(n >= cluster.STARTS_IN_A_ROW for n in tried), (
            f"failed starts in a row: {starts}"
        )


def simulate(seed: int, driver: Any = cluster) -> Simulation:
    """Run one seed; an AssertionError says how to see what happened."""
    simulation = Simulation(seed, driver)
    try:
        simulation.run()
    except Exception as error:
        replay = (
            f"PYTHONPATH=.src python tests/engine/runs/cluster/simulation/simulated_run.py {seed}"
        )
        raise AssertionError(
            f"seed {seed}: {type(error).__name__}: {error}\nreplay it with: {replay}"
        ) from error
    return simulation


if __name__ == "__main__":
    replayed = Simulation(int(sys.argv[1]))
    try:
        replayed.run()
    finally:
        print("\n".join(replayed.world.trace), replayed.kinds, replayed.ended, sep="\n")
