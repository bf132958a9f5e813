"""Several samples of a problem in a run: what they are called, what they share, and that a run of
them is drawn, resumed, grown and cut short as any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from diffengine.analysis.findings.about_run import whole_interval
from diffengine.analysis.groups import Groups
from diffengine.analysis.shares import wilson
from diffengine.engine.cli.command_line import group
from diffengine.engine.cli.progress import describe
from diffengine.engine.config import ConfigError
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.normal_form import load_problems, write_problems
from diffengine.engine.problems.read import Problem
from diffengine.engine.problems.samples import check_samples, count_problems, with_samples
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs.device import in_drawing_order
from diffengine.engine.runs.progress import Progress
from diffengine.engine.runs.run import Execution, RunResult, estimate_run, run
from diffengine.engine.runs.session import read_status
from diffengine.engine.runs.sweep import sweep
from diffengine.engine.store import coverage, open_run, verify_run
from diffengine.engine.store.counts import unit_of
from diffengine.engine.store.drawing import draw_key

SHORT: dict[str, Any] = {"steps": 4, "gen_length": 8, "block_length": 8, "temperature": 1.0}
SMALL = Execution(token_budget=300, shard_problems=4)


def problem(name: str, **more: Any) -> Problem:
    return Problem(name, f"What is {name}?", "1", **more)


def test_a_sample_is_the_problem_under_an_id_of_its_own() -> None:
    asked = [problem("a", columns={"level": 3}), problem("b")]
    sampled = with_samples(asked, 3)
    assert [each.id for each in sampled] == ["a", "a#1", "a#2", "b", "b#1", "b#2"]
    assert [each.sample for each in sampled] == [0, 1, 2] * 2
    assert [each.group_id for each in sampled] == ["a"] * 3 + ["b"] * 3
    assert sampled[0] is asked[0] and sampled[2].columns == {"level": 3}
    assert with_samples(asked, 1) == asked and count_problems(sampled) == 2


def test_an_id_that_another_problem_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a#1' has the id of sample 1 of problem 'a'.*rename"):
        with_samples([problem("a#1"), problem("a")], 2)
    assert len(with_samples([problem("a#2"), problem("a")], 2)) == 4


@pytest.mark.parametrize("samples", [0, -1, 2.0, True, "3", None])
def test_a_number_of_samples_that_cannot_be(samples: Any) -> None:
    with pytest.raises(ConfigError, match=r"samples is .*, expected a whole number from 1 on; use"):
        check_samples(samples, 1.0)


def test_samples_without_a_temperature_are_refused(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    check_samples(1, 0.0)
    with pytest.raises(ConfigError, match="samples is 2 with temperature 0, expected .* above 0"):
        run("generated:3", out=tmp_path / "x", model=bundled_model, samples=2)
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def once(bundled_model: MaskedDiffusionModel, tmp_path_factory: Any) -> Path:
    """Ten problems, one sample each."""
    path: Path = tmp_path_factory.mktemp("samples") / "once"
    run("generated:10", out=path, model=bundled_model, execution=SMALL, **SHORT)
    return path


@pytest.fixture(scope="module")
def thrice(bundled_model: MaskedDiffusionModel, tmp_path_factory: Any) -> Path:
    """The same with three."""
    path: Path = tmp_path_factory.mktemp("samples") / "thrice"
    result = run("generated:10", out=path, model=bundled_model, samples=3, execution=SMALL, **SHORT)
    assert result.finished == "30 samples of 10 problems" and result.has_several
    return path


def tokens(path: Path) -> dict[str, bytes]:
    stored = open_run(path)
    values = np.asarray(stored["token"][...])
    return {name: row.tobytes() for name, row in zip(stored.ids, values, strict=True)}


def test_sample_0_is_the_run_without_samples_and_the_others_differ(
    once: Path, thrice: Path
) -> None:
    before, after = tokens(once), tokens(thrice)
    assert all(after[name] == before[name] for name in before)
    assert len(set(after.values())) > 10 >= len(set(before.values()))
    first, second = (json.loads((path / "run.json").read_text()) for path in (once, thrice))
    assert first["fingerprint"] == second["fingerprint"]
    assert (first["data"]["n_problems"], first["data"]["samples"]) == (10, 1)
    assert (second["data"]["n_problems"], second["data"]["samples"]) == (10, 3)


def test_group_and_sample_of_each_row(once: Path, thrice: Path) -> None:
    stored = open_run(thrice)
    assert stored.groups == [name.split("#")[0] for name in stored.ids]
    assert stored.samples.tolist() == [0, 1, 2] * 10
    assert stored["group_id"][...].tolist() == stored.groups
    assert stored["sample"][...].tolist() == stored.samples.tolist()
    alone = open_run(once)
    assert alone.groups == list(alone.ids) and not alone.samples.any()
    pytest.importorskip("xarray")
    for each in (stored, alone):
        dataset = each.to_xarray()
        assert {"group_id", "sample"} <= set(dataset.coords)
        assert dataset["group_id"].values.tolist() == each.groups
        assert dataset["sample"].values.tolist() == each.samples.tolist()
    one = stored.to_xarray().set_index(problem=["group_id", "sample"])
    chosen = one.sel(group_id=stored.groups[4], sample=1)
    assert str(chosen["problem_id"].values) == stored.ids[4]


def test_more_samples_go_on_and_those_that_are_there_stay(
    bundled_model: MaskedDiffusionModel, once: Path, thrice: Path, tmp_path: Path
) -> None:
    path = tmp_path / "grown"
    for samples, done, resumed in ((1, 10, 0), (2, 10, 10), (3, 10, 20), (2, 0, 20)):
        result = run(
            "generated:10",
            out=path,
            model=bundled_model,
            samples=samples,
            execution=SMALL,
            **SHORT,
        )
        assert (result.done, result.resumed) == (done, resumed)
    assert tokens(path) == tokens(thrice)
    assert json.loads((path / "run.json").read_text())["data"]["samples"] == 3
    assert verify_run(path).ok and verify_run(path).n_problems == 30
    assert coverage(open_run(path)).random and not coverage(open_run(path)).note


def test_what_stands_under_a_samples_id_is_not_mixed_up(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    file = tmp_path / "problems.jsonl"
    lines = [{"id": name, "question": "1 + 1?", "answer": "2"} for name in ("a", "a#1")]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "run"
    run(file, out=out, ids=["a#1"], model=bundled_model, **SHORT)
    with pytest.raises(ConfigError, match="holds sample 0 of problem 'a#1' under the id 'a#1'"):
        run(file, out=out, ids=["a"], model=bundled_model, samples=2, **SHORT)
    assert list(open_run(out).ids) == ["a#1"]


def test_a_problem_with_samples_is_read_back_as_it_was(tmp_path: Path) -> None:
    sampled = with_samples([problem("ä"), problem("b")], 2)
    write_problems(tmp_path / "problems.jsonl", sampled)
    assert load_problems(tmp_path / "problems.jsonl") == sampled


def test_samples_of_a_problem_are_drawn_one_after_the_other() -> None:
    asked = [problem(f"p{number}") for number in range(40)]
    prompts = [Prompt(each, 0, 0, (1,), ()) for each in reversed(with_samples(asked, 12))]
    order = [prompt.problem for prompt in in_drawing_order(prompts)]
    groups = [each.group_id for each in order[::12]]
    assert groups == sorted((each.id for each in asked), key=draw_key)
    assert [each.group_id for each in order] == [name for name in groups for _ in range(12)]
    assert [each.sample for each in order] == list(range(12)) * 40


def test_a_run_cut_short_has_drawn_problems_at_random(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        assert progress.problems == 16 and progress.total == 64
        if progress.done == 22:
            raise KeyboardInterrupt

    more: dict[str, Any] = {"model": bundled_model, "samples": 4, "execution": SMALL, **SHORT}
    with pytest.raises(KeyboardInterrupt):
        run("generated:16", out=tmp_path, on_progress=stop, **more)
    cut = open_run(tmp_path)
    held = coverage(cut)
    asked = sorted({each.group_id for each in cut.problems}, key=draw_key)
    assert held.random and held.whole == held.problems == 16 and held.has_several
    assert set(cut.groups) == set(asked[: held.drawn]) and held.drawn < 8
    whole = [name for name in set(cut.groups) if cut.groups.count(name) == 4]
    assert len(whole) >= held.drawn - 2
    missing = 64 - len(cut)
    assert held.note.startswith(f"unfinished: {missing} of 64 samples of 16 problems missing (")
    assert held.scope == f"for the whole of 16 from {held.drawn} drawn at random"
    status = read_status(tmp_path)
    assert status is not None and status["state"] == "interrupted"
    run("generated:16", out=tmp_path, **more)
    assert len(open_run(tmp_path)) == 64 and verify_run(tmp_path).ok


def stored_part(groups: list[str], samples: int, kept: set[int], **info: Any) -> Any:
    """A run of which the rows `kept` of all samples are stored."""
    everything = with_samples([problem(name) for name in groups], samples)
    ids = [each.id for number, each in enumerate(everything) if number in kept]
    group_of = {each.id: each.group_id for each in everything}
    said = {"data": {"n_problems": len(groups)}, "drawing": "sha256 of the problem id", **info}
    return SimpleNamespace(
        ids=ids,
        problems=everything,
        path=Path("nowhere"),
        info=said,
        groups=[group_of[name] for name in ids],
    )


def test_a_grown_run_is_random_and_one_of_chosen_problems_is_not() -> None:
    groups = [f"p{number}" for number in range(30)]
    firsts = {4 * number for number in range(30)}
    held = coverage(stored_part(groups, 4, firsts))
    assert held.random and held.drawn == held.whole == 30  # every problem has a sample
    last_drawn = sorted(range(30), key=lambda number: draw_key(groups[number]))[20:]
    chosen = {4 * number + sample for number in last_drawn for sample in range(4)}
    assert not coverage(stored_part(groups, 4, chosen)).random
    assert not coverage(stored_part(groups, 4, firsts, drawing="")).random


def test_the_interval_for_the_whole_counts_problems_drawn() -> None:
    groups = [f"p{number}" for number in range(20)]
    drawn = sorted(range(20), key=lambda number: draw_key(groups[number]))[:8]
    kept = {4 * number + sample for number in drawn for sample in range(4)}
    run = stored_part(groups, 4, kept)
    right = {groups[number] for number in drawn[:6]}
    verdict = np.array([name in right for name in run.groups], np.uint8)
    found = whole_interval(run, verdict, coverage(run), Groups.of(run.groups))
    assert found == pytest.approx(list(wilson(6, 8, whole=20)))
    # Half of each problem's samples: each is drawn by half.
    run = stored_part(groups, 4, {4 * number + sample for number in range(20) for sample in (0, 1)})
    verdict = np.array([int(name[1:]) < 10 for name in run.groups], np.uint8)
    low, high = whole_interval(run, verdict, coverage(run), Groups.of(run.groups)) or (0, 0)
    plain = wilson(10, 20)
    assert plain.low < low < 0.5 < high < plain.high


def test_two_workers_make_the_same_samples(thrice: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    path = tmp_path / "workers"
    execution = Execution(device="cpu", workers=2, token_budget=300, shard_problems=4)
    result = run("generated:10", out=path, samples=3, execution=execution, **SHORT)
    assert result.finished == "30 samples of 10 problems" and not result.failed
    assert tokens(path) == tokens(thrice) and verify_run(path).ok


def test_a_lost_shard_is_made_again(
    bundled_model: MaskedDiffusionModel, thrice: Path, tmp_path: Path
) -> None:
    path = tmp_path / "damaged"
    more: dict[str, Any] = {"model": bundled_model, "samples": 3, "execution": SMALL, **SHORT}
    run("generated:10", out=path, **more)
    shard = sorted((path / "shards").glob("*.h5"))[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert not verify_run(path).ok
    result = run("generated:10", out=path, **more)
    assert 0 < result.done < 30 and result.done + result.resumed == 30
    assert list((path / "quarantine").iterdir()) and verify_run(path).ok
    assert tokens(path) == tokens(thrice)


def test_an_estimate_is_of_what_is_missing(
    bundled_model: MaskedDiffusionModel, once: Path, tmp_path: Path
) -> None:
    def disk(out: Path, samples: int) -> float:
        return estimate_run(
            "generated:10", out=out, model=bundled_model, samples=samples, **SHORT
        ).disk_bytes

    alone = disk(tmp_path / "new", 1)
    added = disk(tmp_path / "new", 2) - alone
    assert disk(tmp_path / "new", 4) == pytest.approx(alone + 3 * added, rel=0.1) and added > 0
    assert disk(once, 2) == pytest.approx(alone, rel=0.1)
    assert json.loads((once / "run.json").read_text())["data"]["samples"] == 1


def test_a_sweep_of_samples(bundled_model: MaskedDiffusionModel, tmp_path: Path) -> None:
    short = {name: value for name, value in SHORT.items() if name != "steps"}
    swept = sweep(
        "generated:3",
        out=tmp_path,
        model=bundled_model,
        samples=2,
        exact=False,
        steps=[2, 4],
        **short,
    )
    assert [each.result.finished for each in swept.runs] == ["6 samples of 3 problems"] * 2


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    flags = ["--steps", "4", "--gen-length", "8", "--block-length", "8", "--out", "run"]

    def type_(*words: str) -> Any:
        return CliRunner().invoke(group, [*words, *(flags if words[0] == "run" else [])])

    return type_


def test_the_command_line(shell: Callable[..., Any], tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text("[run]\nsamples = 2\ntemperature = 0.8\n")
    done = shell("run", "--problems", "generated:4", "--config", str(config))
    assert done.exit_code == 0, done.output
    assert "4 problems from generated:4, 2 samples each" in done.output
    assert "8 samples of 4 problems finished in run" in done.output
    shown = shell("inspect", "run", "--json")
    content = json.loads(shown.output)
    assert (content["asked"], content["problems"], content["stored"]) == (8, 4, 8)
    refused = shell("run", "--problems", "generated:4", "--samples", "0")
    assert refused.exit_code == 2 and "--samples" in refused.output
    cold = shell("run", "--problems", "generated:4", "--samples", "3", "--temperature", "0")
    assert cold.exit_code == 1
    assert "samples is 3 with temperature 0" in f"{cold.exception}{cold.output}"


def test_counts_say_of_what_they_are() -> None:
    progress = Progress(6, 2, 0, 40, 3, 3.0, problems=10)
    assert describe(progress).startswith("8/40 samples of 10 problems, 2 from before, 3/6 correct")
    assert "7200 samples/h" in describe(progress)
    assert describe(progress._replace(problems=40)).startswith("8/40 problems, ")
    branches = progress._replace(are_branches=True)
    assert describe(branches).startswith("8/40 branches, 2 from before, 3/6 correct")
    assert "7200 branches/h" in describe(branches)
    assert unit_of(3, 0) == unit_of(3, 3) == "problem"
    failed = RunResult(Path("x"), 3, 4, {"p#1": "no"}, 2)
    assert failed.finished == "7 samples of 2 problems"
    assert failed._replace(problems=8).finished == "7 problems"
    assert failed._replace(done=0, resumed=1, problems=1).finished == "1 sample of 1 problem"
    assert failed._replace(are_branches=True).finished == "7 branches"
    assert (
        repr(failed) == "<RunResult x: 7 samples of 2 problems, 3 of them now, 4 before, 1 failed>"
    )
