"""What a machine can prove, in parts of under nine minutes that can be run apart, each leaving one
JSON file.

`suite` runs the kernels' tests, compiled on a GPU, interpreted without one, and there every test
marked `gpu`; `sanitizer` runs every kernel under compute-sanitizer; `aot` compiles for GPUs that
are not there; `kernels-bfloat16`, `kernels-float32` and `decoding` measure; `report.json` says what
has run. Each part runs in a process of its own, so a part that dies or takes too long leaves the
others, what it had said by then, and a record of its end. Needs no installation, only the checkout.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 540
PARTS = ("suite", "sanitizer", "aot", "kernels-bfloat16", "kernels-float32", "decoding")
GROUPS = {"all": PARTS, "kernels": ("kernels-bfloat16", "kernels-float32")}
MARKED_TESTS = (
    "tests/engine/runs/test_no_waiting.py",
    "tests/analysis/information/test_neighbors.py",
)
"""Tests marked `gpu` that lie outside of tests/kernels."""
DONE = "done"
FAILED = "FAILED"
NOT_RUN = "not run"


class Plan(NamedTuple):
    """The commands of a part with more of the environment, and what this machine cannot show by
    them.

    No command: the part cannot run here, and `lacks` says why.
    """

    commands: tuple[list[str], ...]
    lacks: str = ""
    environment: dict[str, str] = {}


def run_parts(parts: tuple[str, ...], out: Path) -> list[dict[str, Any]]:
    """Run the parts one after another; writes <part>.json each and report.json over all that lie in
    `out`."""
    out.mkdir(parents=True, exist_ok=True)
    done = []
    for part in parts:
        began = time.time()
        result = run_part(plan(part))
        seconds = time.time() - began
        record = {
            "part": part,
            "began": int(began),
            "seconds": round(seconds, 1),
            **result,
        }
        _write_json(out / f"{part}.json", record)
        done.append(record)
    _write_json(out / "report.json", report(out))
    return done


def _write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def report(out: Path) -> dict[str, Any]:
    """Of every part: how it ended, its seconds, and what was lacking for it; over all records in
    `out`."""
    ends = {}
    for part in PARTS:
        path = out / f"{part}.json"
        record = {"state": NOT_RUN}
        if path.exists():
            record = json.loads(path.read_text(encoding="utf-8"))
        keys = ("state", "seconds", "lacks", "error")
        ends[part] = {key: record[key] for key in keys if record.get(key)}
    return ends


def run_part(asked: Plan) -> dict[str, Any]:
    """Run one part's commands; the rows are all lines of JSON that they wrote, also if they failed
    or were stopped."""
    result: dict[str, Any] = {"state": NOT_RUN, "lacks": asked.lacks}
    seconds = float(LIMIT_SECONDS)
    for command in asked.commands:
        began = time.monotonic()
        text, error = _output(command, asked.environment, seconds)
        seconds -= time.monotonic() - began
        rows, other = _rows(text)
        wrong = error or _off(rows)
        result["state"] = FAILED if wrong or result["state"] == FAILED else DONE
        result["rows"] = result.get("rows", []) + rows
        if wrong:
            result |= {"error": wrong, "tail": other[-4000:]}
        elif not rows:
            result["tail"] = other[-300:]
    return {key: value for key, value in result.items() if value}


def _output(command: list[str], environment: dict[str, str], seconds: float) -> tuple[str, str]:
    """What the command wrote, and how it ended if not well."""
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(filter(None, [str(ROOT / ".src"), inherited]))
    child = os.environ | {"PYTHONPATH": path} | environment
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=child,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=max(seconds, 1.0),
        )
    except subprocess.TimeoutExpired as over:
        text = (over.stdout or b"").decode(errors="replace")
        return text, f"took more than {LIMIT_SECONDS} s and was stopped"
    text = done.stdout.decode(errors="replace")
    return text, f"ended with {done.returncode}" if done.returncode else ""


def _rows(text: str) -> tuple[list[dict[str, Any]], str]:
    lines = text.splitlines()
    rows = []
    other = []
    for line in lines:
        if line.startswith("{") and line.endswith("}"):
            rows.append(json.loads(line))
        else:
            other.append(line)
    return rows, "\n".join(other)


def _off(rows: list[dict[str, Any]]) -> str:
    """What of ours is wrong by its own line; a peer may fail, and says so in its row."""
    ours = [row for row in rows if str(row.get("provider", "ours")).startswith("ours")]
    wrong = [row for row in ours if row.get("parity") is False or row.get("failed")]
    if not wrong:
        return ""
    first = json.dumps(wrong[0])
    return f"{len(wrong)} of our rows are off, the first {first[:300]}"


def plan(part: str) -> Plan:
    """How a part runs on this machine."""
    gpu = _has_gpu()
    if part == "suite":
        return _suite(gpu)
    if part == "sanitizer":
        return _sanitizer(gpu)
    if part == "aot":
        if importlib.util.find_spec("triton") is None:
            return Plan((), "triton")
        return Plan((_module("aot"),))
    if part == "decoding":
        if not gpu:
            return Plan((), "a GPU that holds LLaDA-8B's shape")
        return Plan((_module("llada_8b"),))
    lacks = "" if gpu else "a GPU: measured on the CPU, at sizes for one"
    return Plan((_module("kernels", part.removeprefix("kernels-")),), lacks)


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"diffengine.bench.{name}", *arguments]


def _sanitizer(gpu: bool) -> Plan:
    if not gpu:
        return Plan((), "a GPU")
    name = "compute-sanitizer"
    tool = shutil.which(name) or shutil.which(f"/usr/local/cuda/bin/{name}")
    if tool is None:
        return Plan((), "compute-sanitizer (it comes with CUDA's toolkit)")
    commands = []
    for check in ("memcheck", "racecheck"):
        commands.append([tool, "--tool", check, "--error-exitcode", "9", *_module("sanitizer")])
    return Plan(tuple(commands))


def _suite(gpu: bool) -> Plan:
    if importlib.util.find_spec("triton") is None:
        return Plan((), "triton")
    lacks = [] if gpu else ["a GPU: the kernels were interpreted, and tests marked `gpu` left out"]
    has_pytest = importlib.util.find_spec("pytest") is not None
    if has_pytest and (ROOT / "tests" / "kernels").is_dir():
        pytest = [sys.executable, "-m", "pytest", "-q"]
        # The machine code for absent GPUs is the part `aot`.
        commands = [[*pytest, "tests/kernels", "-k", "not machine_code"]]
        if gpu:
            commands.append([*pytest, "-m", "gpu", *MARKED_TESTS])
        return Plan(tuple(commands), "; ".join(lacks))
    absent = "pytest"
    if has_pytest:
        absent = "the tests, which an installed package does not hold (run this in a checkout)"
    lacks.append(f"{absent}: diffengine.bench.sanitizer ran instead of tests/kernels")
    environment = {} if gpu else {"TRITON_INTERPRET": "1"}
    return Plan((_module("sanitizer"),), "; ".join(lacks), environment)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
