"""Whether two answers that are no plain numbers are the same expression, asked of Math-Verify in a
process of its own.

A process, because Math-Verify parses with signals that work in a main thread only, can run for
long, and brings sympy: the worker is killed when it does not answer in time, and started again for
the next question. Without the package (extra `math`) the outcome says so and nothing is started.
Knows nothing of where in a text an answer stands.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import json
import logging
import sys
import threading
from pathlib import Path
from typing import Literal

from ..line_process import EndedError, LineProcess

logger = logging.getLogger(__name__)

Outcome = Literal[
    "same", "different", "math_verify_absent", "math_verify_timeout", "math_verify_failed"
]

START_SECONDS = 60.0
"""For the first answer of a worker, which imports sympy."""
ANSWER_SECONDS = 5.0
LONGEST = 500
"""Characters of an answer that are still worth parsing."""


class SymbolicWorker:
    """One worker process, started when first asked. Thread safe; `close` ends it."""

    def __init__(
        self, *, timeout: float = ANSWER_SECONDS, command: list[str] | None = None
    ) -> None:
        script = str(Path(__file__).with_name("symbolic_worker.py"))
        self._command = command or [sys.executable, "-P", script]
        self._timeout = timeout
        self._lock = threading.Lock()
        self._process: LineProcess | None = None

    def ask(self, gold: str, answer: str) -> Outcome:
        """Whether `answer` equals `gold` by Math-Verify, or why it could not be told."""
        with self._lock:
            seconds = self._timeout
            if self._process is None:
                self._process = LineProcess(self._command)
                seconds += START_SECONDS
            try:
                line = self._process.ask(json.dumps([gold, answer]), seconds=seconds)
            except TimeoutError:
                self._stop()
                return "math_verify_timeout"
            except EndedError:
                line = ""
            except BaseException:
                # interrupted: the answer to this question must not be taken for the next one's
                self._stop()
                raise
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

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None


_WORKER = SymbolicWorker()
atexit.register(_WORKER.close)


def available() -> bool:
    """Whether Math-Verify is installed. Without it the run says so before it starts
    (`gold_answers`)."""
    return importlib.util.find_spec("math_verify") is not None


def same_expression(gold: str, answer: str) -> Outcome:
    """`SymbolicWorker.ask` of this process's worker; "math_verify_absent" without the package."""
    if not available():
        return "math_verify_absent"
    if max(len(gold), len(answer)) > LONGEST:
        return "math_verify_failed"
    return _WORKER.ask(gold, answer)


@functools.cache
def _say_broken(why: str) -> None:
    logger.warning(
        "Math-Verify is installed but does not import (%s): gold answers that are no numbers "
        "compare as text, so that "
        "an equal expression written differently counts as wrong; mend it, then run again in a "
        "new directory",
        why,
    )
