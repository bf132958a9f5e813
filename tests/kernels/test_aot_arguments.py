"""Every kernel compiles whatever its integer arguments are: 1 becomes a constant of the kernel,
multiples of 16 a hint.

Only a compiler shows it; the interpreter makes no difference between values. In a process of its
own, because one that interprets kernels cannot compile them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffengine.bench.aot import CASES
from diffengine.bench.aot_arguments import VALUES, cases_to_try, integer_arguments


@pytest.mark.slow
def test_every_kernel_compiles_at_every_kind_of_integer(tmp_path: Path) -> None:
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", "diffengine.bench.aot_arguments", "sm_90"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row for row in rows if row["error"]] == [], done.stderr
    assert done.returncode == 0, done.stderr
    functions = {case.kernel for case in CASES}
    assert {case.kernel for case in cases_to_try()} == functions
    for case in cases_to_try():
        tried = [row["integers"] for row in rows if row["kernel"] == case.name]
        assert tried == [dict.fromkeys(integer_arguments(case), value) for value in VALUES]


def test_the_integers_of_a_kernel_are_all_that_are_neither_tensors_nor_constants() -> None:
    cases = {case.name: case for case in CASES}
    assert {1, 17} < set(VALUES)
    assert integer_arguments(cases["gumbel fp32"]) == [
        "stride_x", "V", "candidates", "excluded", "seed_low", "seed_high", "per_part",
    ]  # fmt: skip
    assert integer_arguments(cases["topk 16"]) == ["stride_x", "V", "parts", "k"]
