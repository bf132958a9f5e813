"""Import packages in a process of their own and tell of each whether it came: what `diffengine
doctor` calls ok.

In a process, because a library that does not fit its driver may end the process that loads it, and
importing all of them takes seconds and hundreds of megabytes. Run as a script it is that process:
module names come as JSON, with the search path, and a line of JSON goes out for each.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SECONDS = 180.0
"""For all imports of one process; torch and transformers take tens of them on a slow disk."""


def import_failures(modules: Sequence[str], *, seconds: float = SECONDS) -> dict[str, str]:
    """Module -> why it does not import, for those that do not; a module that ends the process is
    blamed and left out.

    `modules` are imported in this order in one process, as an analysis would; a new one goes on
    after a death.
    """
    failures: dict[str, str] = {}
    untried = list(modules)
    while untried:
        answers, end = _ask(untried, seconds)
        for name, error in answers.items():
            if error:
                failures[name] = error
        untried = untried[len(answers) :]
        if untried:
            failures[untried.pop(0)] = end
    return failures


def _ask(modules: list[str], seconds: float) -> tuple[dict[str, str], str]:
    """What the process said, "" for a module that came, and how it ended."""
    command = [sys.executable, "-P", str(Path(__file__))]
    question = json.dumps({"modules": modules, "path": sys.path})
    try:
        done = subprocess.run(
            command, input=question, capture_output=True, text=True, timeout=seconds
        )
        said = done.stdout
        status = f"exit code {done.returncode}"
        if done.returncode < 0:
            status = f"signal {-done.returncode}"
        end = f"its import ended the process ({status})"
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        end = f"its import had not ended after {seconds:.0f} s"
    lines = [line.removeprefix(MARK) for line in said.splitlines() if line.startswith(MARK)]
    return dict(json.loads(line) for line in lines), end


MARK = "import: "


def _serve() -> None:
    """Import what standard input names; packages may print what they like beside our lines."""
    question = json.loads(sys.stdin.read())
    sys.path[:] = question["path"]
    for name in question["modules"]:
        try:
            importlib.import_module(name)
            error = ""
        except Exception as raised:  # that is the question
            error = " ".join(f"{type(raised).__name__}: {raised}".split())[:200]
        sys.stdout.write(f"\n{MARK}{json.dumps([name, error])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
