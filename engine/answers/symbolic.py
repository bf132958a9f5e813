"""Whether two answers that are no plain numbers are the same expression, asked of Math-Verify in a
process of its own.

A process, because Math-Verify parses with signals that work in a main thread only, can run for
long, and brings sympy: the worker is killed when it does not answer in time, and started again for
the next question. Without the package (extra `math`) the outcome says so and nothing is started.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Literal

from ..line_process import EndedError, KeptProcess

logger = logging.getLogger(__name__)

Outcome = Literal[
    "same", "different", "math_verify_absent", "math_verify_timeout", "math_verify_failed"
]

START_SECONDS = 60.0
"""For the first answer of a worker, which imports sympy."""
ANSWER_SECONDS = 5.0
LONGEST = 500
"""Characters of an answer that are still worth parsing."""


class SymbolicWorker(KeptProcess):
    """The process that has Math-Verify, started when first asked."""

    def __init__(
        self, *, timeout: float = ANSWER_SECONDS, command: list[str] | None = None
    ) -> None:
        script = str(Path(__file__).with_name("symbolic_worker.py"))
        super().__init__(command or [sys.executable, "-P", script])
        self._timeout = timeout

    def ask(self, gold: str, answer: str) -> Outcome:
        """Whether `answer` equals `gold` by Math-Verify, or why it could not be told."""
        question = json.dumps([gold, answer])
        try:
            return self.ask_line(
                question, read=_outcome, seconds=self._timeout, start_seconds=START_SECONDS
            )
        except TimeoutError:
            return "math_verify_timeout"
        except (EndedError, ValueError):
            return "math_verify_failed"


def _outcome(line: str) -> Outcome:
    """What the worker's line says. Raises ValueError for a question that it could not answer."""
    if line == "same":
        return "same"
    if line == "different":
        return "different"
    if line.startswith("broken "):
        _warn_broken(line.removeprefix("broken "))
        return "math_verify_absent"
    raise ValueError(line)


_WORKER = SymbolicWorker()
atexit.register(_WORKER.close)


def available() -> bool:
    """Whether Math-Verify is installed. Without it the run says so before it starts
    (`gold.py`)."""
    return importlib.util.find_spec("math_verify") is not None


def same_expression(gold: str, answer: str) -> Outcome:
    """`SymbolicWorker.ask` of this process's worker; "math_verify_absent" without the package."""
    if not available():
        return "math_verify_absent"
    if max(len(gold), len(answer)) > LONGEST:
        return "math_verify_failed"
    return _WORKER.ask(gold, answer)


@functools.cache
def _warn_broken(reason: str) -> None:
    logger.warning(
        "Math-Verify is installed but does not import (%s): gold answers that are no numbers "
        "compare as text, so that an equal expression written differently counts as wrong; mend "
        "it, then run again in a new directory",
        reason,
    )
