"""Passes of a network on a CPU take their memory from what earlier passes freed, not from the
kernel page by page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

PASSES = 4

MEASURE = f"""
import resource
import torch
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import load_model
from diffengine.engine.runs.run import BUNDLED

model = load_model(BUNDLED, device="cpu")
lengths = [100, 120, 140, 160] * 4
ids = torch.randint(10, 500, (sum(lengths),))
positions = torch.cat([torch.arange(n) for n in lengths])
packing = packing_of(lengths, model.device)
model.hidden(ids, positions, packing)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({PASSES}):
    model.hidden(ids, positions, packing)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(environment: Mapping[str, str]) -> int:
    """Page faults of `PASSES` passes over 2080 tokens, after a first, in a process of their own."""
    given = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | dict(environment)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], env=given, capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


def test_a_pass_meets_no_page_that_is_new() -> None:
    one_tensor = 2080 * 384 * 4 // 4096  # pages of one layer's gate
    assert (
        faults({}) < PASSES * one_tensor
    )  # a pass makes twelve as large; the heap may still grow by a few
    # Where the environment gives thresholds of its own, they stand: with small ones every pass begs
    # anew.
    assert (
        faults({"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"})
        > 4 * PASSES * one_tensor
    )
