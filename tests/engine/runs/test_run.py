"""A run, end to end on the bundled model: what it leaves, how it resumes, what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from diffengine.engine.config import ConfigError
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem, ProblemSet, read_problems
from diffengine.engine.runs import disk_need
from diffengine.engine.runs.run import Execution, Progress, run
from diffengine.engine.store import RunLocked, StorageError, open_run, verify_run
from diffengine.engine.store.lock import RunLock

SHORT = {"steps": 8, "gen_length": 8, "block_length": 4}
EXACT = (
    "token",
    "committed",
    "prediction",
    "verdict",
    "problem_id",
    "generated_text",
    "n_forwards",
    "topk_id",
)
CLOSE = (
    "entropy",
    "kl",
    "logprob",
    "answer_logprob",
    "cka",
    "state_masked",
    "logit_std",
    "topk_logit",
)


def same_run(one: Path, two: Path) -> None:
    """Two runs hold the same problems with the same tokens and, within rounding, the same
    values."""
    a, b = open_run(one), open_run(two)
    assert a.ids == b.ids
    assert len(set(a.ids)) == len(a.ids)
    for name in EXACT:
        assert np.array_equal(a[name][...], b[name][...]), name
    for name in CLOSE:
        np.testing.assert_allclose(a[name][...], b[name][...], atol=1e-5, rtol=1e-5, err_msg=name)
    sums, counts = zip(*(r.shard_sum("hidden_sum") for r in (a, b)), strict=True)
    assert counts[0] == counts[1] == len(a)
    np.testing.assert_allclose(sums[0], sums[1], atol=1e-4, rtol=1e-5)


def test_a_run_is_whole_and_says_what_it_is(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    result = run("generated:5", out=tmp_path / "run", model=bundled_model, on_progress=seen.append)
    assert (result.done, result.resumed, result.failed) == (5, 0, {})
    assert [p.done for p in seen] == [0, 1, 2, 3, 4, 5]
    stored = open_run(tmp_path / "run")
    assert stored.missing == []
    assert [p.id for p in stored.problems] == stored.ids
    assert verify_run(tmp_path / "run").ok
    assert stored.info["model"]["mask_token_id"] == 5
    for i, problem in enumerate(stored.problems):
        ids = stored["token"][i][-1]
        assert (
            bundled_model.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
            == stored["generated_text"][i]
        )
        start, end = int(stored["answer_start"][i]), int(stored["answer_end"][i])
        if stored["verdict"][i] == 1:
            answer = bundled_model.tokenizer.decode(
                ids[start:end].tolist(), skip_special_tokens=True
            )
            assert answer.strip() == problem.answer == stored["extracted_answer"][i]
    tokens = json.loads((tmp_path / "run" / "tokens.json").read_text())
    assert set(map(str, np.unique(stored["token"][...]))) <= set(tokens)


def test_the_same_call_resumes_and_a_larger_one_goes_on(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    whole = read_problems("generated:7")
    for limit, expected in ((3, (3, 0)), (3, (0, 3)), (7, (4, 3))):
        part = whole._replace(problems=whole.problems[:limit])
        result = run(
            part,
            out=tmp_path / "grown",
            model=bundled_model,
            execution=Execution(shard_problems=2),
            **SHORT,
        )
        assert (result.done, result.resumed) == expected
    run(whole, out=tmp_path / "once", model=bundled_model, **SHORT)
    same_run(tmp_path / "grown", tmp_path / "once")


def test_another_configuration_is_refused_with_the_fields(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    run("samples", out=tmp_path, model=bundled_model, limit=2, **SHORT)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(
        ConfigError, match=r"(?s)temperature: 0\.0 there, 0\.5 now.*seed: 0 there, 3 now"
    ):
        run("samples", out=tmp_path, model=bundled_model, limit=2, temperature=0.5, seed=3, **SHORT)
    with pytest.raises(ConfigError, match="data: 'samples'"):
        run("generated:2", out=tmp_path, model=bundled_model, **SHORT)
    other = dataclasses.replace(bundled_model, fingerprint="0" * 64)
    with pytest.raises(ConfigError, match="model: "):
        run("samples", out=tmp_path, model=other, limit=2, **SHORT)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_a_foreign_directory_a_file_and_a_held_lock_are_refused(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty and not a run"):
        run("samples", out=tmp_path, model=bundled_model, limit=1, **SHORT)
    with pytest.raises(ConfigError, match="is a file"):
        run("samples", out=tmp_path / "notes.txt", model=bundled_model, limit=1, **SHORT)
    (tmp_path / "held").mkdir()
    with RunLock(tmp_path / "held"), pytest.raises(RunLocked):
        run("samples", out=tmp_path / "held", model=bundled_model, limit=1, **SHORT)


def test_a_problem_that_cannot_be_decoded_fails_alone(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    bad = [Problem("long", "word " * 3000, "1"), Problem("mask", "what is <|mdm_mask|>?", "1")]
    good = read_problems("samples", limit=2).problems
    chosen = ProblemSet([bad[0], *good, bad[1]], [], "0" * 64, "mixed")
    result = run(chosen, out=tmp_path, model=bundled_model, **SHORT)
    assert result.done == 2
    assert "exceeds the model's 1024 positions" in result.failed["long"]
    assert "mask token" in result.failed["mask"]
    lines = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
    assert {line["id"] for line in lines} == {"long", "mask"}
    assert open_run(tmp_path).missing == ["long", "mask"]


def test_no_problems_is_an_empty_run(bundled_model: MaskedDiffusionModel, tmp_path: Path) -> None:
    result = run("samples", limit=0, out=tmp_path, model=bundled_model, **SHORT)
    assert (result.done, result.resumed, result.failed) == (0, 0, {})
    assert len(open_run(tmp_path)) == 0


@pytest.mark.parametrize("kept", ["none", "topk", "hidden", "full"])
def test_what_is_kept_of_the_logits(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, kept: str
) -> None:
    run("samples", limit=2, out=tmp_path, model=bundled_model, save_logits=kept, **SHORT)
    stored = open_run(tmp_path)
    assert ("topk_id" in stored, "hidden" in stored, "logits" in stored) == (
        kept != "none",
        kept == "hidden",
        kept == "full",
    )
    assert (tmp_path / "head.h5").exists() == (kept == "hidden")
    if kept == "none":
        return
    rebuilt = None
    if kept == "hidden":
        with h5py.File(tmp_path / "head.h5") as file:
            rebuilt = (
                torch.from_numpy(stored["hidden"][...]) @ torch.from_numpy(file["weight"][...]).T
            )
    if kept == "full":
        rebuilt = torch.from_numpy(stored["logits"][...])
    if rebuilt is not None:
        np.testing.assert_allclose(rebuilt.logsumexp(-1), stored["logsumexp"][...], atol=1e-4)
        np.testing.assert_allclose(rebuilt.amax(-1), stored["topk_logit"][...][..., 0], atol=1e-4)


def test_logits_that_cannot_fit_are_refused_with_the_arithmetic(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_need.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(
        ConfigError, match=r"8 steps x 8 positions x 128 features x 4 bytes = .* x 10 problems"
    ):
        run("samples", out=tmp_path / "new", model=bundled_model, save_logits="hidden", **SHORT)
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(disk_need, "LARGEST_PROBLEM", 1000)
    with pytest.raises(ConfigError, match="--save-logits full: .*--save-logits hidden"):
        run("samples", out=tmp_path / "new", model=bundled_model, save_logits="full", **SHORT)


def test_an_interrupt_publishes_what_is_finished(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    execution = Execution(token_budget=150)
    with pytest.raises(KeyboardInterrupt):
        run(
            "samples",
            out=tmp_path / "a",
            model=bundled_model,
            execution=execution,
            on_progress=stop,
            **SHORT,
        )
    assert len(open_run(tmp_path / "a")) >= 3
    result = run("samples", out=tmp_path / "a", model=bundled_model, execution=execution, **SHORT)
    assert result.resumed >= 3
    assert result.done + result.resumed == 10
    run("samples", out=tmp_path / "b", model=bundled_model, **SHORT)
    same_run(tmp_path / "a", tmp_path / "b")


def test_a_full_disk_is_one_error_and_loses_no_published_shard(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    from diffengine.engine.runs import writer

    monkeypatch.setattr(writer, "BACK_OFF_SECONDS", (0.01,))
    real, written = os.write, 0

    def full_after(descriptor: int, data: bytes) -> int:
        nonlocal written
        written += len(data)
        if written > 400_000 and len(data) > 10_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    execution = Execution(shard_problems=2, token_budget=150)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_after)
        with pytest.raises(StorageError, match="disk is full"):
            run("samples", out=tmp_path / "a", model=bundled_model, execution=execution, **SHORT)
    published = len(open_run(tmp_path / "a"))
    assert 0 < published < 10
    assert verify_run(tmp_path / "a")._replace(findings=()).n_problems == published
    result = run("samples", out=tmp_path / "a", model=bundled_model, **SHORT)
    assert (result.resumed, result.done) == (published, 10 - published)


def test_a_damaged_shard_is_set_aside_and_only_its_problems_are_done_again(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    execution = Execution(shard_problems=3)
    run("samples", out=tmp_path / "a", model=bundled_model, execution=execution, **SHORT)
    run("samples", out=tmp_path / "b", model=bundled_model, execution=execution, **SHORT)
    shards = sorted((tmp_path / "a" / "shards").glob("*.h5"))
    assert len(shards) == 4
    content = bytearray(shards[1].read_bytes())
    content[len(content) // 3] ^= 16
    shards[1].write_bytes(content)
    assert not verify_run(tmp_path / "a").ok
    result = run("samples", out=tmp_path / "a", model=bundled_model, **SHORT)
    assert (result.done, result.resumed) == (3, 7)
    report = verify_run(tmp_path / "a")
    assert report.ok, report.findings
    same_run(tmp_path / "a", tmp_path / "b")
