"""The benchmarks' own arithmetic: parity before speed, and a part that leaves its record. Nothing
here is timed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from diffengine.bench import kernels, structure
from diffengine.bench import parts as everything
from diffengine.bench import sanitizer as exercise
from diffengine.bench.kernels import Task, compare, head_cost, kernels_lines
from diffengine.bench.llada_8b import Shape, decoding_report
from diffengine.bench.measure import like_llada
from diffengine.bench.providers import (
    EAGER,
    OURS,
    Question,
    Unavailable,
    errors,
    has_parity,
    providers,
    question,
)
from diffengine.engine.cli.command_line import group

CPU = torch.device("cpu")


def asked(vocabulary: int = 501) -> Question:
    return question(
        *(like_llada(9, vocabulary, dtype=torch.float32, device=CPU, seed=s) for s in (0, 1))
    )


@pytest.mark.parametrize("task", EAGER)
def test_ours_and_eager_have_parity_and_a_wrong_answer_has_not(task: str) -> None:
    q = asked()
    for provide in (EAGER[task], OURS[task]):
        assert (measured := errors(provide(q), q)) and has_parity(measured)
    answer = OURS[task](q)
    for name, right in answer.items():
        if name in ("counted", "margin"):
            continue
        wrong = (right + 1) % 501 if right.dtype == torch.int64 else right + 1e-2
        assert not has_parity(errors(answer | {name: wrong}, q)), name
    impossible = {"drawn": q.logits.argmin(-1)}
    q.logits.scatter_(1, impossible["drawn"][:, None], -100.0)
    assert not has_parity(errors(impossible, q))


def test_no_speed_up_is_stated_without_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(q: Question) -> dict[str, torch.Tensor]:
        raise Unavailable("it is not installed")

    def broken(q: Question) -> dict[str, torch.Tensor]:
        raise ValueError("no such shape\nand more")

    wrong = {
        "wrong": lambda q: {"lse": EAGER["stats"](q)["lse"] + 1},
        "absent": absent,
        "broken": broken,
    }
    monkeypatch.setattr(
        kernels, "providers", lambda task: {"eager": EAGER[task], "ours": OURS[task]} | wrong
    )
    rows = {r["provider"]: r for r in compare(Task("stats", 4, torch.float32, 301), 1.0, CPU)}
    assert rows["ours"]["speed_up"] > 0 and rows["ours"]["error"]["lse"] < 1e-5
    assert rows["wrong"]["parity"] is False and rows["wrong"]["speed_up"] is None
    assert rows["absent"]["not_run"] == "it is not installed" and rows["absent"]["speed_up"] is None
    monkeypatch.setattr(
        kernels, "providers", lambda task: {"eager": wrong["wrong"], "ours": OURS[task]}
    )
    assert [r["speed_up"] for r in compare(Task("stats", 4, torch.float32, 301), 1.0, CPU)] == [
        None,
        None,
    ]
    assert (
        rows["broken"]["failed"] == "ValueError: no such shape"
        and rows["broken"]["speed_up"] is None
    )


def test_every_task_has_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "diffengine.bench.providers.compiled", lambda provide: provide
    )  # slow to compile here
    monkeypatch.setattr(kernels, "ceilings", lambda device: {"copy_gb_s": 1.0})
    first, *rows = kernels_lines(torch.float32, sizes=(9,), vocabulary=501)
    assert [row["vocabulary"] for row in rows if row["task"] == "passes"] == [560, 501]
    rows = [row for row in rows if row["task"] != "passes"]
    assert first["hardware"]["torch"] == torch.__version__ and "GPU" in first["note"]
    assert {row["task"] for row in rows} == set(kernels.TASKS) == set(EAGER) == set(OURS)
    assert all("error" in row or "not_run" in row for row in rows)
    assert next(r for r in rows if r["provider"].startswith("liger"))["not_run"].startswith(
        "liger-kernel"
    )
    assert "torch.compile" in providers("stats+kl")
    row = head_cost(9, 16, 501, dtype=torch.float32, device=CPU)
    assert row["parity"] and row["step_with_kl_and_top_16_ms"] > 0


def test_decoding_runs_at_a_tiny_shape() -> None:
    shape = Shape(
        layers=1, width=32, inner=48, heads=2, vocabulary=97, problems=3, prompt=5, generated=6
    )
    report = decoding_report(shape, CPU, torch.float32)
    assert report["shape"]["vocabulary"] == 97 and report["speed_up"] > 0
    assert Shape().vocabulary == 126464  # and by default it is LLaDA-8B's


@pytest.mark.usefixtures("interpreted")
def test_every_kernel_is_exercised_and_an_error_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercise, "SHAPES", ((2, 7), (1, 261)))
    assert [row["ok"] for row in exercise.exercise(CPU)] == [True] * 4
    monkeypatch.setitem(exercise.TOLERANCE, "entropy", -1.0)
    assert not any(row["ok"] for row in exercise.exercise(CPU))


def test_the_layers_are_exercised_and_an_error_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffengine.kernels import layers

    rows = list(exercise.exercise_layers(CPU))
    assert [row["ok"] for row in rows] == [True] * 2
    assert {"sum", "norm", "rotated", "gated"} == set(rows[0]["error"])
    monkeypatch.setattr(layers, "gated", lambda gate, up: gate * up)
    assert not any(row["ok"] for row in exercise.exercise_layers(CPU))


STRUCTURE = '''"""A file.

Two more lines.
"""

# why
LIMIT = 3
"""A sentence under a constant."""


def first(a: int, *, b: int = 0) -> int:
    """What it does."""
    low, high = a, b
    total = sum(x for x in range(low) if x)
    return total if high else 0  # or nothing


async def second(a, b, c, d, e, f):
    return a
'''


def test_the_figures_of_a_small_file() -> None:
    figures = structure.measure_file(STRUCTURE)
    assert figures == structure.FileFigures(
        lines=19,
        code_lines=7,
        tokens=3 + 18 + 7 + 15 + 6 + 17 + 2,
        comments=2,
        docstring_lines=6,
        function_lines=[5, 2],
        parameters=[2, 6],
        packed_assignments=1,
        comprehensions=1,
        ternaries=1,
        long_lines=0,
    )


def test_the_figures_of_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "small.py").write_text(STRUCTURE)
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "long.py").write_text(f"x = {'1' * 100}\n")
    figures = structure.measure(sorted(tmp_path.glob("*.py")))
    assert (figures.files, figures.lines, figures.file_longest) == (3, 20, 19)
    assert (figures.function_longest, figures.functions_over_50) == (5, 0)
    assert (figures.over_5_parameters, figures.long_lines) == (1, 1)
    assert figures.tokens_per_line == pytest.approx(71 / 8)
    assert figures.ternaries == pytest.approx(1000 / 8)
    assert structure.measure([tmp_path / "empty.py"]).tokens_per_line == 0
    structure.main([str(tmp_path)])
    assert capsys.readouterr().out.startswith(f"{tmp_path.name}: files 3, lines 20, ")


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")


def test_on_a_gpu_the_sanitizer_has_two_tools_and_the_suite_nothing_to_lack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(everything, "_has_gpu", lambda: True)
    monkeypatch.setattr(everything.shutil, "which", lambda name: f"/cuda/{name}")
    commands = everything.plan("sanitizer").commands
    assert [command[2] for command in commands] == ["memcheck", "racecheck"]
    assert all(command[-1] == "diffengine.bench.sanitizer" for command in commands)
    assert not any(everything.plan(part).lacks for part in everything.PARTS)
    monkeypatch.setattr(everything.shutil, "which", lambda name: None)
    assert everything.plan("sanitizer").lacks.startswith("compute-sanitizer")


def test_the_suite_knows_every_test_that_needs_a_gpu() -> None:
    tests = everything.ROOT / "tests"
    marked = []
    for path in tests.rglob("test_*.py"):
        outside = "kernels" not in path.relative_to(tests).parts and path.name != "test_bench.py"
        if outside and "pytest.mark.gpu" in path.read_text(encoding="utf-8"):
            marked.append(path.relative_to(everything.ROOT).as_posix())
    assert sorted(marked) == sorted(everything.MARKED_TESTS)


SAY = (
    "import json, sys, time; print('words'); print(json.dumps({'provider': 'ours', 'parity': "
    "%s}), flush=True); %s"
)


@pytest.mark.parametrize(
    ("parity", "end", "state", "error"),
    [
        ("True", "", everything.DONE, None),
        ("False", "", everything.FAILED, "1 of our rows are off"),
        ("True", "sys.exit(3)", everything.FAILED, "ended with 3"),
        ("True", "time.sleep(60)", everything.FAILED, "was stopped"),
    ],
)
def test_a_part_leaves_what_it_had_said(
    monkeypatch: pytest.MonkeyPatch, parity: str, end: str, state: str, error: str | None
) -> None:
    monkeypatch.setattr(everything, "LIMIT_SECONDS", 5 if "sleep" in end else 60)
    result = everything.run_part(
        everything.Plan(([sys.executable, "-c", SAY % (parity, end)],), "a GPU")
    )
    assert result["state"] == state and result["lacks"] == "a GPU"
    assert [row["provider"] for row in result["rows"]] == ["ours"]
    assert error is None or error in result["error"]


def test_what_cannot_run_here_is_no_error_and_a_failure_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everything, "run_part", lambda plan: {"state": plan.lacks})
    monkeypatch.setattr(everything, "plan", lambda part: everything.Plan((), states[part]))
    states: dict[str, Any] = {part: everything.DONE for part in everything.PARTS}
    states["sanitizer"] = everything.NOT_RUN
    done = CliRunner().invoke(group, ["bench", "all", "--out", str(tmp_path)])
    assert done.exit_code == 0 and "sanitizer        not run" in done.output, done.output
    said = json.loads((tmp_path / "report.json").read_text())
    assert list(said) == list(everything.PARTS) and said["sanitizer"]["state"] == everything.NOT_RUN
    states["kernels-float32"] = everything.FAILED
    assert CliRunner().invoke(group, ["bench", "kernels", "--out", str(tmp_path)]).exit_code == 1
    assert (
        json.loads((tmp_path / "report.json").read_text())["kernels-float32"]["state"]
        == everything.FAILED
    )
    assert CliRunner().invoke(group, ["bench", "nonsense"]).exit_code == 2


def test_parts_are_planned_without_what_may_be_missing() -> None:
    """On a lent GPU there is no installation: only torch, triton, transformers, h5py, click,
    matplotlib, scipy."""
    absent = (
        "faiss",
        "ray",
        "sklearn",
        "openTSNE",
        "pytest",
        "_pytest",
        "xarray",
        "pandas",
        "cuml",
        "liger_kernel",
    )
    code = f"""
import importlib.abc, importlib.util, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {absent!r}: raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {absent!r} else real(name, *rest)
from diffengine.bench import aot, kernels, llada_8b, sanitizer
from diffengine.bench.parts import PARTS, plan
import diffengine.engine.cli.command_line
found = [plan(part) for part in PARTS]
assert 'pytest' not in str([one.commands for one in found]), found
assert plan('suite').commands and plan('aot').commands
some = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == 'triton' else some(name, *rest)
assert plan('suite').lacks == plan('aot').lacks == 'triton' and plan('kernels-float32').commands
importlib.util.find_spec = some
assert all(one.commands or one.lacks for one in found)
import transformers; transformers.LlamaForCausalLM, llada_8b.random_network
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_an_installed_package_says_that_it_holds_no_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everything, "ROOT", tmp_path)  # a wheel has no tests/ beside its packages
    installed = everything.plan("suite")
    assert (
        "the tests, which an installed package does not hold (run this in a checkout)"
        in installed.lacks
    )
    assert [command[-1] for command in installed.commands] == ["diffengine.bench.sanitizer"]
