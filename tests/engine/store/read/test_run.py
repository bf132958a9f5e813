"""Reading a run: rows in problem order over all shards, padding, blocks, sums, and an error for
anything missing."""

from __future__ import annotations

import gc
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from diffengine.engine.store import (
    DamagedRun,
    NotARun,
    NotStored,
    Run,
    open_run,
    verify_run,
    write_shard,
)
from diffengine.engine.store.format.schema import VARIABLES


def test_rows_are_in_problem_order_whatever_the_shards(
    stored: Path, samples: SimpleNamespace
) -> None:
    run = open_run(stored)
    assert run.ids == [f"p{index:04d}" for index in range(6)]
    assert run["index"][...].tolist() == list(range(6)) == run.index.tolist()
    expected = samples.columns(list(range(6)), bf16=True, extras=True)
    np.testing.assert_array_equal(run["entropy"][...], expected["entropy"])
    assert run["problem_id"][...].tolist() == run.ids
    assert run.row("p0003") == 3 and len(run) == 6 and "hidden" in run and "nothing" not in run
    assert run.missing == ["p0006", "p0007"]
    assert [problem.id for problem in run.problems] == [f"p{index:04d}" for index in range(8)]
    assert run.info["fingerprint"] == "f00d" and run.path == stored


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        3,
        slice(1, 4),
        slice(None, None, 2),
        slice(None, None, -1),
        [5, 0, 0, 3],
        np.array([True] * 2 + [False] * 4),
        ...,
        (2, 3, 4),
        (slice(None), 3),
        (..., 0),
        (0, ..., 0),
        (slice(2, 5), slice(4, 1, -1)),
        (slice(None), slice(0, 0)),
        (slice(None), -1, [0, 2]),
    ],
)
def test_indexing_is_numpys(stored: Path, key: object) -> None:
    array = open_run(stored)["entropy"]
    full = np.asarray(array)
    np.testing.assert_array_equal(array[key], full[key])
    assert (
        array[key].dtype == np.float32
        and array.shape == full.shape
        and array.dims == ("problem", "step", "position")
    )


def test_bfloat16_and_text_are_indexed_alike(stored: Path) -> None:
    run = open_run(stored)
    full = run["hidden"][...]
    np.testing.assert_array_equal(run["hidden"][[4, 1], 2:5, ::2, 3], full[[4, 1]][:, 2:5, ::2, 3])
    assert run["generated_text"][3] == "täxt 3 ∑" and run["generated_text"][[5, 0]].tolist() == [
        "täxt 5 ∑",
        "täxt 0 ∑",
    ]
    assert run["verdict"][1] == 1


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (6, "index 6"),
        ((0, 0, 0, 0), "4 indices"),
        ("entropy", "cannot index"),
        (1.5, "cannot index"),
    ],
)
def test_wrong_indices_are_refused(stored: Path, key: object, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        open_run(stored)["entropy"][key]


def test_attributes_and_per_shard_values(stored: Path) -> None:
    run = open_run(stored)
    assert (
        run["entropy"].attrs["units"] == "bits"
        and "entropy" in repr(run["entropy"])
        and "6 problems" in repr(run)
    )
    assert run["block"].dims == ("step",) and run["block"][...].tolist() == [0] * 6
    with pytest.raises(KeyError, match="shard_sum"):
        run["hidden_sum"]
    with pytest.raises(KeyError, match="run\\["):
        run.shard_sum("entropy")
    with pytest.raises(KeyError, match="no variable 'entropie'"):
        run["entropie"]


def test_variable_that_was_not_stored(run_dir: Path, samples: SimpleNamespace) -> None:
    write_shard(run_dir, samples.columns([0]), attrs=samples.attrs)
    with pytest.raises(KeyError, match="'hidden' was not stored"):
        open_run(run_dir)["hidden"]


def test_ragged_answers_are_padded_to_the_longest(run_dir: Path, samples: SimpleNamespace) -> None:
    parts = {1: [4, 0], 5: [1], 3: [2, 3], 0: [5]}
    for answers, indices in parts.items():
        write_shard(
            run_dir,
            samples.columns(indices, shape=samples.Shape(answers=answers)),
            attrs=samples.attrs,
        )
    run = open_run(run_dir)
    ids, logprob = run["answer_token_id"], run["answer_logprob"]
    assert ids.shape == (6, 5) and logprob.shape == (6, 6, 6, 5)
    for answers, indices in parts.items():
        expected = samples.columns(indices, shape=samples.Shape(answers=answers))
        for row, index in enumerate(indices):
            assert ids[index, :answers].tolist() == expected["answer_token_id"][row].tolist()
            assert (ids[index, max(answers, 1) :] == -1).all() and np.isnan(
                logprob[index, ..., answers:]
            ).all()
            np.testing.assert_array_equal(
                logprob[index, :, 2, :answers], expected["answer_logprob"][row, :, 2]
            )
    np.testing.assert_array_equal(ids[:, [4, 0]], ids[...][:, [4, 0]])
    assert np.isnan(logprob[0, 0, 0, 4]) and ids[1, 4] == -1


def test_blocks_give_every_problem_once(stored: Path) -> None:
    run = open_run(stored)
    entropy, texts = run["entropy"][...], run["generated_text"][...]
    for longest in (1, 2, 64):
        blocks = list(run.blocks(["entropy", "generated_text", "block"], max_problems=longest))
        assert max(len(block["row"]) for block in blocks) == min(longest, 2)
        assert sorted(np.concatenate([block["row"] for block in blocks])) == list(range(6))
        for block in blocks:
            np.testing.assert_array_equal(block["entropy"], entropy[block["row"]])
            assert block["generated_text"].tolist() == texts[block["row"]].tolist() and block[
                "block"
            ].shape == (6,)


def test_shard_sum_is_the_sum_over_problems(stored: Path) -> None:
    run = open_run(stored)
    total, n_problems = run.shard_sum("hidden_sum")
    assert n_problems == 6 and total.dtype == np.float64
    np.testing.assert_allclose(
        total, run["hidden"][...].sum(0, dtype=np.float64), rtol=0, atol=1e-5
    )


def test_a_problem_stored_twice_counts_once(stored: Path, samples: SimpleNamespace) -> None:
    repeated = samples.columns([5, 6], bf16=True, extras=True)
    repeated["entropy"] = repeated["entropy"] + np.float32(1)
    write_shard(stored, repeated, attrs=samples.attrs, worker="2")
    run = open_run(stored)
    assert run.ids == [f"p{index:04d}" for index in range(7)]
    np.testing.assert_array_equal(run["entropy"][5], samples.columns([5], bf16=True)["entropy"][0])
    with pytest.raises(DamagedRun, match="twice"):
        run.shard_sum("hidden_sum")


def test_a_missing_shard_raises(stored: Path) -> None:
    (stored / "shards" / sorted(os.listdir(stored / "shards"))[1]).unlink()
    with pytest.raises(DamagedRun, match="lacks 1 shard named by its manifest: 0-000001"):
        open_run(stored)


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_truncated_shard_raises(stored: Path, with_manifest: bool) -> None:
    shard = sorted((stored / "shards").iterdir())[0]
    os.truncate(shard, shard.stat().st_size - 1)
    if not with_manifest:
        for path in stored.glob("manifest-*"):
            path.unlink()
    with pytest.raises(DamagedRun, match=shard.name):
        open_run(stored)


def test_a_shard_without_a_manifest_line_counts(stored: Path) -> None:
    for path in stored.glob("manifest-*"):
        path.unlink()
    assert len(open_run(stored)) == 6


def test_shards_of_different_runs_do_not_mix(stored: Path, samples: SimpleNamespace) -> None:
    write_shard(
        stored,
        samples.columns([6], bf16=True, extras=True),
        attrs={**samples.attrs, "fingerprint": "beef"},
        worker="9",
    )
    with pytest.raises(DamagedRun, match="different configurations"):
        open_run(stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extras": False}, "hidden"),
        ({"bf16": False}, "topk_logit"),
        ({"steps": 5}, "step 6 and 5"),
    ],
)
def test_shards_of_different_form_do_not_mix(
    stored: Path, samples: SimpleNamespace, change: dict, message: str
) -> None:
    options = {
        "bf16": True,
        "extras": True,
        "shape": samples.Shape(steps=change.pop("steps", 6)),
        **change,
    }
    write_shard(stored, samples.columns([6], **options), attrs=samples.attrs, worker="9")
    with pytest.raises(DamagedRun, match=message):
        open_run(stored)


def test_not_a_run(tmp_path: Path, run_dir: Path) -> None:
    with pytest.raises(NotARun, match=r"no run\.json"):
        open_run(tmp_path)
    (run_dir / "run.json").write_text("{")
    with pytest.raises(DamagedRun, match="not valid JSON"):
        open_run(run_dir)
    (run_dir / "run.json").write_text(json.dumps([1]))
    with pytest.raises(DamagedRun, match="expected an object"):
        open_run(run_dir)


def test_a_run_without_shards_is_empty(run_dir: Path) -> None:
    run = open_run(run_dir)
    assert (
        len(run) == 0
        and run.ids == []
        and len(run.missing) == 8
        and list(run) == []
        and "entropy" not in run
    )
    with pytest.raises(KeyError, match="no finished problem"):
        run["entropy"]


def test_few_files_stay_open(run_dir: Path, samples: SimpleNamespace) -> None:
    for index in range(8):
        write_shard(
            run_dir,
            samples.columns([index], shape=samples.Shape(steps=2, positions=2)),
            attrs=samples.attrs,
        )
    gc.collect()  # files that earlier tests left open must not close in between
    before = len(os.listdir("/proc/self/fd"))
    with Run(run_dir, open_files=3) as run:
        run["entropy"][...]
        assert len(os.listdir("/proc/self/fd")) - before == 3
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_may_read_at_once(stored: Path) -> None:
    run = Run(stored, open_files=1)
    expected = {name: run[name][...] for name in ("entropy", "hidden", "token")}
    wrong = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(20):
            name, row = str(rng.choice(list(expected))), int(rng.integers(6))
            if not np.array_equal(run[name][row], expected[name][row], equal_nan=True):
                wrong.append((name, row))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_as_xarray(stored: Path) -> None:
    run = open_run(stored)
    dataset = run.to_xarray()
    assert (
        dataset["entropy"].dims == ("problem", "step", "position")
        and dataset["entropy"].attrs["units"] == "bits"
    )
    assert (
        dataset["problem_id"].values.tolist() == run.ids and dataset.attrs["fingerprint"] == "f00d"
    )
    np.testing.assert_array_equal(
        dataset["hidden"].isel(problem=[4, 0], step=slice(1, 3)).values, run["hidden"][[4, 0], 1:3]
    )
    np.testing.assert_array_equal(
        dataset["entropy"].sel(problem=3, step=2).values, run["entropy"][3, 2]
    )
    assert "hidden_sum" not in dataset


def test_an_xarray_that_does_not_import(stored: Path, planted: Callable[..., None]) -> None:
    planted(xarray="raise AttributeError(\"module 'pandas' has no attribute 'Index'\")")
    with pytest.raises(
        ImportError, match="gives AttributeError: module 'pandas'.*pip install xarray"
    ):
        open_run(stored).to_xarray()


def test_a_run_begun_by_an_older_version_lacks_what_came_later(
    run_dir: Path, samples: SimpleNamespace
) -> None:
    """Its newer shards may hold `null_answer_logprob`; the run as a whole does not, and stays
    readable and whole."""
    old, new = samples.columns([0, 1]), samples.columns([2, 3])
    assert "null_answer_logprob" in new and VARIABLES["null_answer_logprob"].since == "1.1"
    del old["null_answer_logprob"]
    for columns in (old, new):
        write_shard(run_dir, columns, attrs=samples.attrs)
    with open_run(run_dir) as run:
        assert run.ids == ["p0000", "p0001", "p0002", "p0003"]
        assert "null_answer_logprob" not in run and "null_answer_logprob" not in run.variables
        assert run["answer_logprob"].shape[0] == 4
        with pytest.raises(NotStored, match="was not stored"):
            run["null_answer_logprob"]
    assert verify_run(run_dir).ok
    del new["topk_id"], new["topk_logit"], new["problem_id"]
    new["problem_id"] = ["p0004", "p0005"]
    write_shard(run_dir, new, attrs=samples.attrs)
    with pytest.raises(DamagedRun, match="differ in what they store: topk_id, topk_logit"):
        open_run(run_dir)
