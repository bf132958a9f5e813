"""Ctrl-C and SIGTERM: the first ends the work between two steps, where nothing is half done; the
second at once.

An exception out of a signal handler can strike between a problem's columns and its share of the sum
beside them. So after the second nothing that was not handed over is published.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)


@dataclass
class Stop:
    """Whether the work should end at the next good moment, and whether it was `interrupted` at any
    moment."""

    asked: bool = False
    interrupted: bool = False

    def end_if_asked(self) -> None:
        """Raise KeyboardInterrupt if so; called where nothing is half done."""
        if self.asked:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stopping(what_is_finished: str) -> Iterator[Stop]:
    """A Stop that the first SIGINT or SIGTERM asks; later ones raise KeyboardInterrupt wherever
    they strike.

    Outside the main thread, where Python delivers no signals, nobody asks.
    """
    stop = Stop()

    def on_signal(number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if stop.asked:
            stop.interrupted = True
            logger.warning("%s again: ending at once; what is not published is given up", name)
            raise KeyboardInterrupt
        logger.warning(
            "%s: %s, then the run ends; a second time ends it at once", name, what_is_finished
        )
        stop.asked = True

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
