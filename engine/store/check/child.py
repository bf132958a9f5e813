"""Deep checks of shards in a child process with a time limit: a damaged file can neither hang nor
crash the caller."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .shard_check import ShardCheck

START_SECONDS = 60.0
SLOWEST_BYTES_PER_SECOND = 2e6
_BATCH = 64

_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"
)


def checked_shards(
    paths: Sequence[Path], info: Mapping[str, Any], *, start_seconds: float = START_SECONDS
) -> Iterator[ShardCheck]:
    """One check for each shard, in order. A shard that hangs or kills the child is reported as
    such, the rest go on.

    The limit for one child is `start_seconds` plus the time its files take at 2 MB/s.
    """
    rest = list(paths)
    while rest:
        batch = rest[:_BATCH]
        done, end = _run_child(batch, info, start_seconds)
        yield from done
        rest = rest[len(done) :]
        if len(done) < len(batch):
            yield ShardCheck(batch[len(done)].name, [f"HDF5 {end} while reading it"], [], [])
            rest = rest[1:]


def _run_child(
    batch: list[Path], info: Mapping[str, Any], start_seconds: float
) -> tuple[list[ShardCheck], str]:
    """The checks the child finished, and how it ended if not well."""
    code = _CHILD.format(module=f"{__package__}.shard_check")
    command = [sys.executable, "-I", "-c", code, json.dumps([entry for entry in sys.path if entry])]
    task = json.dumps({"paths": [str(path.resolve()) for path in batch], "info": info})
    limit = start_seconds + sum(path.stat().st_size for path in batch) / SLOWEST_BYTES_PER_SECOND
    try:
        child = subprocess.run(
            command, input=task.encode(), capture_output=True, timeout=limit, check=False
        )
        output = child.stdout
        end = f"ended the process with code {child.returncode} ({_last_line(child.stderr)})"
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        end = f"did not come back within {limit:.0f} s"
    lines = output.split(b"\n")[:-1]
    return [ShardCheck(**json.loads(line)) for line in lines], end


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no message"
