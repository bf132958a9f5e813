"""A Ray and its workers, in one thread under a virtual clock: what the driver of a run is simulated
with.

Workers die at any message, answers are lost, machines vanish while their processes live on and
publish late, problems kill whoever decodes or stores them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from simulated_world import Shard, World, number_of

from diffengine.engine.runs.cluster.worker import Report


class RayError(Exception):
    """What Ray raises where an actor has died; sometimes without a word."""


class Ref:
    """The answer to a call: a report or an error, once `done`."""

    def __init__(self) -> None:
        self.done, self.value = False, None


class Actor:
    """One worker process, as the driver's handle of it: `start.remote()`, `work.remote(...)`,
    `drain.remote()`."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.machine = world, name, None  # type: ignore[var-annotated]
        self.alive, self.in_touch, self.ready, self.reported_dead = True, True, False, False
        self.gathered: list[str] = []
        self.writing = 0
        self.unreported: list[str] = []
        self.held: set[str] = set()
        self.batch: list[str] = []
        self.disk_refuses = self.of_the_past = False
        self.room = world.rng.choice([2, 5, 1000])
        self.unheard: set[str] = set()
        self.held_back: set[str] = set()
        self.ref: Ref | None = None
        self.start, self.drain = (
            SimpleNamespace(remote=call) for call in (self._start, self._drain)
        )
        self.work = SimpleNamespace(remote=self._work)
        assert name not in world.marks, (
            f"a worker is called {name}, as one that was given up and may live on"
        )
        world.actors.append(self)
        world.pending.append(self)
        world.settle_pending()

    def placed(self, machine: int) -> None:
        self.machine = machine
        if self.ref is not None:
            self._load()

    def _call(self, what: str) -> Ref:
        assert self.ref is None or self.ref.done, f"{self.name}: two calls at once"
        self.world.note(f"{self.name}: {what}")
        self.ref = Ref()
        if self.reported_dead:
            self._answer(RayError("the actor is dead"))
        return self.ref

    def _answer(self, value: Any) -> None:
        if self.ref is None or self.ref.done:
            return
        if isinstance(value, RayError):
            if not self.ready:
                self.world.failed_starts[self.name.split("r")[0]] += 1
            if len(self.held) == 1:
                self.world.failed_alone[next(iter(self.held))] += 1
        self.world.note(f"{self.name} answers {value!r}")
        self.ref.done, self.ref.value = True, value

    def reply(self, report: Report) -> None:
        """An answer on its way: the process may die of it, and its machine's connection may
        break."""
        if not self.alive:
            return
        if self.world.happens(self.world.faults.lose_answer):
            return self.die("while it answers")
        self.held -= {i for i, _ in report.published}
        if self.in_touch:
            self._note_omissions(report)
            self.world.known_published |= {i for i, _ in report.published}
            if report.error and not report.fatal:
                self.world.failed_alone.update(self.batch if len(self.batch) == 1 else [])
                self.held -= set(self.batch)
            self._answer(report)

    def _note_omissions(self, report: Report) -> None:
        """What a worker should have decoded or stored and did not, without an error, is a failure
        of its problems."""
        if report.error or not self.ready:
            return
        omitted = self.held - set(report.decoded)
        if self.batch:
            omitted &= set(self.batch)
        if omitted and (len(self.batch) == 1 if self.batch else len(self.held) == 1):
            self.world.failed_alone.update(omitted)
        self.held -= omitted
        self.batch = []

    def die(self, why: str) -> None:
        """The process ends; Ray notices soon, if it has not lost touch before."""
        if not self.alive:
            return
        self.alive = False
        self.world.note(f"{self.name} dies {why}")
        self._vacate()
        if self.in_touch:
            self.world.after(self.world.rng.uniform(0.01, 2), self._reported_dead)

    def lose_touch(self, seconds: float, *, lives_on: bool) -> None:
        """Ray takes the process for dead after a while, rightly or not."""
        self.in_touch = False
        self.machine = None
        self.world.note(
            f"Ray loses touch with {self.name}, which {'lives on' if lives_on else 'is dead'}"
        )
        self.world.after(seconds, self._reported_dead)
        if not lives_on:
            self.alive = False

    def _reported_dead(self) -> None:
        self.reported_dead = True
        self._answer(RayError(self.world.rng.choice(["", "The actor died unexpectedly.\nmore"])))

    def _vacate(self) -> None:
        if self.machine is not None and self.machine in self.world.free:
            self.world.free[self.machine] += 1
            self.machine = None
            self.world.after(0.1, self.world.settle_pending)
        if self in self.world.pending:
            self.world.pending.remove(self)

    def _start(self) -> Ref:
        ref = self._call("start")
        if self.machine is not None:
            self._load()
        return ref

    def _load(self) -> None:
        self.world.after(self.world.rng.uniform(0.5, self.world.longest_load), self._loaded)

    def _loaded(self) -> None:
        world = self.world
        if not self.alive:
            return
        wrong = self.machine is not None and self.machine == world.bad
        if wrong or world.happens(world.faults.fail_start):
            if world.happens(0.5):
                return self.die("while it loads")
            if self.in_touch:
                world.failed_starts[self.name.split("r")[0]] += 1
                self._answer(Report([], [], "RuntimeError: cannot load"))
            return
        if self.in_touch:
            self.ready = True
            world.failed_starts[self.name.split("r")[0]] = 0
            self._answer(Report([], [], budget=self.room))

    def _work(self, prompts: list[Any]) -> Ref:
        assert self.ready, f"{self.name} is given work before it is ready"
        assert not self.world.stopped, f"{self.name} is given work after a stop was asked"
        assert not self.world.disk_is_known_full, f"{self.name} is given work for a full disk"
        ids = [p.problem.id for p in prompts]
        assert len(ids) <= self.room, (
            f"{self.name} has room for {self.room} problems and gets {len(ids)}"
        )
        known = self.world.known_published & set(ids)
        assert not known, f"{self.name} decodes {known}, which are known to be published"
        self.held |= set(ids)
        self.batch = ids
        ref = self._call(f"work {ids}")
        self.world.after(self.world.rng.uniform(0.1, 2), lambda: self._decode(ids, ids, []))
        return ref

    def _decode(self, batch: list[str], left: list[str], decoded: list[str]) -> None:
        world = self.world
        if not self.alive:
            return
        if world.happens(world.faults.die):
            return self.die("of nothing in particular")
        if self.disk_refuses:
            return self.reply(Report(self._taken(), [], "the disk is full", True))
        if len(batch) > world.memory and len(decoded) >= 2:
            return self._fail("OutOfMemoryError: simulated")
        if not left:
            if world.happens(0.3):
                self._write()
            if self.world.happens(0.05):
                self.room = max(1, self.room // 2)  # as memory ran out
            return self.reply(Report(self._taken(), decoded, budget=self.room))
        problem_id, *rest = left
        kind = world.kinds[problem_id]
        if kind == "deadly":
            return self.die(f"of {problem_id}")
        if kind == "wrong":
            return self._fail(f"ValueError: {problem_id}")
        if kind != "lost" and kind != "passed over":
            self.gathered.append(problem_id)
        done = decoded if kind == "passed over" else [*decoded, problem_id]
        if world.happens(0.2):
            self._write()
        world.after(world.rng.expovariate(1.0), lambda: self._decode(batch, rest, done))

    def _fail(self, error: str) -> None:
        self._stored(lambda: self.reply(Report(self._taken(), [], error)))

    def _drain(self) -> Ref:
        ref = self._call("drain")
        self.batch = []
        self._stored(lambda: self.reply(Report(self._taken(), [])))
        return ref

    def _stored(self, then: Callable[[], None]) -> None:
        """Write what has gathered; go on when nothing is being written any more."""
        self._write()

        def wait() -> None:
            if self.alive and self.disk_refuses:
                self.reply(Report(self._taken(), [], "the disk is full", True))
            elif self.alive and self.writing:
                self.world.after(0.3, wait)
            elif self.alive:
                then()

        wait()

    def _write(self) -> None:
        world = self.world
        if not self.alive or not self.gathered:
            return
        if self.name in world.marks:
            return self.die("because it was given up")
        ids, self.gathered = tuple(self.gathered), []
        self.writing += 1
        world.after(world.rng.choice([0.05, 1.0, 10.0, 30.0]), lambda: self._written(ids))

    def _written(self, ids: tuple[str, ...]) -> None:
        world = self.world
        if not self.alive:
            return
        if world.now > world.disk_full_at:
            self.disk_refuses = True
            return
        if any(world.kinds[i] == "unstorable" for i in ids):
            return self.die(f"of storing {ids}")
        self.writing -= 1
        late = self.name in world.marks
        world.n_shards, world.n_late = world.n_shards + 1, world.n_late + late
        world.disk.append(Shard(f"{self.name}-{world.n_shards:04d}", self.name, ids, late))
        world.note(f"{self.name} published {ids}")
        self.unreported += ids

    def _taken(self) -> list[tuple[str, int]]:
        taken, self.unreported = self.unreported, []
        return [(i, number_of(i)) for i in taken]


class SimulatedRay:
    """The part of Ray that the driver uses."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, world: World) -> None:
        self._world, self.waits = world, 0

    def remote(self, **options: Any) -> Callable[[type], Any]:
        assert options == {"max_restarts": 0, "max_task_retries": 0}
        actor = SimpleNamespace(remote=lambda job, name: Actor(self._world, name))
        return lambda _: SimpleNamespace(options=lambda **resources: actor)

    def wait(
        self, refs: list[Ref], *, num_returns: int, timeout: float
    ) -> tuple[list[Ref], list[Ref]]:
        self.waits += 1
        self._world.advance(self._world.now + timeout, lambda: any(ref.done for ref in refs))
        done = [ref for ref in refs if ref.done][:num_returns]
        return done, [ref for ref in refs if ref not in done]

    def get(self, ref: Ref) -> Report:
        assert ref.done
        if isinstance(ref.value, RayError):
            raise ref.value
        assert isinstance(ref.value, Report)
        self._world.disk_is_known_full |= ref.value.fatal
        return ref.value

    def kill(self, actor: Actor) -> None:
        if actor.in_touch:
            actor.die("because it is killed")
        actor.reported_dead = True
