"""Every kernel compiled ahead of time for three GPUs: no spills, 16-byte loads, no barrier in a
loop, few instructions.

In a process of its own, because one that interprets kernels cannot compile them. The table holds
what triton made when it was written; a change of triton adds an entry, a change of a kernel changes
one on purpose: python -m diffengine.bench.aot prints the rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TABLE = json.loads((Path(__file__).parent / "aot_table.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
def test_machine_code(arch: str, tmp_path: Path) -> None:
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", "diffengine.bench.aot", arch]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=540)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) >= 10
    for row in rows:
        assert row["spilled"] == 0, row
        assert row["barriers_in_loop"] == 0, row
        if row["kernel"].startswith(("stats", "add+norm", "norm", "gate")):
            assert row["load_bits"] == 128, row
        expected = TABLE.get(row["triton"].rsplit(".", 1)[0], {}).get(arch, {}).get(row["kernel"])
        if (
            expected is None
        ):  # a triton that nobody has written a table for: only what must hold everywhere
            continue
        registers, instructions = expected
        assert row["registers"] <= registers + 8, row
        assert instructions is None or row["instructions_per_logit"] <= 1.1 * instructions, row
