"""run.json: what a run directory is, written once, compared on every later run in the same directory.

Knows files and versions, not models or decoding.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import ADDED_LATER, ConfigError, RunConfig, fingerprint
from .models.loading import MaskedDiffusionModel
from .problems import Problem, ProblemSet, load_problems, write_problems
from .store.disk import fsync_directory, write_file
from .store.drawing import DRAWING
from .store.schema import SCHEMA_VERSION

PACKAGES = ("torch", "transformers", "triton", "numpy", "h5py", "tokenizers", "safetensors")


def describe_run(
    config: RunConfig, model: MaskedDiffusionModel, problems: ProblemSet, *, devices: list[str]
) -> dict[str, Any]:
    """The content of run.json for a run that starts now."""
    settings = config.as_dict()
    return {
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
        },
        "data": {"source": problems.source, "sha256": problems.sha256, "n_problems": len(problems.problems)},
        "drawing": DRAWING,
        "versions": _versions(),
        "command": sys.argv,
        "devices": devices,
    }


def enter_run(out: Path, fresh: Mapping[str, Any], problems: list[Problem]) -> tuple[dict[str, Any], list[Problem]]:
    """Create the run directory, or come back to it: its run.json and its problems, old ones first in their old order.

    Raises ConfigError naming every field that differs when the directory holds another run.
    """
    path = out / "run.json"
    known: list[Problem] = []
    info = dict(fresh)
    if path.exists():
        info = _read(path)
        _refuse_if_different(path, info, fresh)
        known = load_problems(out / "problems.jsonl") if (out / "problems.jsonl").exists() else []
    elif out.exists() and any(p.name != ".lock" for p in out.iterdir()):
        raise ConfigError(f"{out}: not empty and not a run (no run.json); give --out a new or empty directory")
    old = {p.id for p in known}
    merged = known + [p for p in problems if p.id not in old]
    if len(merged) != len(known) or not path.exists():
        replace_file(out / "problems.jsonl", lambda temporary: write_problems(temporary, merged))
    if not path.exists():
        content = json.dumps(info, indent=2, ensure_ascii=False) + "\n"
        replace_file(path, lambda temporary: write_file(temporary, content.encode()))
    return info, merged


def replace_file(path: Path, write: Any) -> None:
    """Write a file whole or not at all: `write(temporary)`, rename, flush the directory."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    write(temporary)
    temporary.replace(path)
    fsync_directory(path.parent)


def _read(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: damaged ({error}); restore it or give --out another directory") from None
    if not isinstance(info, dict) or "fingerprint" not in info:
        raise ConfigError(f"{path}: not a diffengine run; give --out another directory")
    return info


def _refuse_if_different(path: Path, info: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    if info["fingerprint"] == fresh["fingerprint"]:
        return
    old, new = ADDED_LATER | info.get("config", {}), fresh["config"]
    names = [k for k in new if k != "model" and old.get(k) != new[k]]
    differing = [f"  {k}: {old.get(k)!r} there, {new[k]!r} now" for k in names]
    for part, field in (("model", "fingerprint"), ("data", "sha256")):
        there, now = info.get(part, {}), fresh[part]
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


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "diffengine": _package("diffengine")}
    found |= {name: _package(name) for name in PACKAGES}
    found["git"] = _git()
    return {k: v for k, v in found.items() if v}


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git() -> str:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
