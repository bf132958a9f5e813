"""The doctor calls ok what imports, and nothing else; a package that ends the process is blamed
alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from diffengine.engine.cli import doctor
from diffengine.engine.cli.doctor_imports import import_failures


def test_each_failure_is_its_own(planted: Callable[..., None]) -> None:
    planted(
        part_sound="print('hello')",
        part_broken="raise AttributeError(\"module 'numpy' has no attribute 'row_stack'\")",
        part_aborts="import os; os.abort()",
        part_exits="import os; os._exit(3)",
        part_behind="",
    )
    names = [
        "part_sound",
        "part_broken",
        "part_aborts",
        "part_exits",
        "part_behind",
        "no_such_part",
    ]
    assert import_failures(names) == {
        "part_broken": "AttributeError: module 'numpy' has no attribute 'row_stack'",
        "part_aborts": "its import ended the process (signal 6)",
        "part_exits": "its import ended the process (exit code 3)",
        "no_such_part": "ModuleNotFoundError: No module named 'no_such_part'",
    }


def test_an_import_that_hangs(planted: Callable[..., None]) -> None:
    planted(part_sound="", part_hangs="import time; time.sleep(60)")
    assert import_failures(["part_sound", "part_hangs"], seconds=3) == {
        "part_hangs": "its import had not ended after 3 s"
    }


def test_what_is_there_and_broken_is_not_ok(
    planted: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuML as it is beside numpy 2.5: the package is found, its `__init__` imports, what we call
    does not."""
    planted(cuml="", **{"cuml.manifold": "raise AttributeError('row_stack')"}, faiss="")
    monkeypatch.setattr(doctor, "NEEDED", {"numpy": doctor.NEEDED["numpy"]})
    optional = {name: doctor.OPTIONAL[name] for name in ("cuml", "faiss")} | {
        "part_absent": doctor.Package("why", "x")
    }
    monkeypatch.setattr(doctor, "OPTIONAL", optional)
    found = {finding.what: finding for finding in doctor.diagnose()}
    assert found["numpy"].state == found["faiss"].state == "ok"
    assert found["part_absent"] == ("note", "part_absent", "not installed (why)")
    assert found["cuml"].state == "broken"
    assert (
        "does not import: AttributeError: row_stack; t-SNE falls back to openTSNE"
        in found["cuml"].detail
    )


def test_what_does_not_go_together_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"triton": "3.6.0", "numpy": "2.4.6", "faiss-cpu": "1.15.1", "faiss-gpu": "1.15.1"}
    monkeypatch.setattr(doctor.importlib.metadata, "version", versions.__getitem__)
    both, interpreter = doctor._clashes({"faiss": ["faiss-gpu", "faiss-cpu"]})
    assert both.detail.startswith("faiss-cpu and faiss-gpu write the same folder")
    assert interpreter.what == "triton, numpy" and "numpy below 2.4" in interpreter.detail
    assert doctor._clashes({"faiss": ["faiss-gpu"]}) == [interpreter]
    versions["numpy"] = "2.3.5"
    assert doctor._clashes({}) == []
    assert doctor._versions("faiss", {"faiss": ["faiss-gpu"]}) == "faiss-gpu 1.15.1"
    assert doctor._versions("triton", {"triton": ["triton"]}) == "3.6.0"
