"""Runs side by side: every number with its error, what is missing said, and the CSV reads back."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from click.testing import CliRunner

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.compare.side_by_side import NUMBERS, compare_text, write_comparison
from diffengine.analysis.results import load_analysis
from diffengine.engine.cli.command_line import group


def test_table_and_csv(make_run: Callable[..., Any], tmp_path: Path) -> None:
    runs = [make_run(12, 8, 8), make_run(20, 8, 8)]
    runs[1]["verdict"][:] = 0
    for name, run in zip(("alpha", "beta"), runs, strict=True):
        run.path = Path(name)
        run.info["config"]["remasking"] = {"alpha": "low_confidence", "beta": "random"}[name]
    found = [analyze_run(run) for run in runs]
    text = compare_text(found)
    lines = {line[:33].strip(): line[33:].split("  ") for line in text.splitlines()}
    assert "alpha" in text and "random" in text and "counterfactual" in text
    rates = [part.strip() for part in lines["accuracy (Pass)"] if part.strip()]
    assert rates == ["50 % (25.4 to 74.6)", "0 % (0 to 16.1)"]
    assert "insufficient" in text  # nothing is finally correct in the second
    rows = list(csv.DictReader(write_comparison(found, tmp_path / "comparison.csv").open()))
    assert len(rows) == 2 * len(NUMBERS)
    first = next(row for row in rows if (row["run"], row["quantity"]) == ("alpha", "accuracy"))
    assert (
        float(first["value"]) == 0.5
        and first["n"] == "12"
        and first["remasking"] == "low_confidence"
    )
    empty = next(
        row
        for row in rows
        if (row["run"], row["quantity"]) == ("beta", "emergence/first_hit_by_50_correct")
    )
    assert empty["value"] == "" and empty["status"].startswith("insufficient")


def test_a_run_without_blocks_has_no_block_length(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    runs = [make_run(12, 8, 8), make_run(12, 8, 8)]
    del runs[1].info["config"]["block_length"]
    analyses = [analyze_run(run) for run in runs]
    line = next(row for row in compare_text(analyses).splitlines() if row.startswith("block"))
    assert line.split()[1:] == ["4", "none"]
    rows = list(csv.DictReader(write_comparison(analyses, tmp_path / "comparison.csv").open()))
    assert {row["block_length"] for row in rows} == {"4", "none"}


def test_the_command_line_takes_several_runs(tmp_path: Path) -> None:
    """From two run directories to files in both, a table and comparison.csv in the first."""
    made = _load("synthetic_run")
    paths = [
        str(made.make_run(tmp_path / name, 24, steps=24, positions=48, block=8))
        for name in ("one", "two")
    ]
    done = CliRunner().invoke(
        group, ["analyze", *paths, "--no-mi", "--no-tsne", "--k", "5", "--n-bins", "8"]
    )
    assert done.exit_code == 0, done.output
    assert "Runs side by side" in done.output and "not computed (diffengine analyze" in done.output
    assert (tmp_path / "one" / "comparison.csv").is_file() and not (
        tmp_path / "two" / "comparison.csv"
    ).exists()
    for name in ("one", "two"):
        assert (tmp_path / name / "comprehensive_dashboard.png").is_file()
        settings = load_analysis(tmp_path / name / "analysis.h5").info["settings"]
        assert (settings["k"], settings["n_bins"], settings["spike_threshold"]) == (5, 8, 0.1)


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, Path(__file__).parents[1].joinpath(f"{name}.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
