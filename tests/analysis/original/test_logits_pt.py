"""The original suite's files: torch loads them without running code, and every number in them is the
run's own logits."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from diffengine.analysis.original.logits_pt import (
    AVERAGED,
    LOGITS,
    RESULTS,
    export_original,
)
from diffengine.analysis.original.torch_stream import LazyTensor, save_stream
from diffengine.engine.store import DamagedRun, NotStored, StorageError, open_run, write_shard
from diffengine.engine.store.format.output_head import write_head
from diffengine.engine.store.format.schema import VARIABLES
from diffengine.engine.store.format.variable import BASE_VERSION

SIZES = {
    "step": 4,
    "other_step": 4,
    "position": 3,
    "answer_token": 2,
    "feature": 5,
    "k": 2,
    "vocabulary": 7,
}
DTYPES = {"int32": np.int32, "uint8": np.uint8, "float32": np.float32, "model": np.float32}


class Made(NamedTuple):
    """A run and what its logits [problem, step, position, vocabulary] are, in float64."""

    path: Path
    logits: np.ndarray


def columns_for(indices: list[int], logits_or_hidden: dict[str, np.ndarray]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, row in VARIABLES.items():
        shape = tuple(SIZES[dim] for dim in row.dims)
        if row.dtype == "str":
            columns[name] = [f"{name} {index}" for index in indices]
        elif row.stored_if is None and row.since == BASE_VERSION:
            columns[name] = np.zeros(
                shape if row.per_shard else (len(indices), *shape), DTYPES[row.dtype]
            )
    columns.update(problem_id=[f"p{index}" for index in indices], index=np.array(indices, np.int32))
    columns["prompt_length"] = np.array([100 + index for index in indices], np.int32)
    return columns | {name: values[indices] for name, values in logits_or_hidden.items()}


def make(
    path: Path, kept: str, *, with_sum: bool = True, performed: np.ndarray | None = None
) -> Made:
    """Five problems in shards [3, 0], [1, 2, 4] with float32 hidden states, or logits, or
    neither; `performed` [problem, step], all steps where it is left out."""
    n_problems = 5
    if performed is None:
        performed = np.ones((n_problems, 4), np.uint8)
    path.mkdir(parents=True)
    (path / "run.json").write_text(
        json.dumps({"run_id": "r", "fingerprint": "f", "config": {"save_logits": kept}})
    )
    lines = [
        {"id": f"p{index}", "question": f"q{index}", "answer": str(index) if index else None, "messages": None,
         "solution": None, "source": "test", "line": index + 1}
        for index in range(n_problems + 1)
    ]  # fmt: skip
    (path / "problems.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(n_problems, 4, 3, 5)).astype(np.float32)
    head = rng.normal(size=(7, 5)).astype(np.float32)
    hidden[performed == 0] = np.nan
    logits = hidden.astype(np.float64) @ head.T.astype(np.float64)
    values = {"hidden": {"hidden": hidden}, "full": {"logits": logits.astype(np.float32)}}.get(
        kept, {}
    )
    for indices in ([3, 0], [1, 2, 4]):
        columns = columns_for(indices, values | {"performed": performed})
        if kept == "hidden" and with_sum:
            columns["hidden_sum"] = hidden[indices].sum(0)
        write_shard(path, columns, attrs={"run_id": "r", "fingerprint": "f"})
    if kept == "hidden":
        write_head(path, head)
    return Made(path, logits)


@pytest.mark.parametrize(
    ("kept", "with_sum"), [("hidden", True), ("hidden", False), ("full", False)]
)
@pytest.mark.parametrize("mapped", [False, True])
def test_the_three_files(tmp_path: Path, kept: str, with_sum: bool, mapped: bool) -> None:
    made = make(tmp_path / "run", kept, with_sum=with_sum)
    paths = export_original(open_run(made.path), tmp_path / "out")
    assert [path.name for path in paths] == [AVERAGED, LOGITS, RESULTS]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [AVERAGED, LOGITS, RESULTS]
    )
    averaged, everything, results = (
        torch.load(path, weights_only=True, mmap=mapped) for path in paths
    )
    assert (
        isinstance(averaged, list)
        and len(averaged) == 4
        and len(everything) == 5
        and len(everything[0]) == 4
    )
    for step in range(4):
        assert averaged[step].shape == (1, 3, 7) and averaged[step].dtype == torch.float32
        np.testing.assert_allclose(
            averaged[step][0], made.logits[:, step].mean(0), rtol=0, atol=1e-5
        )
        for row in range(5):
            assert everything[row][step].shape == (1, 3, 7)
            np.testing.assert_allclose(
                everything[row][step][0], made.logits[row, step], rtol=0, atol=1e-5
            )
    assert results[2] == {
        "problem_id": 3, "question": "q2", "expected_answer": "2", "generated_answer": "generated_text 2",
        "prompt_length": 102,
    }  # fmt: skip
    assert [result["problem_id"] for result in results] == [1, 2, 3, 4, 5] and results[0][
        "expected_answer"
    ] == ""


ENDS_APART = np.array(
    [[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 1, 0], [0, 1, 1, 1], [1, 1, 1, 0]], np.uint8
)


@pytest.mark.parametrize(
    ("kept", "with_sum"), [("hidden", True), ("hidden", False), ("full", False)]
)
def test_a_problems_logits_end_with_it_and_steps_left_out_have_those_of_the_next_pass(
    tmp_path: Path, kept: str, with_sum: bool, caplog: pytest.LogCaptureFixture
) -> None:
    made = make(tmp_path / "run", kept, with_sum=with_sum, performed=ENDS_APART)
    averaged_at, everything_at, _ = export_original(open_run(made.path), tmp_path / "out")
    averaged = torch.load(averaged_at, weights_only=True)
    everything = torch.load(everything_at, weights_only=True)
    seen = [[0, 1, 2, 3], [0, 1, 2], [0, 2, 2], [1, 1, 2, 3], [0, 1, 2]]
    assert [len(steps) for steps in everything] == [4, 3, 3, 4, 3]
    for row, passes in enumerate(seen):
        for step, made_at in enumerate(passes):
            np.testing.assert_allclose(
                everything[row][step][0], made.logits[row, made_at], rtol=0, atol=1e-5
            )
    assert len(averaged) == 3
    for step in range(3):
        expected = np.mean([made.logits[row, seen[row][step]] for row in range(5)], axis=0)
        np.testing.assert_allclose(averaged[step][0], expected, rtol=0, atol=1e-5)
    assert "problems end after 3 to 4 steps" in caplog.text
    assert f"{AVERAGED} ends after step 2, the last one that all 5 problems make" in caplog.text


def test_a_step_that_all_leave_out_needs_no_states_of_problems(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    performed = np.tile(np.array([1, 0, 1, 0], np.uint8), (5, 1))
    made = make(tmp_path / "run", "hidden", performed=performed)
    averaged_at, _, _ = export_original(open_run(made.path), tmp_path / "out")
    averaged = torch.load(averaged_at, weights_only=True)
    assert len(averaged) == 3
    for step, made_at in enumerate([0, 2, 2]):
        expected = made.logits[:, made_at].mean(0)
        np.testing.assert_allclose(averaged[step][0], expected, rtol=0, atol=1e-5)
    assert not caplog.records


def test_a_problem_without_a_forward_pass_is_damage(tmp_path: Path) -> None:
    performed = np.ones((5, 4), np.uint8)
    performed[2] = 0
    made = make(tmp_path / "run", "hidden", performed=performed)
    with pytest.raises(DamagedRun, match="without a forward pass"):
        export_original(open_run(made.path), tmp_path / "out")


@pytest.mark.parametrize("kept", ["none", "topk"])
def test_runs_without_logits_say_what_to_do(tmp_path: Path, kept: str) -> None:
    made = make(tmp_path / "run", kept)
    with pytest.raises(NotStored, match=rf"--save-logits {kept}\).*--save-logits hidden"):
        export_original(open_run(made.path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_its_head(tmp_path: Path) -> None:
    made = make(tmp_path / "run", "hidden")
    (made.path / "head.h5").unlink()
    with pytest.raises(DamagedRun, match=r"head\.h5 is missing"):
        export_original(open_run(made.path), tmp_path / "out")


def test_a_disk_that_is_too_small_is_refused_with_the_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path / "run", "hidden")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(
        StorageError,
        match=r"24 steps \(5 problems \+ the mean\) x 3 positions x 7 tokens x 4 bytes = ",
    ):
        export_original(open_run(made.path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failing_disk_leaves_no_half_file(tmp_path: Path) -> None:
    def full() -> np.ndarray:
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.pt"
    torch.save([1], path)
    with pytest.raises(StorageError, match="the disk is full"):
        save_stream([LazyTensor((2,), lambda: np.zeros(2)), LazyTensor((2,), full)], path)
    assert torch.load(path, weights_only=True) == [1] and [
        file.name for file in tmp_path.iterdir()
    ] == ["x.pt"]


@pytest.mark.parametrize("shape", [(1,), (3, 5), (1, 2, 3, 4), (0, 3), (1000, 77)])
def test_the_stream_is_what_torch_itself_reads(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = [
        np.random.default_rng(seed).normal(size=shape).astype(np.float32) for seed in range(3)
    ]
    tensors = [LazyTensor(shape, lambda value=value: value) for value in values]
    save_stream(
        {"a": tensors[0], "b": [tensors[1], {"c": tensors[2]}], "n": 3, "s": "ü"}, tmp_path / "x.pt"
    )
    assert zipfile.ZipFile(tmp_path / "x.pt").testzip() is None
    for mapped in (False, True):
        loaded = torch.load(tmp_path / "x.pt", weights_only=True, mmap=mapped)
        assert loaded["n"] == 3 and loaded["s"] == "ü"
        for got, value in zip(
            (loaded["a"], loaded["b"][0], loaded["b"][1]["c"]), values, strict=True
        ):
            assert got.is_contiguous() and got.storage_offset() == 0
            np.testing.assert_array_equal(got.numpy(), value)
            assert not mapped or got.numel() == 0 or got.data_ptr() % 64 == 0


def test_memory_holds_one_tensor_at_a_time(tmp_path: Path) -> None:
    alive: list[int] = []
    most = 0

    class Watched(np.ndarray):
        def __del__(self) -> None:
            alive.pop()

    def value() -> np.ndarray:
        nonlocal most
        alive.append(1)
        most = max(most, len(alive))
        return np.zeros(10, np.float32).view(Watched)

    save_stream([LazyTensor((10,), value) for _ in range(20)], tmp_path / "x.pt")
    assert most == 1
