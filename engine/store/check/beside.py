"""The files of a run beside its shards: which of them are not as they were written, and which carry
no checksum.

run.json and problems.jsonl are compared whenever they are read; here is the rest, and the
results of analyses.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ..errors import DamagedRun
from ..format.stamp import STAMP
from ..read.records import record_faults
from ..read.run import PROBLEMS_DIGESTS
from ..read.tokens import run_tokens
from ..write.results import RESULTS, read_sums, results_faults

Fault = tuple[str, str, Literal["error", "warning", "note"]]


def beside_shards(run_dir: Path, info: dict[str, Any], *, quick: bool) -> Iterator[Fault]:
    """(file, what, severity) of everything that is wrong; `quick` leaves out what costs reading
    large files.

    Damage that the next command mends, or that touches no recorded value, is a warning.
    """
    try:
        run_tokens(run_dir)
    except DamagedRun as error:
        yield "tokens.json", str(error), "error"
    for name, what in record_faults(run_dir):
        yield name, what, "warning"
    if not quick:
        for name, what in results_faults(run_dir):
            yield name, f"{what}; write it again with the same command", "warning"
    if bare := _without_checksum(run_dir, info):
        yield (
            "",
            f"{', '.join(bare)}: no checksum (an earlier version wrote none, or it is lost)",
            "note",
        )


def _without_checksum(run_dir: Path, info: dict[str, Any]) -> list[str]:
    bare = []
    if STAMP not in info:
        bare.append("run.json")
    if not info.get(PROBLEMS_DIGESTS):
        bare.append("problems.jsonl")
    if "has_tokens" not in info and (run_dir / "tokens.json").exists():
        bare.append("tokens.json")
    summed = read_sums(run_dir)
    return bare + [name for name in RESULTS if (run_dir / name).exists() and name not in summed]
