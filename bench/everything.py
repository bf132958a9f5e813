"""What a machine can prove, in parts of under nine minutes that can be run apart, each leaving one JSON file.

`suite` runs the kernels' tests compiled on the GPU (interpreted without one), `kernels` and `decoding` measure, `aot`
compiles for GPUs that are not there, and `report` says what has run. Each part runs in a process of its own, so a part
that dies or takes too long leaves the others and a record of its end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 540
PARTS = ("suite", "sanitizer", "aot", "kernels", "decoding")


def run_parts(parts: tuple[str, ...], out: Path) -> list[dict[str, Any]]:
    """Run the parts one after another; writes <part>.json each and report.json over all that lie in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    done = []
    for part in parts:
        began = time.time()
        result = _run(part)
        result |= {"part": part, "began": int(began), "seconds": round(time.time() - began, 1)}
        (out / f"{part}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        done.append(result)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]
    summary = {r["part"]: {"ok": r["ok"], "seconds": r["seconds"]} for r in found if "part" in r}
    missing = [part for part in PARTS if part not in summary]
    (out / "report.json").write_text(json.dumps({"ran": summary, "not_run": missing}, indent=1) + "\n")
    return done


def _run(part: str) -> dict[str, Any]:
    command = _command(part)
    if command is None:
        return {"ok": False, "error": "needs a GPU and compute-sanitizer"}
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"ok": False, "error": f"took more than {LIMIT_SECONDS} s"}
    result: dict[str, Any] = {"ok": done.returncode == 0}
    if part in ("kernels", "decoding") and result["ok"]:
        result |= json.loads(done.stdout.splitlines()[-1])
    elif part == "aot" and result["ok"]:
        result["rows"] = [json.loads(line) for line in done.stdout.splitlines()]
    else:
        result["tail"] = (done.stdout + done.stderr)[-4000:]
    return result


def _command(part: str) -> list[str] | None:
    tests = [sys.executable, "-m", "pytest", "-q", "tests/kernels"]
    if part == "suite":
        return tests
    if part == "sanitizer":
        import shutil

        tool = shutil.which("compute-sanitizer")
        only = ["tests/kernels/test_triton_stats.py", "-k", "every_statistic or left_where"]
        return None if tool is None else [tool, "--tool", "memcheck", "--error-exitcode", "9", *tests[:-1], *only]
    if part == "aot":
        return [sys.executable, "-m", "diffengine.bench.aot"]
    call = f"import json, sys; from diffengine.bench.{part} import {part}_report as measure; "
    call += "sys.stdout.write(json.dumps(measure()))"
    return [sys.executable, "-c", call]
