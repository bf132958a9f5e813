"""A shard that crashes or hangs its reader costs only itself."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from diffengine.engine.store.check import child as guard
from diffengine.engine.store.check.child import checked_shards

_CHILD = """
import json, os, sys, time
for path in json.load(sys.stdin)["paths"]:
    name = os.path.basename(path)
    if "crash" in name:
        os.abort()
    if "hang" in name:
        time.sleep(60)
    print(json.dumps(dict(name=name, faults=[], problem_ids=[], places=[])), flush=True)
"""


@pytest.mark.parametrize(
    "names",
    [
        ["a", "crash", "b"],
        ["crash"],
        ["a", "b", "crash"],
        ["crash1", "crash2", "c"],
        ["a", "hang", "b"],
        [],
    ],
)
def test_the_others_are_still_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    monkeypatch.setattr(guard, "_CHILD", _CHILD.replace("{", "{{").replace("}", "}}"))
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_bytes(b"")
    start = time.monotonic()
    checks = list(checked_shards(paths, {}, start_seconds=1.0))
    assert [check.name for check in checks] == names and time.monotonic() - start < 20
    for check in checks:
        assert bool(check.faults) == ("crash" in check.name or "hang" in check.name)


def test_the_child_needs_no_environment(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir("/")
    checks = list(checked_shards(sorted((stored / "shards").glob("*.h5")), {}))
    assert [check.faults for check in checks] == [[]] * 3 and sys.path
