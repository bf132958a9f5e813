"""A Ray whose workers live in this process, one call after the other, on the disk that the test made.

For `test_nth_write.py`: the workers, their writers and the driver are the real ones, so that a
fault of the disk may meet any of their calls. A worker that raises is reported dead, as Ray does.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from diffengine.engine.runs.cluster.worker import Job, Worker


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
        self._worker = Worker(job, name)
        self.start = SimpleNamespace(remote=lambda: self._call(self._worker.start))
        self.work = SimpleNamespace(remote=lambda batch: self._call(self._worker.work, batch))
        self.drain = SimpleNamespace(remote=lambda: self._call(self._worker.drain))

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Answer:
        copies = pickle.loads(pickle.dumps(arguments))
        try:
            report = method(*copies)
        except Exception as error:
            return Answer(error=error)
        return Answer(pickle.loads(pickle.dumps(report)))


class RayInProcess:
    """As much of Ray as `engine/runs/cluster/crew.py` uses."""

    exceptions = SimpleNamespace(RayError=RayError)

    def remote(self, **_: Any) -> Callable[[type], Any]:
        """Of `ray.remote(...)(Worker)` what `.options(...).remote(job, name)` needs."""
        chosen = SimpleNamespace(remote=Actor)
        return lambda _: SimpleNamespace(options=lambda **_: chosen)

    def wait(self, answers: list[Answer], **_: Any) -> tuple[list[Answer], list[Answer]]:
        """The first answer; all are there."""
        return answers[:1], answers[1:]

    def get(self, answer: Answer) -> Any:
        """The report of a call."""
        if answer.error is not None:
            raise RayError(repr(answer.error)) from answer.error
        return answer.report

    def kill(self, actor: Actor) -> None:
        """Its thread waits for work that never comes."""


@contextlib.contextmanager
def started_ray(*_: Any, **__: Any) -> Iterator[RayInProcess]:
    """In the place of the one of `engine/runs/cluster/ray_session.py`."""
    yield RayInProcess()
