"""A Ray whose workers live in this process, one call after the other, on the disk that the test made.

For `test_nth_write.py`: the workers, their writers and the driver are the real ones, so that a
fault of the disk may meet any of their calls. A worker that raises is reported dead, as Ray does.
A killed worker, and every worker of a Ray that ends, leaves neither thread nor model behind.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from diffengine.engine.runs.cluster.worker import Job, Worker
from diffengine.engine.runs.writer import ShardWriter


class RayError(Exception):
    """What Ray raises where an actor has died."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a call gave: its report, or what it raised."""

    report: Any = None
    error: BaseException | None = None


class Actor:
    """A worker and the driver's handle of it; whatever passes between them is pickled, as between
    processes."""

    def __init__(self, job: Job, name: str) -> None:
        self._worker: Worker | None = Worker(job, name)
        self.start = SimpleNamespace(remote=lambda: self._call("start"))
        self.work = SimpleNamespace(remote=lambda batch: self._call("work", batch))
        self.drain = SimpleNamespace(remote=lambda: self._call("drain"))

    def _call(self, method: str, *arguments: Any) -> Answer:
        copies = pickle.loads(pickle.dumps(arguments))
        try:
            report = getattr(self._worker, method)(*copies)
        except Exception as error:
            return Answer(error=error.with_traceback(None))
        return Answer(pickle.loads(pickle.dumps(report)))

    def end(self) -> None:
        """What the end of its process does: what waits for the writer is lost, its thread ends, and
        the model goes."""
        if self._worker is None:
            return
        writer = self._worker._writer
        self._worker = None
        if writer is not None:
            end_thread(writer)


def end_thread(writer: ShardWriter) -> None:
    """Take back what the thread has not begun, and wait until it has ended."""
    with contextlib.suppress(queue.Empty):
        while True:
            writer._queue.get_nowait()
    with contextlib.suppress(Exception):  # what it met is the dead worker's own affair
        writer.close()


class RayInProcess:
    """As much of Ray as `engine/runs/cluster/crew.py` uses."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self) -> None:
        self._actors: list[Actor] = []

    def remote(self, **_: Any) -> Callable[[type], Any]:
        """Of `ray.remote(...)(Worker)` what `.options(...).remote(job, name)` needs."""
        chosen = SimpleNamespace(remote=self._new_actor)
        return lambda _: SimpleNamespace(options=lambda **_: chosen)

    def _new_actor(self, job: Job, name: str) -> Actor:
        actor = Actor(job, name)
        self._actors.append(actor)
        return actor

    def wait(self, answers: list[Answer], **_: Any) -> tuple[list[Answer], list[Answer]]:
        """The first answer; all are there."""
        return answers[:1], answers[1:]

    def get(self, answer: Answer) -> Any:
        """The report of a call."""
        if answer.error is not None:
            raise RayError(repr(answer.error)) from answer.error
        return answer.report

    def kill(self, actor: Actor) -> None:
        """The worker ends where it stands."""
        actor.end()

    def shutdown(self) -> None:
        """No worker outlives its Ray."""
        while self._actors:
            self._actors.pop().end()


@contextlib.contextmanager
def started_ray(*_: Any, **__: Any) -> Iterator[RayInProcess]:
    """In the place of the one of `engine/runs/cluster/ray_session.py`."""
    ray = RayInProcess()
    try:
        yield ray
    finally:
        ray.shutdown()
