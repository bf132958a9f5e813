"""Whether two answers that are no plain numbers are the same expression, asked of Math-Verify in a process of its own.

A process, because Math-Verify parses with signals that work in a main thread only, can run for long, and brings sympy:
the worker is killed when it does not answer in time, and started again for the next question. Without the package
(extra `math`) the outcome says so and nothing is started. Knows nothing of where in a text an answer stands.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, Queue
from typing import Literal

logger = logging.getLogger(__name__)

Outcome = Literal["same", "different", "math_verify_absent", "math_verify_timeout", "math_verify_failed"]

START_SECONDS = 60.0
"""For the first answer of a worker, which imports sympy."""
ANSWER_SECONDS = 5.0
LONGEST = 500
"""Characters of an answer that are still worth parsing."""


class SymbolicWorker:
    """One worker process, started when first asked. Thread safe; `close` ends it."""

    def __init__(self, *, timeout: float = ANSWER_SECONDS, command: list[str] | None = None) -> None:
        script = str(Path(__file__).with_name("symbolic_worker.py"))
        self._command = command or [sys.executable, "-P", script]
        self._timeout = timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._answers: Queue[str] = Queue()

    def ask(self, gold: str, answer: str) -> Outcome:
        """Whether `answer` equals `gold` by Math-Verify, or why it could not be told."""
        with self._lock:
            fresh = self._process is None
            if self._process is None:
                self._process = self._start()
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps([gold, answer]) + "\n")
                self._process.stdin.flush()
                line = self._answers.get(timeout=self._timeout + (START_SECONDS if fresh else 0.0))
            except Empty:
                self._stop()
                return "math_verify_timeout"
            except OSError:
                line = ""
            if line.startswith("broken "):
                _say_broken(line.removeprefix("broken "))
                return "math_verify_absent"
            if line not in ("same", "different"):
                self._stop()
                return "math_verify_failed"
            return "same" if line == "same" else "different"

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._stop()

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            encoding="utf-8",
        )  # fmt: skip
        self._answers = Queue()
        threading.Thread(target=_forward, args=(process, self._answers), daemon=True).start()
        return process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    _close_quietly(pipe)
            self._process = None


_WORKER = SymbolicWorker()
atexit.register(_WORKER.close)


def same_expression(gold: str, answer: str) -> Outcome:
    """`SymbolicWorker.ask` of this process's worker; "math_verify_absent" without the package."""
    if importlib.util.find_spec("math_verify") is None:
        _say_absent()
        return "math_verify_absent"
    if max(len(gold), len(answer)) > LONGEST:
        return "math_verify_failed"
    return _WORKER.ask(gold, answer)


@functools.cache
def _say_broken(why: str) -> None:
    logger.warning(
        "Math-Verify is installed but does not import (%s): gold answers that are no numbers compare as text, so that "
        "an equal expression written differently counts as wrong; mend it, then run again in a new directory",
        why,
    )


@functools.cache
def _say_absent() -> None:
    logger.warning(
        "Math-Verify is not installed: gold answers that are no numbers compare as text, so that an equal expression "
        "written differently counts as wrong; pip install math-verify, then run again in a new directory"
    )


def _forward(process: subprocess.Popen[str], answers: Queue[str]) -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            answers.put(line.strip())
    except ValueError:  # closed while it was read
        logger.debug("the pipe of the worker was closed")
    answers.put("")


def _close_quietly(pipe: object) -> None:
    try:
        pipe.close()  # type: ignore[attr-defined]
    except OSError:
        logger.debug("a pipe of the dead worker could not be flushed")
