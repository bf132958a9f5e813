"""A run on several devices or machines, on Ray: one actor for each device, problems handed out as
actors become free.

The driver owns every retry: Ray restarts nothing. An actor has one batch in flight; when it dies,
what it had published counts and the rest goes back to the backlog, as a suspect.
`tests/engine/runs/cluster/simulation/simulated_run.py` drives this with a clock and a Ray of its
own.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...prompts.prompt import Prompt
from ...signals import Stop, stopping
from ...store.counts import count_text
from ...store.errors import StorageError
from ..memory import Footprint
from .backlog import Backlog
from .batches import Batch, batches_of, fits_by_memory
from .ray_session import ClusterError, started_ray
from .seat import STARTS_IN_A_ROW, Held, Seat
from .worker import Job, Report, Worker, give_up_worker, names_given_up

logger = logging.getLogger(__name__)

NOBODY_SECONDS = 1800.0
"""How long a run waits for any worker at all, loading and joining machines included."""
WAIT_SECONDS = 0.5
"""How long an answer is waited for before the clock is looked at again."""


def decode_on_workers(
    prompts: Sequence[Prompt],
    job: Job,
    *,
    budget: int,
    on_published: Callable[[list[int], float], None],
    need: Footprint,
) -> dict[str, str]:
    """Decode all prompts on `job.execution.workers` actors; returns the reasons of the problems
    that were given up.

    `on_published` hears the verdicts of problems as they reach the disk, and how much of others is
    decoded (`Crew.begun`). A worker whose memory is short of `need` for `budget` packed tokens gets
    smaller batches. On SIGINT or SIGTERM the batches in flight are finished and published, then
    KeyboardInterrupt is raised; on a second signal at once.
    """
    execution = job.execution
    batches = batches_of(
        prompts,
        gen_length=job.config.gen_length,
        budget=budget,
        workers=execution.workers,
        most=execution.limits.problems,
    )
    workers = min(execution.workers, len(batches))
    backlog = Backlog(batches, fits=fits_by_memory(need, budget=budget))
    with started_ray(execution.cluster, workers=execution.workers, gpu=execution.on_gpu) as ray:
        with stopping("the batches in flight are finished") as stop:
            crew = Crew(
                ray,
                job,
                backlog,
                seats=[Seat(number) for number in range(workers)],
                stop=stop,
                on_published=on_published,
                names_taken=names_given_up(Path(job.out)),
            )
            crew.run()
            stop.end_if_asked()
    return backlog.given_up


@dataclass
class Crew:
    """The actors of one run, and what each is doing.

    `on_published` hears the verdicts of problems as they reach the disk, and `begun`. `names_taken`
    are of workers that were given up before and may live on, marked by these names. `give_up` is
    told the name of a dead worker and answers what it had published; `clock` gives seconds.
    """

    ray: Any
    job: Job
    backlog: Backlog
    seats: list[Seat]
    stop: Stop
    on_published: Callable[[list[int], float], None]
    names_taken: Collection[str] = ()
    give_up: Callable[[Job, str], dict[str, int]] = give_up_worker
    clock: Callable[[], float] = time.monotonic
    _awaited: dict[Any, Seat] = field(default_factory=dict, init=False)
    _trouble: str = field(default="", init=False)
    _fatal: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._actor = self.ray.remote(max_restarts=0, max_task_retries=0)(Worker)
        self._names = set(self.names_taken)
        self._last_ready = self.clock()

    def run(self) -> None:
        """Until every problem is published or given up, or a stop was asked: then only until no
        batch is in flight.

        Raises StorageError where the disk refuses, ClusterError when no worker can be started any
        more.
        """
        while True:
            self._hand_out()
            answers = self._answers_to_wait_for()
            if not answers:
                break
            self._end_if_nobody_comes()
            done, _ = self.ray.wait(answers, num_returns=1, timeout=WAIT_SECONDS)
            for answer in done:
                self._settle(self._awaited.pop(answer), answer)

        if self._fatal:
            raise StorageError(self._fatal)
        if self._has_work:
            raise ClusterError(
                f"no worker could be started {STARTS_IN_A_ROW} times in a row: {self._trouble}"
            )

    @property
    def begun(self) -> float:
        """What is decoded of problems that are not on the disk, in problems.

        How far a worker is in its batch is known to it alone: half of it, in the middle.
        """
        decoded = 0.0
        for seat in self.seats:
            decoded += len(seat.unconfirmed)
            if seat.batch is not None:
                decoded += len(seat.batch.prompts) / 2
        return decoded

    @property
    def _has_work(self) -> bool:
        """Whether there is anything to hand out."""
        return len(self.backlog) > 0 and self._fatal is None and not self.stop.asked

    def _answers_to_wait_for(self) -> list[Any]:
        """An actor that finds no device to start on, as after the loss of a machine, is waited for
        only while it is needed."""
        has_work = self._has_work
        return [answer for answer, seat in self._awaited.items() if seat.ready or has_work]

    def _end_if_nobody_comes(self) -> None:
        if any(seat.ready for seat in self.seats):
            self._last_ready = self.clock()
        elif self.clock() - self._last_ready > NOBODY_SECONDS:
            raise ClusterError(
                f"no worker was ready for {NOBODY_SECONDS:g} s; see `ray status` and the run's logs"
            )

    def _hand_out(self) -> None:
        """Give everyone who waits for us something to do."""
        busy = {seat.number for seat in self._awaited.values()}
        for seat in self.seats:
            if seat.number in busy:
                continue
            if seat.ready and self._has_work and not seat.must_store_before(self.backlog.next):
                batch = self.backlog.take(seat.room)
                seat.give(batch)
                self._await(seat, seat.actor.work.remote(batch.prompts))
            elif seat.ready and seat.unconfirmed:
                self._await(seat, seat.actor.drain.remote())
            elif seat.can_start and self._has_work:
                self._start(seat)

    def _start(self, seat: Seat) -> None:
        name = seat.choose_name(self._names)
        self._names.add(name)
        resources = {"num_cpus": 1}
        if self.job.execution.on_gpu:
            resources = {"num_gpus": 1, "num_cpus": 0}
        seat.actor = self._actor.options(**resources).remote(self.job, name)
        self._await(seat, seat.actor.start.remote())

    def _await(self, seat: Seat, answer: Any) -> None:
        self._awaited[answer] = seat

    def _settle(self, seat: Seat, answer: Any) -> None:
        """Note what an actor answered, or that it died instead."""
        try:
            report: Report = self.ray.get(answer)
        except self.ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self._replace(seat, lines[0])
            return

        batch = seat.take_answer(report)
        self._confirm(seat, report.published)
        if report.error is not None:
            self._settle_error(seat, batch, report)
        elif not seat.ready:
            seat.started()
        elif batch is not None:
            accounted = {problem_id for problem_id, _ in report.published} | set(seat.unconfirmed)
            self.backlog.put_back(batch, accounted, "passed over", alone=batch.is_one_problem)
        elif seat.unconfirmed:
            count = len(seat.unconfirmed)
            lost = count_text(count, "problem")
            self._replace(seat, f"it did not store {lost} that it had decoded")

    def _settle_error(self, seat: Seat, batch: Batch | None, report: Report) -> None:
        error = str(report.error)
        if report.fatal or (seat.ready and batch is None):
            self._fatal = error
            seat.actor = None
            seat.ready = False
        elif batch is None:
            self._note_failed_start(seat, error)
        else:
            stored = {problem_id for problem_id, _ in report.published}
            self.backlog.put_back(batch, stored, error, alone=batch.is_one_problem)

    def _confirm(self, seat: Seat, published: list[tuple[str, int]]) -> None:
        for problem_id, _ in published:
            seat.unconfirmed.pop(problem_id, None)
        if published:
            self.on_published([verdict for _, verdict in published], self.begun)

    def _replace(self, seat: Seat, reason: str) -> None:
        """The actor is dead: count what it published, hand the rest out again; another takes its
        seat if needed."""
        with contextlib.suppress(Exception):
            self.ray.kill(seat.actor)
        logger.warning("worker %s died: %s", seat.name, reason)
        stored = self.give_up(self.job, seat.name)
        was_ready = seat.ready
        held = seat.vacate()
        settled = [stored[name] for name in held.problem_ids if name in stored]
        self.on_published(settled, self.begun)
        if was_ready:
            self._put_back_held(seat, held, stored, reason)
        else:
            self._note_failed_start(seat, reason)

    def _put_back_held(self, seat: Seat, held: Held, stored: Collection[str], reason: str) -> None:
        """Any of the problems may be to blame; one that was alone from the start is."""
        last = seat.last
        alone = len(held.problem_ids) == 1 and last is not None and last.is_one_problem
        if held.unstored:
            failures = last.failures if last is not None and last.suspect else 0
            suspects = Batch(list(held.unstored.values()), failures)
            why = f"the worker died before storing it: {reason}"
            self.backlog.put_back(suspects, stored, why, alone=alone)
        if held.batch is not None:
            why = f"the worker died while decoding it: {reason}"
            self.backlog.put_back(held.batch, stored, why, alone=alone)

    def _note_failed_start(self, seat: Seat, reason: str) -> None:
        seat.could_not_start()
        self._trouble = reason
        logger.warning("worker %s could not be started: %s", seat.name, reason)
