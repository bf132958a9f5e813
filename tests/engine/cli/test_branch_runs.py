"""`inspect` and `verify` look at the branch runs inside a run too, and what cannot be made of a
branch run is refused in a sentence."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffengine.engine import cli
from diffengine.engine.branching.branch import branch
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem, ProblemSet
from diffengine.engine.runs.run import run
from diffengine.engine.store import verify_run

PROBLEMS = ProblemSet(
    [Problem("a", "2 + 2?", "4"), Problem("b", "3 + 4?", "7")], [], "0", "two of them"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, random_model: MaskedDiffusionModel) -> Path:
    """A run with two branch runs: drawn, and after interventions."""
    out = tmp_path_factory.mktemp("branched") / "run"
    run(PROBLEMS, out=out, model=random_model, gen_length=8, steps=8, block_length=8, topk=4)
    branch(out, at=[0, 4], samples=3, temperature=1.0, model=random_model)
    branch(out, at=[4], do=["remask 0", "remask 1", "remask 2", "remask 3"], model=random_model)
    return out


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture
def folders(copy: Path) -> dict[str, Path]:
    """The branch runs by what they hold."""
    by_noise = {}
    for folder in (copy / "branches").iterdir():
        info = json.loads((folder / "run.json").read_text())
        by_noise[info["branches"]["noise"]] = folder
    assert sorted(by_noise) == ["fresh", "parent"]
    return by_noise


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """`diffengine ...` in this process: exit code, stdout, stderr."""
    handler = signal.getsignal(signal.SIGTERM)

    def called(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["diffengine", *map(str, arguments)])
        with pytest.raises(SystemExit) as over:
            cli.main()
        return int(over.value.code or 0), *capsys.readouterr()

    yield called
    signal.signal(signal.SIGTERM, handler)


def flip(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def a_shard(folder: Path) -> Path:
    return min((folder / "shards").glob("*.h5"))


def test_inspect_names_each_branch_run(copy: Path, folders: dict[str, Path], call) -> None:
    code, text, _ = call("inspect", copy)
    lines = [line for line in text.splitlines() if line.startswith("branch run ")]
    assert code == 0 and len(lines) == 2
    fresh = next(line for line in lines if str(folders["fresh"]) in line)
    assert "12 of 12 branches done; at steps 0, 4; 3 of each state, noise fresh" in fresh
    assert "after nothing; temperature 1, record answers" in fresh
    done = next(line for line in lines if str(folders["parent"]) in line)
    assert "6 of 6 branches done; at steps 4; 1 of each state, noise parent" in done
    assert "after remask 0, remask 1, remask 2 and 1 other intervention" in done


def test_inspect_says_it_to_machines(copy: Path, folders: dict[str, Path], call) -> None:
    _, text, _ = call("inspect", copy, "--json")
    by_path = {facts["path"]: facts for facts in json.loads(text)["branch_runs"]}
    assert set(by_path) == {str(folder) for folder in folders.values()}
    facts = by_path[str(folders["fresh"])]
    assert (facts["stored"], facts["asked"], facts["at"], facts["samples"]) == (12, 12, [0, 4], 3)


def test_inspect_counts_what_is_missing(copy: Path, folders: dict[str, Path], call) -> None:
    flip(a_shard(folders["fresh"]))
    verify_run(folders["fresh"], repair=True)
    _, text, _ = call("inspect", copy)
    assert "0 of 12 branches done" in text


def test_inspect_goes_on_where_a_branch_run_cannot_be_read(
    copy: Path, folders: dict[str, Path], call
) -> None:
    (folders["fresh"] / "run.json").write_text("{")
    code, text, _ = call("inspect", copy)
    assert code == 0
    assert f"{folders['fresh']}: cannot be read: " in text and "6 of 6 branches done" in text


def test_inspect_of_a_branch_run_says_whose_it_is(
    copy: Path, folders: dict[str, Path], call
) -> None:
    parent = json.loads((copy / "run.json").read_text())["run_id"]
    _, text, _ = call("inspect", folders["fresh"])
    line = next(line for line in text.splitlines() if line.startswith("branches of"))
    assert f"{parent}; at steps 0, 4; 3 of each state" in line


def test_a_run_without_branches_has_none(copy: Path, call) -> None:
    shutil.rmtree(copy / "branches")
    _, text, _ = call("inspect", copy, "--json")
    assert json.loads(text)["branch_runs"] == []
    _, text, _ = call("verify", copy)
    assert text.splitlines() == [f"{copy}: whole; 1 shard, 2 of 2 problems"]


def test_verify_has_a_line_for_each(copy: Path, folders: dict[str, Path], call) -> None:
    code, text, _ = call("verify", copy)
    assert code == 0
    assert text.splitlines()[0] == f"{copy}: whole; 1 shard, 2 of 2 problems"
    assert f"{folders['fresh']}: whole; 1 shard, 12 of 12 branches" in text
    assert f"{folders['parent']}: whole; 1 shard, 6 of 6 branches" in text


@pytest.mark.parametrize("kind", ["fresh", "parent"])
def test_damage_in_a_branch_run_is_found_and_repaired(
    kind: str, copy: Path, folders: dict[str, Path], call
) -> None:
    shard = a_shard(folders[kind])
    flip(shard)
    code, text, _ = call("verify", copy)
    assert code == 1 and shard.name in text
    assert f"{copy}: whole" in text and f"{folders[kind]}: DAMAGED" in text
    code, text, _ = call("verify", copy, "--json")
    said = json.loads(text)
    assert code == 1 and not said["ok"] and said["findings"] == []
    of_branches = {each["run"]: each["ok"] for each in said["branch_runs"]}
    assert of_branches == {str(folders[name]): name != kind for name in folders}

    assert call("verify", copy, "--repair")[0] == 1
    assert not shard.exists() and (folders[kind] / "quarantine").is_dir()
    assert call("verify", copy)[0] == 0


def test_damage_in_the_run_itself_counts_as_before(copy: Path, call) -> None:
    flip(a_shard(copy))
    code, text, _ = call("verify", copy)
    assert code == 1 and f"{copy}: DAMAGED" in text
    assert not json.loads(call("verify", copy, "--json")[1])["ok"]


def test_quick_looks_at_branch_runs_too(copy: Path, folders: dict[str, Path], call) -> None:
    shard = a_shard(folders["fresh"])
    shard.write_bytes(shard.read_bytes()[:-10])
    assert call("verify", "--quick", copy)[0] == 1


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_branch_run_that_lost_its_run_json_is_damaged(
    content: str | None, copy: Path, folders: dict[str, Path], call
) -> None:
    file = folders["fresh"] / "run.json"
    file.unlink() if content is None else file.write_text(content)
    code, text, _ = call("verify", copy)
    assert code == 1 and f"{folders['fresh']}: DAMAGED; " in text
    assert f"{folders['parent']}: whole" in text
    said = json.loads(call("verify", copy, "--json")[1])
    assert "run.json" in next(e["fault"] for e in said["branch_runs"] if not e["ok"])


def test_a_folder_that_never_became_a_branch_run_is_no_damage(copy: Path, call) -> None:
    (copy / "branches" / "begun").mkdir()
    (copy / "branches" / "a file").write_text("")
    assert call("verify", copy)[0] == 0
    assert len(json.loads(call("inspect", copy, "--json")[1])["branch_runs"]) == 2


@pytest.mark.parametrize("command", [["analyze"], ["report"], ["export"]])
def test_what_is_read_with_its_parent_is_refused_alone(
    command: list[str], copy: Path, folders: dict[str, Path], call
) -> None:
    before = sorted(path.name for path in folders["fresh"].iterdir())
    code, _, err = call(*command, folders["fresh"])
    assert code == 2
    assert "is a branch run: its branches are continuations" in err
    assert str(copy.resolve()) in err and "Traceback" not in err
    assert sorted(path.name for path in folders["fresh"].iterdir()) == before
