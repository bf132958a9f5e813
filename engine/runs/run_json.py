"""run.json: what a run directory is, written once, compared on every later run in the same
directory."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
import platform
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import ADDED_LATER, ConfigError, RunConfig, fingerprint
from ..models import FAMILIES
from ..models.loading import MaskedDiffusionModel
from ..policies import POLICIES
from ..problems.normal_form import write_problems
from ..problems.read import Problem, ProblemError, ProblemSet
from ..problems.samples import refuse_other_sample
from ..registry import OURS, Plugin, Registry
from ..store.disk import file_sha256, replace_file, write_file
from ..store.drawing import DRAWING
from ..store.errors import DamagedRun, NotARun
from ..store.format.schema import SCHEMA_VERSION
from ..store.format.stamp import stamped
from ..store.read.run import PROBLEMS_DIGESTS, read_info, stored_problems

logger = logging.getLogger(__name__)

PLUGINS = "plugins"
BRANCHES = "branches"
PACKAGES = ("torch", "transformers", "triton", "numpy", "h5py", "tokenizers", "safetensors")


def describe_run(
    config: RunConfig, model: MaskedDiffusionModel, problems: ProblemSet, *, devices: list[str]
) -> dict[str, Any]:
    """The content of run.json for a run that starts now."""
    settings = config.as_dict()
    plugins = plugins_used({config.policy: POLICIES, model.architecture: FAMILIES})
    info: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "run_id": secrets.token_hex(8),
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "fingerprint": fingerprint(settings, model=model.fingerprint, problems=problems.sha256),
        "config": settings,
        "model": {
            "path": config.model,
            "architecture": model.architecture,
            "fingerprint": model.fingerprint,
            "vocab_size": len(model.head_weight),
            "n_candidates": model.n_candidates,
            "mask_token_id": model.token_ids.mask,
            "eos_token_id": model.token_ids.eos,
            "hidden_size": model.head_weight.shape[1],
            "dtype": config.dtype,
            "read_offset": model.read_offset,
            **_end_of_turn(config, model),
        },
        "data": {
            "source": problems.source,
            "sha256": problems.sha256,
            "n_problems": len(problems.problems),
        },
        "drawing": DRAWING,
        "versions": _versions(),
        "command": sys.argv,
        "devices": devices,
        "has_tokens": True,
    }
    if plugins:
        info[PLUGINS] = plugins
    return info


def plugins_used(names: Mapping[str, Registry]) -> list[Plugin]:
    """Those of these names that stand for code from outside: kind, name, `module:attribute`,
    package and version."""
    rows = [(table, table.row(name)) for name, table in names.items()]
    return [table.plugin(row) for table, row in rows if row.package != OURS]


def enter_run(
    out: Path, fresh: Mapping[str, Any], problems: list[Problem]
) -> tuple[dict[str, Any], list[Problem]]:
    """Create the run directory, or come back to it: its run.json and its problems, old ones first
    in their old order.

    Raises ConfigError naming every field that differs when the directory holds another run, and
    where a sample has the id of a problem that is there.
    """
    path = out / "run.json"
    stored: list[Problem] = []
    more = False
    info = dict(fresh)
    if path.exists():
        info = _read(path)
        _refuse_if_different(path, info, fresh)
        _warn_of_other_plugins(path, info, fresh)
        stored = _stored_problems(out, info, problems)
        grown = _grown(info, fresh)
        more = grown != info
        info = grown
    elif out.exists() and any(_is_foreign(p.name) for p in out.iterdir()):
        raise ConfigError(
            f"{out}: not empty and not a run (no run.json); give --out a new or empty directory"
        )
    old = {p.id: p for p in stored}
    for problem in problems:
        refuse_other_sample(old.get(problem.id, problem), problem)
    merged = stored + [p for p in problems if p.id not in old]
    if len(merged) != len(stored) or not path.exists():
        info = _write_problems(out, info, merged)
    elif problems and (more or len(info.get(PROBLEMS_DIGESTS, [])) > 1):
        # More was asked for than run.json says, or an earlier command died while the list grew.
        info = _write_info(path, info, [file_sha256(out / "problems.jsonl")])
    return info, merged


def _grown(info: dict[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """run.json with the most that any command asked for: samples of a problem, steps that branches
    begin at, branches of a state."""
    grown = dict(info)
    data = info.get("data", {})
    samples = fresh["data"].get("samples", 1)
    if samples > data.get("samples", 1):
        grown["data"] = {**data, "samples": samples}
    if BRANCHES in info:
        before = info[BRANCHES]
        now = fresh[BRANCHES]
        grown[BRANCHES] = {
            **before,
            "at": sorted({*before["at"], *now["at"]}),
            "samples": max(before["samples"], now["samples"]),
        }
    return grown


def _write_problems(out: Path, info: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Write problems.jsonl, after its digest in run.json: whatever a crash leaves, the same command
    goes on.

    While the list grows run.json names the old digest and the new one.
    """
    path = out / "run.json"
    digests = list(info.get(PROBLEMS_DIGESTS, []))

    def write(temporary: Path) -> None:
        write_problems(temporary, problems)
        digests.append(file_sha256(temporary))
        _write_info(path, info, digests)

    replace_file(out / "problems.jsonl", write)
    return _write_info(path, info, digests[-1:])


def _is_foreign(name: str) -> bool:
    """Whether a file in a directory without run.json is one that no beginning run leaves there."""
    return name != ".lock" and not (name.startswith(".") and name.endswith(".tmp"))


def _write_info(path: Path, info: Mapping[str, Any], digests: list[str]) -> dict[str, Any]:
    whole = stamped({**info, PROBLEMS_DIGESTS: digests})
    content = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    replace_file(path, lambda temporary: write_file(temporary, content.encode()))
    return whole


def _stored_problems(out: Path, info: Mapping[str, Any], asked: list[Problem]) -> list[Problem]:
    """The problems of a run that is there already. A lost or damaged problems.jsonl is written
    again where those asked for now are surely the ones that were in it; else the error stands, for
    their places would be guesses."""
    path = out / "problems.jsonl"
    try:
        return stored_problems(out)
    except (NotARun, DamagedRun, ProblemError) as error:
        cause = error

    def write(temporary: Path) -> None:
        write_problems(temporary, asked)
        if file_sha256(temporary) not in info.get(PROBLEMS_DIGESTS, []):
            raise cause

    replace_file(path, write)
    logger.warning(
        "%s; it was written again from the problems asked for, which are the same", cause
    )
    return asked


def _read(path: Path) -> dict[str, Any]:
    info = read_info(path.parent)
    if "fingerprint" not in info:
        raise ConfigError(f"{path}: not a diffengine run; give --out another directory")
    return info


def _refuse_if_different(path: Path, info: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    if info["fingerprint"] == fresh["fingerprint"]:
        return
    old = ADDED_LATER | info.get("config", {})
    new = fresh["config"]
    names = [k for k in new if k != "model" and old.get(k) != new[k]]
    differing = [f"  {k}: {old.get(k)!r} there, {new[k]!r} now" for k in names]
    for part, field in (("model", "fingerprint"), ("data", "sha256")):
        there = info.get(part, {})
        now = fresh[part]
        if there.get(field) != now[field]:
            label = "path" if part == "model" else "source"
            differing.append(
                f"  {part}: {there.get(label)!r} ({there.get(field, '')[:12]}) there, "
                f"{now[label]!r} ({now[field][:12]}) now"
            )
    raise ConfigError(
        f"{path.parent}: holds a run with other settings; nothing was changed:\n"
        + "\n".join(differing)
        + "\nuse the same settings to continue it, or another --out"
    )


def _warn_of_other_plugins(path: Path, info: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    """A plug-in that has another version than when the run began may decode differently."""
    before = info.get(PLUGINS, [])
    now = fresh.get(PLUGINS, [])
    if before != now:
        logger.warning(
            "%s: the run began with other code from outside: %s there, %s now; problems decoded "
            "before and after may not be alike",
            path,
            _named(before),
            _named(now),
        )


def _named(plugins: list[dict[str, str]]) -> str:
    names = []
    for plugin in plugins:
        source = f"{plugin['package']} {plugin['version']}".strip()
        names.append(f"{plugin['kind']} {plugin['name']} ({source})")
    return ", ".join(names) or "none"


def _end_of_turn(config: RunConfig, model: MaskedDiffusionModel) -> dict[str, int]:
    """The other token that ends a text where decoding goes block by block, if there is one."""
    eot = model.token_ids.eot
    return {"eot_token_id": eot} if config.of_blocks and eot is not None else {}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "diffengine": _package("diffengine")}
    versions |= {name: _package(name) for name in PACKAGES}
    versions["git"] = _git()
    return {name: version for name, version in versions.items() if version}


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git() -> str:
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
