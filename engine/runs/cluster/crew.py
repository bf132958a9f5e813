"""A run on several devices or machines, on Ray: one actor for each device, problems handed out as
actors become free.

The driver owns every retry: Ray restarts nothing. An actor has one batch in flight; when it dies,
what it had published counts and the rest is handed out again, as a suspect: on a worker that holds
nothing else, until it is stored. A batch that fails twice is split, until a problem that fails
twice alone is given up with its error. Knows batches and reports, not how a problem is decoded.
`tests/engine/runs/cluster/simulation/simulated_run.py` drives it with a clock and a Ray of its own.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...prompts.prompt import Prompt
from ...signals import Stop, stopping
from ...store.errors import StorageError
from ..device import in_drawing_order
from ..memory import Footprint
from .batches import Batch, Fits, everything_fits, fits_by_memory
from .ray_session import ClusterError, started_ray
from .worker import Job, Report, Worker, give_up_worker, names_given_up

logger = logging.getLogger(__name__)

FAILURES_BEFORE_SPLIT = 2
STARTS_PER_PLACE = 3
NOBODY_SECONDS = 1800.0
"""How long a run waits for any worker at all, loading and joining machines included."""


@dataclass
class Place:
    """One device: the actor on it, the batch in flight, and prompts decoded whose shard is not
    confirmed yet."""

    number: int
    starts: int = 0
    failed_starts: int = 0
    name: str = ""
    actor: Any = None
    ready: bool = False
    batch: Batch | None = None
    last: Batch | None = None
    room: Report = Report([], [])
    unconfirmed: dict[str, Prompt] = field(default_factory=dict)

    @property
    def can_start(self) -> bool:
        return self.actor is None and self.failed_starts < STARTS_PER_PLACE

    def must_store_before(self, batch: Batch) -> bool:
        """Whether what is not stored yet and `batch` must not be on the worker together."""
        return bool(self.unconfirmed) and (
            batch.suspect or (self.last is not None and self.last.suspect)
        )


def batches_of(
    prompts: Sequence[Prompt], *, gen_length: int, budget: int, workers: int, most: int
) -> deque[Batch]:
    """Batches in drawing order, each one canvas full, small enough that every worker gets some."""
    most = max(1, min(most, -(-len(prompts) // workers)))
    batches: deque[Batch] = deque()
    used = 0
    for prompt in in_drawing_order(prompts):
        used += len(prompt.token_ids) + gen_length
        if not batches or used > budget or len(batches[-1].prompts) >= most:
            batches.append(Batch([]))
            used = len(prompt.token_ids) + gen_length
        batches[-1].prompts.append(prompt)
    return batches


class Crew:
    """The actors of one run and the batches between them. `failed` maps problems given up to their
    reasons."""

    def __init__(
        self,
        ray: Any,
        job: Job,
        batches: deque[Batch],
        *,
        workers: int,
        on_published: Callable[[list[int]], None],
        stop: Stop,
        give_up: Callable[[Job, str], dict[str, int]] = give_up_worker,
        clock: Callable[[], float] = time.monotonic,
        names_taken: Collection[str] = (),
        fits: Fits = everything_fits,
    ) -> None:
        """`give_up` is told the name of a dead worker and answers what it had published; `clock`
        gives seconds.

        `names_taken`: of workers that were given up before and may live on, marked by these names.
        `fits`: how much of a batch a worker has room for.
        """
        self._ray = ray
        self._job = job
        self._waiting = batches
        self._on_published = on_published
        self._give_up = give_up
        self._clock = clock
        self._names_taken = names_taken
        self._fits = fits
        self._most = max((len(batch.prompts) for batch in batches), default=1)
        self._actor = ray.remote(max_restarts=0, max_task_retries=0)(Worker)
        self._gpu = job.execution.on_gpu
        self._places = [Place(i) for i in range(min(workers, len(batches)))]
        self._in_flight: dict[Any, Place] = {}
        self._names_used: set[str] = set()
        self._trouble = ""
        self._alive = clock()
        self.failed: dict[str, str] = {}
        self._stop = stop
        self._fatal: str | None = None

    def run(self) -> None:
        """Until every problem is published or given up, or a stop was asked: then only until no
        batch is in flight.

        Raises StorageError where the disk refuses, ClusterError when no worker can be started any
        more.
        """
        while True:
            self._hand_out()
            # An actor that has no place to start, as on a machine that was lost, is waited for only
            # while it is needed.
            working = [ref for ref, place in self._in_flight.items() if place.ready or self._wanted]
            if not working:
                break
            self._check_for_life()
            done, _ = self._ray.wait(working, num_returns=1, timeout=0.5)
            for ref in done:
                self._settle(self._in_flight.pop(ref), ref)
        if self._fatal:
            raise StorageError(self._fatal)
        if self._wanted:
            raise ClusterError(
                f"no worker could be started {STARTS_PER_PLACE} times in a row: {self._trouble}"
            )

    @property
    def _wanted(self) -> bool:
        """Whether there is anything to hand out."""
        return bool(self._waiting) and not self._stop.asked

    def _check_for_life(self) -> None:
        if any(place.ready for place in self._places):
            self._alive = self._clock()
        elif self._clock() - self._alive > NOBODY_SECONDS:
            raise ClusterError(
                f"no worker was ready for {NOBODY_SECONDS:g} s; see `ray status` and the run's logs"
            )

    def _start(self, place: Place) -> None:
        while not place.name or place.name in self._names_taken or place.name in self._names_used:
            place.name = f"w{place.number}" + (f"r{place.starts}" if place.starts else "")
            place.starts += 1
        self._names_used.add(place.name)
        resources = {"num_gpus": 1, "num_cpus": 0} if self._gpu else {"num_cpus": 1}
        place.actor = self._actor.options(**resources).remote(self._job, place.name)
        self._in_flight[place.actor.start.remote()] = place

    def _hand_out(self) -> None:
        busy = {place.number for place in self._in_flight.values()}
        for place in self._places:
            if place.number in busy:
                continue
            if place.ready and self._wanted and not place.must_store_before(self._waiting[0]):
                place.batch = place.last = self._next_batch(place)
                self._in_flight[place.actor.work.remote(place.batch.prompts)] = place
            elif place.ready and place.unconfirmed:
                self._in_flight[place.actor.drain.remote()] = place
            elif place.can_start and self._wanted:
                self._start(place)

    def _next_batch(self, place: Place) -> Batch:
        """As much of the next batch as the worker has room for; the rest goes with the batch behind
        it."""
        batch = self._waiting.popleft()
        n = max(1, min(self._most, self._fits(place.room, batch.prompts)))
        if n >= len(batch.prompts):
            return batch
        rest = batch.part(batch.prompts[n:])
        if not batch.suspect and self._waiting and not self._waiting[0].suspect:
            rest.prompts += self._waiting.popleft().prompts
        self._waiting.appendleft(rest)
        return batch.part(batch.prompts[:n])

    def _settle(self, place: Place, ref: Any) -> None:
        try:
            report: Report = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            return self._bury(place, (str(error).strip().splitlines() or [type(error).__name__])[0])
        batch = place.batch
        place.batch = None
        if report.budget is not None:
            place.room = report
        if batch is not None:
            place.unconfirmed |= {
                p.problem.id: p for p in batch.prompts if p.problem.id in set(report.decoded)
            }
        self._confirm(place, report.published)
        stored = {problem_id for problem_id, _ in report.published}
        if report.error and (report.fatal or (place.ready and batch is None)):
            self._fatal = report.error
            self._stop.asked = True
            place.actor = None
            place.ready = False
        elif report.error and not place.ready:
            self._give_up_start(place, report.error)
        elif report.error and batch is not None:
            self._charge(batch, stored, report.error, alone=len(batch.prompts) == 1)
        elif not place.ready:
            place.ready = True
            place.failed_starts = 0
        elif batch is not None:
            self._charge(
                batch,
                stored | place.unconfirmed.keys(),
                "passed over",
                alone=len(batch.prompts) == 1,
            )
        elif place.unconfirmed:
            self._bury(
                place, f"it did not store {len(place.unconfirmed)} problems that it had decoded"
            )

    def _confirm(self, place: Place, published: list[tuple[str, int]]) -> None:
        for problem_id, _ in published:
            place.unconfirmed.pop(problem_id, None)
        if published:
            self._on_published([verdict for _, verdict in published])

    def _bury(self, place: Place, why: str) -> None:
        """The actor is dead: count what it published, hand the rest out again; another takes its
        place if needed."""
        with contextlib.suppress(Exception):
            self._ray.kill(place.actor)
        logger.warning("worker %s died: %s", place.name, why)
        stored = self._give_up(self._job, place.name)
        was_ready = place.ready
        place.ready = False
        place.actor = None
        batch = place.batch
        place.batch = None
        unstored = place.unconfirmed
        place.unconfirmed = {}
        mine = [*unstored, *((p.problem.id for p in batch.prompts) if batch else ())]
        self._on_published([stored[i] for i in mine if i in stored])
        if not was_ready:
            return self._give_up_start(place, why)
        # Any of them may be to blame; one that was alone from the start is.
        alone = len(mine) == 1 and place.last is not None and len(place.last.prompts) == 1
        if unstored:
            failures = place.last.failures if place.last is not None and place.last.suspect else 0
            suspects = Batch(list(unstored.values()), failures)
            self._charge(
                suspects, set(stored), f"the worker died before storing it: {why}", alone=alone
            )
        if batch is not None:
            self._charge(
                batch, set(stored), f"the worker died while decoding it: {why}", alone=alone
            )

    def _give_up_start(self, place: Place, why: str) -> None:
        place.failed_starts = place.failed_starts + 1
        self._trouble = why
        place.actor = None
        logger.warning("worker %s could not be started: %s", place.name, why)

    def _charge(self, batch: Batch, stored: set[str], why: str, *, alone: bool) -> None:
        """A batch failed, but for what is `stored`; `alone`: it was one problem, and the worker
        held nothing else."""
        left = [p for p in batch.prompts if p.problem.id not in stored]
        failures = batch.failures + 1
        if not left:
            return
        if len(left) == 1 and alone and failures >= FAILURES_BEFORE_SPLIT:
            self.failed[left[0].problem.id] = (
                f"given up after {failures} failures alone; the last: {why}"
            )
            logger.error("problem %s: %s", left[0].problem.id, self.failed[left[0].problem.id])
            return
        parts = [left]
        if len(left) > 1 and failures >= FAILURES_BEFORE_SPLIT:
            parts = [left[: len(left) // 2], left[len(left) // 2 :]]
            failures = FAILURES_BEFORE_SPLIT - 1
            logger.warning("a batch of %d problems failed twice and is split: %s", len(left), why)
        for part in parts:
            # A lone problem is given up only for what it does alone.
            counted = failures if len(part) > 1 or alone else 0
            self._waiting.append(Batch(part, counted, suspect=True))


def decode_on_workers(
    prompts: Sequence[Prompt],
    job: Job,
    *,
    budget: int,
    on_published: Callable[[list[int]], None],
    need: Footprint,
) -> dict[str, str]:
    """Decode all prompts on `job.execution.workers` actors; returns the reasons of the problems
    that were given up.

    `on_published` hears the verdicts of problems as they reach the disk. A worker whose memory is
    short of `need` for `budget` packed tokens gets smaller batches. On SIGINT or SIGTERM the
    batches in flight are finished and published, then KeyboardInterrupt is raised; on a second
    signal at once.
    """
    execution = job.execution
    workers = execution.workers
    gpu = execution.on_gpu
    batches = batches_of(
        prompts,
        gen_length=job.config.gen_length,
        budget=budget,
        workers=workers,
        most=execution.limits.problems,
    )
    with started_ray(execution.cluster, workers=workers, gpu=gpu) as ray:
        with stopping("the batches in flight are finished") as stop:
            crew = Crew(
                ray,
                job,
                batches,
                workers=workers,
                on_published=on_published,
                stop=stop,
                names_taken=names_given_up(Path(job.out)),
                fits=fits_by_memory(need, budget=budget),
            )
            crew.run()
            stop.end_if_asked()
    return crew.failed
