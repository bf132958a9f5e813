"""Ctrl-C and SIGTERM as a wish that is granted between two steps, when nothing is half done; a second one ends at once.

An exception out of a signal handler could strike between a problem's columns and its share of the sum beside them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)


@dataclass
class Stop:
    """Whether the work should end at the next good moment."""

    asked: bool = False

    def end_if_asked(self) -> None:
        """Raise KeyboardInterrupt if so; called where nothing is half done."""
        if self.asked:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stopping(what_is_finished: str) -> Iterator[Stop]:
    """A Stop that the first SIGINT or SIGTERM asks; the second kills the process as a signal does by default.

    Outside the main thread, where Python delivers no signals, nobody asks.
    """
    stop = Stop()

    def ask(number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if stop.asked:
            logger.warning("%s again: ending at once; what is published stays", name)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        logger.warning("%s: %s, then the run ends; a second time ends it at once", name, what_is_finished)
        stop.asked = True

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
