"""A sum of hidden states that is not of its shard's problems is found, in both dtypes; a true one
never is."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from diffengine.engine.store import verify_run, write_shard


def faults_of(run_dir: Path) -> list[str]:
    return [finding.what for finding in verify_run(run_dir).findings if finding.severity == "error"]


@pytest.mark.parametrize("bf16", [False, True])
def test_a_true_sum_passes(run_dir: Path, samples: SimpleNamespace, bf16: bool) -> None:
    write_shard(run_dir, samples.columns([0, 1, 2, 3], bf16=bf16, extras=True), attrs=samples.attrs)
    assert faults_of(run_dir) == []


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("wrong", ["one short", "one too many", "another's", "not a number"])
def test_a_wrong_sum_is_named(
    run_dir: Path, samples: SimpleNamespace, wrong: str, bf16: bool
) -> None:
    columns = samples.columns([0, 1, 2], bf16=bf16, extras=True)
    others = {
        "one short": [0, 1],
        "one too many": [0, 1, 2, 3],
        "another's": [0, 1, 3],
        "not a number": [0, 1, 2],
    }
    columns["hidden_sum"] = samples.columns(others[wrong], bf16=bf16, extras=True)["hidden_sum"]
    if wrong == "not a number":
        columns["hidden_sum"][0, 0, 0] = np.nan
    write_shard(run_dir, columns, attrs=samples.attrs)
    (what,) = faults_of(run_dir)
    assert what.startswith("hidden_sum is not the sum over the shard's problems at step 0")


def test_without_a_sum_nothing_is_asked(run_dir: Path, samples: SimpleNamespace) -> None:
    write_shard(run_dir, samples.columns([0, 1]), attrs=samples.attrs)
    assert faults_of(run_dir) == []
    assert "hidden_sum" not in json.dumps([str(f) for f in verify_run(run_dir).findings])
