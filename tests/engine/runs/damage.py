"""A small finished run with everything that can lie in its directory, ways to damage it, and what
its readers then say.

For `test_damage.py`. Every file is found by walking the directory, so that a new kind of file is
damaged too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.original.results_pt import write_results
from diffengine.analysis.results import load_analysis, save_analysis
from diffengine.analysis.show.dashboard import draw_dashboard
from diffengine.analysis.show.report import page_data, write_report
from diffengine.analysis.show.summary import write_summary
from diffengine.engine.cli.command_line import expected_failure
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs.run import Execution, run
from diffengine.engine.runs.session import read_sessions, read_status
from diffengine.engine.store import open_run, verify_run
from diffengine.engine.store.check import verify
from diffengine.engine.store.check.shard_check import ShardCheck, check_shard
from diffengine.engine.store.format.output_head import read_head
from diffengine.engine.store.format.schema import VARIABLES
from diffengine.engine.store.write.results import RESULTS, SUMS

SHORT: dict[str, Any] = {"steps": 3, "gen_length": 6, "block_length": 6, "save_logits": "hidden"}
UNREAD = ("logs/",)
"""Text for people alone; no program reads it and no number stands in it."""
Facts = dict[str, Any]


def make_run(out: Path, model: MaskedDiffusionModel, *, problems: str = "generated:4") -> Path:
    """A run of four problems in two shards with hidden states, and all that `analyze` and `report`
    write."""
    decode(out, model, problems=problems)
    with open_run(out) as stored:
        analysis = analyze_run(stored)
        save_analysis(analysis, out / "analysis.h5")
        write_summary(analysis, out / "analysis_summary.txt")
        write_results(analysis, out / "comprehensive_analysis_results.pt")
        draw_dashboard(analysis, out / "comprehensive_dashboard.png")
        write_report(stored, analysis, out / "report.html")
    return out


def decode(out: Path, model: MaskedDiffusionModel, *, problems: str = "generated:4") -> None:
    run(problems, out=out, model=model, execution=Execution(shard_problems=2), **SHORT)


def files_of(run_dir: Path) -> list[str]:
    """Every file of the run, by its name in the directory; the lock has no content."""
    every = (
        path.relative_to(run_dir).as_posix()
        for path in sorted(run_dir.rglob("*"))
        if path.is_file()
    )
    return [name for name in every if name != ".lock"]


def facts_of(run_dir: Path, *, touched: str | None = None) -> Facts:
    """All that readers give of a run, each under its reader's name, or the sentence with which the
    reader refuses.

    Where a single file was `touched`, only readers of it are asked; that the others do not read it
    is seen where all are asked after it was deleted. An exception that is no message for a user
    gets through: that is a traceback.
    """
    readers: dict[str, Callable[[Path], Any]] = {
        "open_run": _values,
        "analysis": _analysis,
        "report": _page,
        "head": lambda path: _digest(read_head(path, run_id=_run_id(path))),
        "records": lambda path: {
            repr(record) for record in (*read_sessions(path), read_status(path)) if record
        },
    }
    asked = readers if touched is None else _readers_of(touched)
    return {name: _said(readers[name], run_dir) for name in asked}


def _readers_of(file: str) -> tuple[str, ...]:
    if file == "analysis.h5":
        return ("analysis",)
    if file in ("progress.json", "sessions.jsonl"):
        return ("records",)
    return () if file in (*RESULTS, SUMS) else ("open_run", "report", "head", "records")


def changed(before: Facts, after: Facts) -> list[str]:
    """Readers that give something else than before without refusing; of records, mere history, some
    may be left out."""
    return [
        name
        for name in after
        if name not in refused(after)
        and not (after[name] <= before[name] if name == "records" else after[name] == before[name])
    ]


def refused(facts: Facts) -> list[str]:
    """Readers that refuse."""
    return [name for name, what in facts.items() if str(what).startswith("refused: ")]


class Verifier:
    """`verify_run` in this process: a shard whose content was checked before is not opened a second
    time."""

    def __init__(self) -> None:
        self._known: dict[str, ShardCheck] = {}

    def named(self, run_dir: Path) -> list[str]:
        """Files that `verify` says something of, or what it refuses with."""
        before, verify.checked_shards = verify.checked_shards, self._checked  # type: ignore[attr-defined, assignment]
        try:
            return [f"{finding.shard}: {finding.what}" for finding in verify_run(run_dir).findings]
        except Exception as error:
            if expected_failure(error) is None:
                raise
            return [f"refused: {error}"]
        finally:
            verify.checked_shards = before  # type: ignore[attr-defined]

    def _checked(self, paths: list[Path], info: dict[str, Any]) -> Iterator[ShardCheck]:
        for path in paths:
            key = hashlib.sha256(path.read_bytes() + json.dumps(info).encode()).hexdigest()
            if key not in self._known:
                self._known[key] = check_shard(path, info)
            yield self._known[key]._replace(name=path.name)


@contextlib.contextmanager
def restored(run_dir: Path) -> Iterator[None]:
    """Whatever is done to the files inside, afterwards they are as before."""
    before = {name: (run_dir / name).read_bytes() for name in files_of(run_dir)}
    try:
        yield
    finally:
        for name in files_of(run_dir):
            if name not in before:
                (run_dir / name).unlink()
        for name, content in before.items():
            path = run_dir / name
            path.parent.mkdir(exist_ok=True)
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)


def flip(path: Path, bit: int) -> None:
    """Turn one bit over."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def _said(reader: Callable[[Path], Any], run_dir: Path) -> Any:
    try:
        return reader(run_dir)
    except Exception as error:
        if expected_failure(error) is None:
            raise
        return f"refused: {error}"


def _values(run_dir: Path) -> Facts:
    with open_run(run_dir) as stored:
        found: Facts = {"ids": stored.ids, "missing": stored.missing, "problems": stored.problems}
        for name in stored.variables:
            per_shard = VARIABLES[name].per_shard and name != "block"
            found[name] = _digest(stored.shard_sum(name) if per_shard else stored[name][...])
        return found


def _page(run_dir: Path) -> Any:
    """The report but for its curves, which are those of the analysis."""
    with open_run(run_dir) as stored:
        return page_data(stored, None, max_problems=10)


def _analysis(run_dir: Path) -> str:
    """All but the sentence that says whether the run has changed since."""
    analysis = load_analysis(run_dir / "analysis.h5")
    analysis.info.pop("stale", None)
    return _digest(analysis)


def _run_id(run_dir: Path) -> str:
    with open_run(run_dir) as stored:
        return str(stored.info["run_id"])


def _digest(value: Any) -> str:
    """Of arrays their bytes, so that NaN equals NaN."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return hashlib.sha256(
            value.tobytes() + str((value.dtype, value.shape)).encode()
        ).hexdigest()
    if isinstance(value, dict):
        return json.dumps({key: _digest(part) for key, part in value.items()})
    if hasattr(value, "quantities"):
        return _digest(vars(value))
    if isinstance(value, list | tuple):
        return json.dumps([_digest(part) for part in value])
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)
