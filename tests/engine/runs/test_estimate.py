"""Estimates against what a run then really takes."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from diffengine.engine.config import ConfigError, RunConfig
from diffengine.engine.decoding.loop import Decoder
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs import disk_need, estimate, plan
from diffengine.engine.runs.run import Execution, estimate_run, run
from diffengine.engine.store import open_run

SHAPES: list[dict[str, Any]] = [
    {},
    {
        "steps": 12,
        "gen_length": 12,
        "block_length": 4,
        "execution": Execution(shard_bytes=1, token_budget=300),
    },
    {"steps": 16, "gen_length": 16, "block_length": 8, "save_logits": "hidden"},
    {"steps": 16, "gen_length": 32, "block_length": 8, "topk": 4, "mean_hidden": False},
]


@pytest.mark.parametrize("settings", SHAPES, ids=["as it comes", "many shards", "hidden", "top 4"])
def test_the_disk_need_is_within_a_quarter(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, settings: dict[str, Any]
) -> None:
    need = estimate_run("generated:20", out=tmp_path / "r", model=bundled_model, **settings)
    assert not (tmp_path / "r").exists()
    started = time.perf_counter()
    run("generated:20", out=tmp_path / "r", model=bundled_model, **settings)
    taken = time.perf_counter() - started
    folders = (tmp_path / "r" / "shards", tmp_path / "r" / "sums")
    stored = sum(path.stat().st_size for folder in folders for path in folder.glob("*.h5"))
    assert need.disk_bytes == pytest.approx(stored, rel=0.25)
    assert ("execution" in settings) == (len(list((tmp_path / "r" / "shards").iterdir())) > 1)
    assert need.total_seconds is not None
    assert (
        0.1 * taken < need.total_seconds < 3 * taken
    )  # two steps, on a machine that others use as well


def test_a_night_of_llada_does_not_drown_in_sums_of_hidden_states() -> None:
    class Shape:  # of LLaDA-8B, without its 16 GB of weights
        head_weight = torch.empty(126464, 4096, dtype=torch.bfloat16, device="meta")
        dtype = head_weight.dtype

        def logits_dtype(self, name: str) -> torch.dtype:
            return self.dtype

    config = RunConfig.of(model="llada-8b")
    for seconds, share in (
        (0.0, 0.5),
        (28_800.0, 0.5),
    ):  # as fast as can be; one problem a second for eight hours
        workload = disk_need.Workload(28_800, Execution().limits, seconds=seconds)
        need = disk_need.disk_need(config, Shape(), workload)  # type: ignore[arg-type]
        parts = {f.name: f.amount for f in need}
        assert 0 < parts["hidden_sum"] < share * sum(parts.values())
    slow = disk_need.disk_need(
        config,
        Shape(),  # type: ignore[arg-type]
        disk_need.Workload(480, Execution().limits, seconds=28_800.0),
    )
    sums = next(f for f in slow if f.name == "hidden_sum")
    assert "x 3 files" in sums.how  # of 480 shards, one each minute


def test_what_is_done_needs_nothing_more(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    short = {"steps": 8, "gen_length": 8, "block_length": 4}
    run("samples", out=tmp_path / "r", model=bundled_model, **short)
    need = estimate_run("samples", out=tmp_path / "r", model=bundled_model, **short)
    assert need.total_seconds is None
    assert need.disk_bytes < 1000
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "r").rglob("*"))
    with pytest.raises(ConfigError, match="seed: 0 there, 1 now"):
        estimate_run("samples", out=tmp_path / "r", model=bundled_model, seed=1, **short)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "r").rglob("*")) == before


def test_a_run_goes_on_where_only_what_is_left_fits(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"steps": 8, "gen_length": 8, "block_length": 4}
    run("samples", out=tmp_path / "r", model=bundled_model, **short)
    monkeypatch.setattr(
        disk_need.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 200_000})
    )
    assert run("samples", out=tmp_path / "r", model=bundled_model, **short).resumed == 10
    with pytest.raises(ConfigError, match=r"needs \S+ [kMG]B of disk, but 200 kB are free"):
        run("samples", out=tmp_path / "new", model=bundled_model, **short)


def test_the_command_names_every_factor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from diffengine.engine.cli.command_line import group

    arguments = [
        "--out",
        str(tmp_path / "r"),
        "--steps",
        "8",
        "--gen-length",
        "8",
        "--block-length",
        "4",
    ]
    for command in (["estimate"], ["run", "--dry-run"]):
        said = CliRunner().invoke(group, [*command, *arguments])
        assert said.exit_code == 0, said.output
        for word in (
            "disk ",
            "device memory ",
            "time ",
            "topk_logit",
            "weights",
            "trajectories",
            "decoding",
        ):
            assert word in said.output
    said = CliRunner().invoke(group, ["estimate", *arguments, "--json"])
    assert {"disk", "device_memory", "seconds", "disk_bytes"} <= set(json.loads(said.output))
    monkeypatch.setattr(disk_need.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    for command in (
        ["estimate"],
        ["run", "--dry-run"],
        ["run"],
    ):  # one refusal, with the same arithmetic
        error = CliRunner().invoke(group, [*command, *arguments]).exception
        assert isinstance(error, ConfigError)
        assert "8 steps x 128 features x 4 bytes" in str(error)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("llada", "(12 forward passes)"),
        ("threshold", "(at most 12 forward passes)"),
    ],
)
def test_passes_that_nobody_knows_beforehand_are_at_most(
    policy: str, said: str, bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    settings = {"policy": policy, "gen_length": 12, "steps": 12}
    need = estimate_run("samples", out=tmp_path / "r", model=bundled_model, **settings)
    assert said in need.seconds[0].how
    assert need.seconds_at_most == need.disk_at_most == (policy == "threshold")


def test_drawn_schedules_are_counted_and_their_disk_is_a_bound(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"policy": "dream", "gen_length": 12, "steps": 12}
    need = estimate_run("samples", out=tmp_path / "r", model=bundled_model, **settings)
    run("samples", out=tmp_path / "r", model=bundled_model, **settings)
    made = open_run(tmp_path / "r")["n_forwards"][...]
    assert made.min() < made.max() < 12
    assert need.passes.mean == made.mean()
    assert f"({made.mean():.1f} forward passes, mean of 10 drawn schedules)" in need.seconds[0].how
    assert need.disk_at_most and not need.seconds_at_most
    facts = _content_of(tmp_path / "r")
    assert facts["forward_passes"] == made.sum()
    assert facts["passes_per_problem"] == pytest.approx(made.mean(), abs=0.005)


def _content_of(path: Path) -> dict[str, Any]:
    from click.testing import CliRunner

    from diffengine.engine.cli.command_line import group

    content: dict[str, Any] = json.loads(
        CliRunner().invoke(group, ["inspect", str(path), "--json"]).output
    )
    return content


def test_what_is_a_bound_says_so_where_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from diffengine.engine.cli.command_line import group

    short = ["--steps", "8", "--gen-length", "8", "--out", str(tmp_path / "r")]
    free = CliRunner().invoke(group, ["estimate", *short, "--policy", "threshold"]).output
    fixed = CliRunner().invoke(group, ["estimate", *short, "--block-length", "4"]).output
    assert "disk at most " in free and "time at most " in free
    assert "at most" not in fixed

    monkeypatch.setattr(disk_need.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    for policy, needs in (("threshold", "may need up to"), ("dream", "may need up to")):
        error = CliRunner().invoke(group, ["run", *short, "--policy", policy]).exception
        assert isinstance(error, ConfigError) and f"this run {needs} " in str(error)


def test_a_run_on_several_gpus_is_timed_on_a_gpu(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def load(path: Path, **how: Any) -> MaskedDiffusionModel:
        asked.append(how)
        return bundled_model

    monkeypatch.setattr(plan, "load_model", load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    estimate_run("generated:4", out=tmp_path / "r", execution=Execution(device="cuda", workers=4))
    request = plan.Request(
        "generated:4",
        out=tmp_path / "r",
        execution=Execution(device="cuda", workers=4),
        weights=False,
    )
    plan.plan_run(request)
    plan.plan_run(dataclasses.replace(request, settings={"save_logits": "hidden"}))
    assert [(how["device"], how["weights"]) for how in asked] == [
        ("cuda", True),
        ("cuda", False),
        ("cpu", True),
    ]
    assert {how["dtype"] for how in asked} == {"bfloat16"}


def test_without_a_gpu_here_a_run_on_gpus_elsewhere_is_not_timed_but_has_their_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    elsewhere = Execution(device="cuda", workers=2, cluster="10.0.0.1:6379")
    need = estimate_run("generated:400", out=tmp_path / "r", execution=elsewhere)
    assert need.seconds == [] and need.total_seconds is None
    activations = next(f for f in need.device_memory if f.name == "activations")
    assert activations.how.startswith("16384 packed tokens")
    weights = next(f for f in need.device_memory if f.name == "weights")
    assert weights.how.endswith("x 2 bytes")


def pretend_memory(
    monkeypatch: pytest.MonkeyPatch, *, tokens: int, out_of_memory_above: int = 10**9
) -> list[int]:
    """A device with room for so many tokens, whose memory runs out in a larger batch; returns the
    batches it got."""
    monkeypatch.setattr(estimate, "room_for", lambda *arguments: tokens)
    real, seen = Decoder.step, []

    def step(self: Decoder) -> Any:
        canvas = self.canvas
        seen.append(sum(canvas.prompt_lengths) + len(canvas.rows) * canvas.gen_length)
        if seen[-1] > out_of_memory_above:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        return real(self)

    monkeypatch.setattr(Decoder, "step", step)
    return seen


def factor(need: estimate.Estimate, name: str) -> float:
    return next(f.amount for f in need.device_memory if f.name == name)


def test_the_timed_batch_is_what_memory_has_room_for(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"steps": 8, "gen_length": 8, "block_length": 4}
    with monkeypatch.context() as patch:
        batches = pretend_memory(patch, tokens=200)
        need = estimate_run("samples", out=tmp_path / "r", model=bundled_model, **short)
    assert 100 < max(batches) <= 200
    whole = estimate_run("samples", out=tmp_path / "r", model=bundled_model, **short)
    assert factor(need, "trajectories") < factor(whole, "trajectories")
    assert factor(need, "activations") == pytest.approx(
        factor(whole, "activations") * 200 / _tokens(whole)
    )


def _tokens(need: estimate.Estimate) -> int:
    how = next(f.how for f in need.device_memory if f.name == "activations")
    return int(how.split()[0])


def test_out_of_memory_halves_the_estimates_budget_once_and_is_then_an_error(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"steps": 8, "gen_length": 8, "block_length": 4}
    with monkeypatch.context() as patch:
        batches = pretend_memory(patch, tokens=400, out_of_memory_above=210)
        need = estimate_run("samples", out=tmp_path / "r", model=bundled_model, **short)
    assert batches[0] > 210
    assert max(batches[1:]) <= 200
    assert _tokens(need) == 200
    pretend_memory(monkeypatch, tokens=400, out_of_memory_above=0)
    with pytest.raises(ConfigError, match=r"out of memory .* 400 tokens .*--token-budget"):
        estimate_run("samples", out=tmp_path / "r", model=bundled_model, **short)


def test_memory_names_the_problem_that_leaves_and_the_sum(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    short = {"steps": 8, "gen_length": 8, "block_length": 4}
    need = estimate_run("samples", out=tmp_path / "r", model=bundled_model, **short)
    assert factor(need, "sum of hidden states") == 8 * 8 * 128 * 4
    assert factor(need, "a problem that leaves") > 0
    need = estimate_run(
        "samples", out=tmp_path / "r", model=bundled_model, mean_hidden=False, **short
    )
    assert factor(need, "sum of hidden states") == 0
