"""The benchmarks' own arithmetic: parity before speed, and a part that leaves its record. Nothing here is timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from diffengine.bench import everything
from diffengine.bench.kernels import Task, compare, eager, errors, has_parity, like_llada, ours, providers
from diffengine.engine.cli import group


def test_ours_has_parity_and_a_wrong_answer_has_not() -> None:
    device = torch.device("cpu")
    x, y = (like_llada(3, 501, dtype=torch.float32, device=device, seed=s) for s in (0, 1))
    assert has_parity(errors(ours(x, y), x, y)) and has_parity(errors(eager(x, y), x, y))
    wrong = ours(x, y) | {"lse": ours(x, y)["lse"] + 1e-3}
    assert not has_parity(errors(wrong, x, y))
    shifted = ours(x, y)
    shifted["top1_id"] = (shifted["top1_id"] + 1) % 501
    assert not has_parity(errors(shifted, x, y))


def test_no_speed_up_is_stated_without_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    table = providers(device) | {"wrong": lambda x, y: {"lse": eager(x, y)["lse"] + 1}}
    monkeypatch.setattr("diffengine.bench.kernels.providers", lambda _: table)
    rows = {r["provider"]: r for r in compare(Task("stats", 4, torch.float32, False), 1.0, device, 301)}
    assert rows["ours"]["speed_up"] > 0
    assert rows["wrong"]["parity"] is False and rows["wrong"]["speed_up"] is None


def test_a_part_leaves_its_record_whatever_becomes_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "_run", lambda part: {"ok": part == "aot", "rows": []})
    done = CliRunner().invoke(group, ["bench", "all", "--out", str(tmp_path)])
    assert done.exit_code == 1 and "aot        done" in done.output and "kernels    FAILED" in done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["not_run"] == [] and report["ran"]["aot"]["ok"] and not report["ran"]["suite"]["ok"]
