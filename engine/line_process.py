"""A child process that answers one line for each line it is given, and can be ended at any moment:
`LineProcess`.

What asks Math-Verify (`symbolic`) and renders a checkpoint's chat template (`chat_template`) is
kept apart like this: only a process can be stopped inside a computation that never returns, from
any thread. Knows nothing of the lines.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from queue import Empty, Queue


class EndedError(Exception):
    """The child ended instead of answering; `code` is its exit status, negative for the signal that
    killed it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"ended with status {code}")
        self.code = code


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
