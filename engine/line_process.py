"""A child process that answers one line for each line it is given, and can be ended at any moment.

Math-Verify (`answers/symbolic.py`) and a checkpoint's chat template (`prompts/chat_template.py`)
are kept apart like this: only a process can be stopped inside a computation that never returns,
from any thread.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable
from queue import Empty, Queue
from typing import TypeVar

Answer = TypeVar("Answer")


class EndedError(Exception):
    """The child ended instead of answering; `code` is its exit status, negative for the signal that
    killed it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"ended with status {code}")
        self.code = code


class KeptProcess:
    """A child that is started when it is first asked, and again after one that did not answer.

    Thread safe; `close` ends it.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._process: LineProcess | None = None

    def ask_line(
        self,
        line: str,
        *,
        read: Callable[[str], Answer],
        seconds: float,
        start_seconds: float = 0.0,
    ) -> Answer:
        """What `read` makes of the answer to `line`; a child that has to be started first gets
        `start_seconds` more.

        Raises TimeoutError, EndedError, and what `read` raises for a line that is no answer. After
        any of these the child is gone; after an interrupt too, as its answer to this question must
        not be taken for the next one's.
        """
        with self._lock:
            if self._process is None:
                self._process = LineProcess(self._command)
                seconds += start_seconds
            try:
                return read(self._process.ask(line, seconds=seconds))
            except BaseException:
                self._stop()
                raise

    def close(self) -> None:
        """End the child, if there is one."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None


class LineProcess:
    """A running child. Not thread safe; whoever asks holds a lock."""

    def __init__(self, command: list[str]) -> None:
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._answers: Queue[str] = Queue()
        threading.Thread(target=self._forward, daemon=True).start()

    def ask(self, line: str, *, seconds: float) -> str:
        """The answer to `line`. Raises TimeoutError after `seconds`, EndedError where the child
        ends instead."""
        try:
            assert self._child.stdin is not None
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()
            answer = self._answers.get(timeout=seconds)
        except Empty:
            raise TimeoutError(f"no answer within {seconds} s") from None
        except OSError:
            answer = ""
        if not answer:
            raise EndedError(self._exit_status())
        return answer

    def stop(self) -> None:
        """Kill the child and close its pipes."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was left unwritten has no reader
                    pipe.close()

    def _exit_status(self) -> int:
        try:
            return self._child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return 0

    def _forward(self) -> None:
        assert self._child.stdout is not None
        with contextlib.suppress(ValueError):  # closed while it was read
            for line in self._child.stdout:
                self._answers.put(line.strip())
        self._answers.put("")
