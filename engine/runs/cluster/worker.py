"""One worker of a run on several devices: loads the model once, decodes the batches it is given,
writes its own shards.

Runs in a process of its own, under Ray or not; never raises across the border, so that no exception
has to travel. A worker that finds the run taken over by another command ends itself unpublished.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...store.counts import count_text
from ...store.lock import is_held_by
from ..session import log_to_file, write_phases

if TYPE_CHECKING:
    from ...config import RunConfig
    from ...models.loading import MaskedDiffusionModel
    from ...prompts.prompt import Prompt
    from ..device import Device
    from ..execution import Execution
    from ..writer import ShardWriter


@dataclass(frozen=True)
class Job:
    """What every worker must know. `attrs` go into its shards; `holder` is in the run's lock until
    another takes it."""

    out: str
    model: str
    attrs: dict[str, Any]
    config: RunConfig
    execution: Execution
    holder: str
    threads: int | None = None


class Report(NamedTuple):
    """What a worker answers. `published` are ids and verdicts on the disk since its last answer.

    `decoded` are ids finished but perhaps not on the disk yet; `fatal` ends the run rather than
    charging a batch. `budget` packed tokens and `free` bytes of device memory are what the next
    batch may take; None: not known.
    """

    published: list[tuple[str, int]]
    decoded: list[str]
    error: str | None = None
    fatal: bool = False
    budget: int | None = None
    free: int | None = None


def given_up_mark(out: Path, worker: str) -> Path:
    """The file whose presence tells a worker that its driver takes it for dead and has handed its
    problems on."""
    return out / "logs" / f"{worker}.given-up"


def names_given_up(out: Path) -> set[str]:
    """Workers that carry such a mark in this session: no other may be called so."""
    return {path.name.removesuffix(".given-up") for path in (out / "logs").glob("*.given-up")}


def give_up_worker(job: Job, name: str) -> dict[str, int]:
    """Tell the worker `name`, should it live on, to publish nothing more; returns what it had: ids
    and verdicts.

    For the driver, which holds the run's lock. Raises StorageError.
    """
    from ...store.check.resume import settle_worker

    out = Path(job.out)
    with contextlib.suppress(OSError):  # its process may outlive its machine's connection
        given_up_mark(out, name).touch()
    return settle_worker(out, name, fingerprint=job.attrs["fingerprint"])


class Worker:
    """The body of an actor; `start`, then `work` batch by batch, then `drain`."""

    def __init__(self, job: Job, name: str) -> None:
        from ...checkout import hide_checkout_root

        hide_checkout_root()
        self._job = job
        self._name = name
        self._device: Device | None = None
        self._writer: ShardWriter | None = None

    def start(self) -> Report:
        """Open the log and load the model."""
        try:
            log_to_file(Path(self._job.out), self._name)
            logging.getLogger("diffengine").setLevel(logging.INFO)
            self._load()
            logging.getLogger(__name__).info(
                "ready: process %d on %s", os.getpid(), os.uname().nodename
            )
        except Exception as error:
            return self._failed(error)
        return self._with_room(Report([], []))

    def work(self, prompts: list[Prompt]) -> Report:
        """Decode a batch; shards are written while the next one is decoded, and a small rest waits
        for company."""
        assert self._device is not None
        decoded = []
        try:
            with closing(self._device.decode(prompts)) as stream:
                for finished in stream:
                    decoded.append(finished.problem.id)
        except Exception as error:
            return self._failed(error)
        logging.getLogger(__name__).info("decoded %s", count_text(len(decoded), "problem"))
        self._note_phases()
        return self._with_room(Report(self._taken(), decoded))

    def drain(self) -> Report:
        """Wait until everything decoded is on the disk."""
        try:
            self._drain()
        except Exception as error:
            return self._failed(error)
        self._note_phases()
        return Report(self._taken(), [])

    def _with_room(self, report: Report) -> Report:
        assert self._device is not None
        return report._replace(budget=self._device.budget, free=self._device.free_bytes())

    def _drain(self) -> None:
        assert self._device is not None and self._writer is not None
        self._device.flush()
        self._writer.drain()

    def _note_phases(self) -> None:
        assert self._device is not None and self._writer is not None
        phases = {**self._device.account(), "write_seconds": round(self._writer.seconds, 4)}
        write_phases(Path(self._job.out), self._name, phases)

    def _load(self) -> None:
        from ..device import Device
        from ..writer import ShardWriter

        job = self._job
        model = self._load_model()
        self._writer = ShardWriter(
            Path(job.out),
            attrs=job.attrs,
            token_text=lambda i: str(model.tokenizer.decode([i])),
            worker=self._name,
            before_each=self._end_if_given_up,
        )
        self._device = Device(model, job.config, job.execution, self._writer.put)

    def _load_model(self) -> MaskedDiffusionModel:
        """Raises RuntimeError where it is not the model of the run."""
        import torch

        from ...models.loading import load_model

        job = self._job
        if job.threads:
            torch.set_num_threads(job.threads)
        turn = one_at_a_time() if job.execution.on_gpu else contextlib.nullcontext()
        with turn:
            model = load_model(job.model, device=job.execution.device, dtype=job.config.dtype)

        expected = job.attrs["model_fingerprint"]
        if model.fingerprint != expected:
            raise RuntimeError(
                f"worker {self._name} on {os.uname().nodename} finds another model in {job.model} "
                f"({model.fingerprint[:12]}, expected {expected[:12]}); give every machine the "
                "same checkpoint"
            )
        return model

    def _end_if_given_up(self) -> None:
        out = Path(self._job.out)
        if given_up_mark(out, self._name).exists() or not is_held_by(out, self._job.holder):
            logging.getLogger(__name__).error(
                "this worker was given up or its run taken over; ending unpublished"
            )
            os._exit(1)

    def _taken(self) -> list[tuple[str, int]]:
        """What has been published since it was last asked for."""
        if self._writer is None:
            return []
        return self._writer.take_published()

    def _failed(self, error: Exception) -> Report:
        """What went wrong as text; whatever was finished before it is on the disk when this
        returns."""
        from ...store import StorageError

        logging.getLogger(__name__).exception("failed")
        if self._device is not None and not isinstance(error, StorageError):
            try:
                self._drain()
            except StorageError as disk_refuses:
                error = disk_refuses

        if isinstance(error, StorageError):
            return Report(self._taken(), [], str(error), fatal=True)
        return Report(self._taken(), [], f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def one_at_a_time(folder: Path | None = None) -> Iterator[None]:
    """Wait until no other worker of this user on this machine is loading.

    Each holds one tensor at a time on the host (`engine/models/weights.py`). In turn they read the
    checkpoint's files from the disk once, and from the system's cache afterwards, instead of all
    at once from different places. The kernel frees the lock of a worker that dies. Where there are
    no locks nobody waits.
    """
    path = (folder or Path(tempfile.gettempdir())) / f"diffengine-loading-{os.getuid()}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        logging.getLogger(__name__).warning(
            "no lock at %s: workers may load their models at the same time", path
        )
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
