"""sweep.json: what a sweep is, so that the same command goes on and another cannot mix with it."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import ConfigError
from ..store.disk import replace_content
from ..store.format.stamp import is_intact, stamped

logger = logging.getLogger(__name__)

SWEEP = "sweep.json"

RESULTS = (SWEEP, ".lock", "comparison.csv", "tradeoff.png")
"""What lies in the directory of a sweep beside its runs."""


def describe_sweep(
    first: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], *, preset: str | None
) -> dict[str, Any]:
    """The content of sweep.json. `first`: the run.json of one of the runs, for all have problems
    and model in common; `runs`: name, reference, fingerprint and settings of each."""
    return {
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "data": first["data"],
        "model": {key: first["model"][key] for key in ("path", "fingerprint")},
        "preset": preset,
        "runs": list(runs),
    }


def enter_sweep(out: Path, fresh: Mapping[str, Any]) -> dict[str, Any]:
    """What sweep.json of `out` shall say: `fresh`, and the runs that an earlier command asked for
    there. Writes nothing.

    Raises ConfigError where the directory holds another sweep, or something that is none.
    """
    path = out / SWEEP
    if is_run(out):
        raise ConfigError(f"{out}: is a run; give --out a new or empty directory")
    before = read_sweep(path)
    if before is None:
        names = {run["name"] for run in fresh["runs"]}
        foreign = _foreign(out, names)
        if foreign and not path.exists():
            raise ConfigError(
                f"{out}: not empty and not a sweep (no {SWEEP}, but {foreign[0]}); give --out a "
                "new or empty directory"
            )
        return dict(fresh)
    _refuse_if_different(out, before, fresh)
    now = {run["name"]: run for run in fresh["runs"]}
    earlier = [run for run in before["runs"] if run["name"] not in now]
    return {**before, "command": fresh["command"], "runs": [*fresh["runs"], *earlier]}


def read_sweep(path: Path) -> dict[str, Any] | None:
    """What a sweep.json says; None where there is none, or none that can be read: its runs say
    themselves what they are."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read (%s); it is written again", path, error)
        return None
    if not isinstance(content, dict) or not is_intact(content) or "runs" not in content:
        logger.warning("%s is damaged; it is written again", path)
        return None
    return content


def runs_of_sweep(path: Path) -> list[Path]:
    """The runs that the directory of a sweep holds, those that others are measured from first;
    empty where it is no sweep."""
    if is_run(path) or not (path / SWEEP).is_file():
        return []
    content = read_sweep(path / SWEEP)
    if content is None:
        return sorted(entry for entry in path.iterdir() if is_run(entry))
    return [path / run["name"] for run in content["runs"] if is_run(path / run["name"])]


def is_run(path: Path) -> bool:
    """Whether a run has begun in this directory."""
    return (path / "run.json").is_file()


def write_sweep(out: Path, content: Mapping[str, Any]) -> None:
    """Put sweep.json in its place, whole or not at all. Raises StorageError."""
    text = json.dumps(stamped(content), indent=2, ensure_ascii=False) + "\n"
    replace_content(out / SWEEP, text.encode())


def _foreign(out: Path, names: set[str]) -> list[str]:
    if not out.is_dir():
        return []
    there = sorted(entry.name for entry in out.iterdir())
    return [
        name
        for name in there
        if name not in names and name not in RESULTS and not name.endswith(".tmp")
    ]


def _refuse_if_different(out: Path, before: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    differing = []
    for part, digest, label in (("data", "sha256", "source"), ("model", "fingerprint", "path")):
        there = before[part]
        now = fresh[part]
        if there[digest] != now[digest]:
            differing.append(
                f"{part} {there[label]!r} ({there[digest][:12]}) there, {now[label]!r} "
                f"({now[digest][:12]}) now"
            )
    settings = {run["name"]: run for run in before["runs"]}
    for run in fresh["runs"]:
        other = settings.get(run["name"])
        if not differing and other is not None and other["fingerprint"] != run["fingerprint"]:
            differing.append(f"{run['name']} {_changes(other['settings'], run['settings'])}")
    if differing:
        raise ConfigError(
            f"{out}: holds another sweep; nothing was changed: {'; '.join(differing)}; use the "
            "same settings to continue it, or another --out"
        )


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changes = [
        f"with {name} {before.get(name)!r} there, {value!r} now"
        for name, value in now.items()
        if before.get(name) != value
    ]
    return ", ".join(changes) or "with another model or other problems"
