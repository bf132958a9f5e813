"""How often an analysis reads a run: docs/analysis.md says it, this counts it."""

from __future__ import annotations

import functools
import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.information import beyond_first_step, features, over_steps
from diffengine.engine.store import open_run
from diffengine.engine.store.read.lazy import LazyArray
from diffengine.engine.store.read.run import Run

PROBLEMS = 150
STEPS = 4


class Reads:
    """`passes`: calls of `run.blocks`, each with its variables; `shares`: how much of each variable
    was read, 1.0 for all problems once."""

    def __init__(self) -> None:
        self.passes: list[list[str]] = []
        self.rows: Counter[str] = Counter()

    @property
    def shares(self) -> dict[str, float]:
        return {name: rows / PROBLEMS for name, rows in self.rows.items()}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    reads = Reads()
    blocks: Callable[..., Iterator[dict[str, np.ndarray]]] = Run.blocks
    read: Callable[..., np.ndarray] = LazyArray._read

    def counting_blocks(self: Run, names: list[str], **options: Any) -> Any:
        reads.passes.append(list(names))
        return blocks(self, names, **options)

    def counting_read(self: LazyArray, chosen: list[Any]) -> np.ndarray:
        if self.name != "block":  # one value for each shard
            reads.rows[self.name] += len(chosen[0].places)
        return read(self, chosen)

    monkeypatch.setattr(Run, "blocks", counting_blocks)
    monkeypatch.setattr(LazyArray, "_read", counting_read)
    for module, name in (
        (over_steps, "mutual_information"),
        (beyond_first_step, "beyond_first_step"),
    ):
        quick = functools.partial(getattr(module, name), permutations=5)
        monkeypatch.setattr(module, name, quick)
    return reads


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(__file__).with_name("synthetic_run.py")
    spec = importlib.util.spec_from_file_location("synthetic_run", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("passes") / "run"
    return Path(module.make_run(folder, PROBLEMS, steps=STEPS, positions=16, block=16))


def test_the_fast_part_reads_every_variable_at_most_once(stored: Path, reads: Reads) -> None:
    with open_run(stored) as run:
        analyze_run(run)
    assert len(reads.passes) == 1
    assert {name: share for name, share in reads.shares.items() if share > 1} == {}


def test_mutual_information_adds_one_pass_and_one_over_the_states(
    stored: Path, reads: Reads
) -> None:
    with open_run(stored) as run:
        analysis = analyze_run(run, mutual_information=True)
    assert analysis["mi/ross"].ok and analysis["mi/decoder"].ok
    assert analysis["mi_beyond/logistic"].ok
    assert len(reads.passes) == 3
    assert ["state_answer" in names for names in reads.passes] == [False, False, True]


def test_more_states_than_memory_take_more_passes(
    stored: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the steps' states fit: two passes over them instead of one."""
    monkeypatch.setattr(features, "STATE_BYTES", STEPS // 2 * PROBLEMS * 4 * 4)
    with open_run(stored) as run:
        whole = analyze_run(run, mutual_information=True)
    assert len(reads.passes) == 4
    monkeypatch.undo()
    with open_run(stored) as run:
        assert (whole["accuracy"].values == analyze_run(run)["accuracy"].values).all()
