"""The machines, the clock and the disk of a simulated cluster; everything that may go wrong is
drawn from one seed.

`World` keeps what really happened, for the invariants of simulated_run.py to compare with.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

HEARTBEATS = 14.0
"""Seconds until Ray notices that a machine is gone."""


class Shard(NamedTuple):
    """Published problems. `late`: its worker had been given up meanwhile."""

    name: str
    worker: str
    ids: tuple[str, ...]
    late: bool


class Faults(NamedTuple):
    """How often things go wrong: chances of one event each, drawn once for a seed."""

    die: float
    lose_answer: float
    fail_start: float
    vanish: float
    outlive: float
    bad_machine: bool


class World:
    """Clock, machines, disk and the record of what really happened."""

    def __init__(self, seed: int, kinds: dict[str, str], *, machines: int, slots: int) -> None:
        self.rng, self.now, self._events, self._n = random.Random(seed), 0.0, [], 0  # type: ignore[var-annotated]
        self.kinds, self.trace = kinds, []  # type: ignore[var-annotated]
        self.faults = self._drawn_faults()
        self.free = dict.fromkeys(range(machines), slots)
        self.bad = self.rng.randrange(machines) if self.faults.bad_machine else None
        self.pending: list[Any] = []
        self.actors: list[Any] = []
        self.disk: list[Shard] = []
        self.n_shards = self.n_late = 0
        self.stopped = False
        self.disk_is_known_full = False
        self.longest_load = self.rng.choice([2.0, 60.0])
        self.disk_full_at = self.rng.uniform(5, 100) if self.rng.random() < 0.05 else float("inf")
        self.memory = self.rng.choice([3, 6, 10**6, 10**6])
        self.marks: set[str] = set()
        self.failed_alone: Counter[str] = Counter()
        self.failed_starts: Counter[str] = Counter()
        self.known_published: set[str] = set()
        for machine in range(1, machines):
            if self.rng.random() < self.faults.vanish:
                self.after(self.rng.uniform(0, 120), lambda m=machine: self.lose(m))
        for _ in range(self.rng.choice([0, 0, 1, 3]) if self.faults.die else 0):
            self.after(self.rng.uniform(0, 90), self.cut_off_one)

    def _drawn_faults(self) -> Faults:
        rng, calm = self.rng, self.rng.random() < 0.2
        if calm:
            return Faults(0, 0, 0, 0, 0, False)
        chance = rng.choice([0.003, 0.02, 0.08])
        return Faults(
            chance,
            chance,
            rng.choice([0, 0, 0.1, 0.4, 0.4, 1]),
            0.4,
            rng.random(),
            rng.random() < 0.15,
        )

    def note(self, what: str) -> None:
        self.trace.append(f"{self.now:9.2f} {what}")

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._events, (self.now + seconds, self._n, act))

    def happens(self, chance: float) -> bool:
        return chance > 0 and self.rng.random() < chance

    def advance(self, until: float, enough: Callable[[], bool]) -> None:
        """Let events happen in their order, up to a time or until it is enough."""
        while not enough():
            if not self._events or self._events[0][0] > until:
                self.now = max(self.now, until)
                return
            self.now, _, act = heapq.heappop(self._events)
            act()

    def lose(self, machine: int) -> None:
        """A machine is gone for Ray; processes on it may live on for a while."""
        self.note(f"machine {machine} is lost")
        self.free.pop(machine, None)
        for actor in [a for a in self.actors if a.machine == machine]:
            actor.lose_touch(
                self.rng.choice([0.5, HEARTBEATS]), lives_on=self.happens(self.faults.outlive)
            )
        if self.happens(0.5):
            self.after(self.rng.uniform(10, 3000), lambda: self.join(machine))

    def cut_off_one(self) -> None:
        """Ray takes a worker for dead that is well: its slot is free, its process goes on until it
        sees its mark."""
        reached = [
            actor
            for actor in self.actors
            if actor.alive and actor.in_touch and actor.machine is not None
        ]
        if reached:
            actor = self.rng.choice(reached)
            if actor.machine in self.free:
                self.free[actor.machine] += 1
            actor.lose_touch(self.rng.choice([0.5, HEARTBEATS]), lives_on=True)
            self.after(0.1, self.settle_pending)

    def join(self, machine: int) -> None:
        self.note(f"machine {machine} joins")
        self.free[machine] = 1
        self.settle_pending()

    def settle_pending(self) -> None:
        for machine in list(self.free):
            while self.pending and self.free.get(machine, 0) > 0:
                self.free[machine] -= 1
                self.pending.pop(0).placed(machine)

    @property
    def session(self) -> list[Any]:
        """The workers that the driver started since its last round."""
        return [actor for actor in self.actors if not actor.of_the_past]

    def end_of_session(self) -> None:
        """The driver's Ray ends, and with it every process that it still reaches."""
        for actor in self.session:
            actor.of_the_past = True
            if actor.in_touch:
                actor.unheard |= {*actor.unreported}
                actor.die("with its session")
        self.pending.clear()

    def unheard(self) -> set[int]:
        """Problems that a worker published and never had the occasion to tell."""
        return {number_of(i) for actor in self.actors for i in (*actor.unheard, *actor.unreported)}

    def held_back(self) -> set[str]:
        """Problems that lay decoded on a sound worker when its session ended."""
        return {i for actor in self.actors for i in actor.held_back}

    def give_up(self, job: Any, name: str) -> dict[str, int]:
        """The driver gives up a worker: its mark is set, and what it has on the disk is told."""
        self.marks.add(name)
        stored = {i: number_of(i) for shard in self.disk if shard.worker == name for i in shard.ids}
        self.known_published |= stored.keys()
        self.note(f"given up: {name}, which had published {sorted(stored)}")
        return stored


def number_of(problem_id: str) -> int:
    """The verdict of a problem in this world: its own number, so that each count can be traced to
    it."""
    return int(problem_id.removeprefix("p"))
