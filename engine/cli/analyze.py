"""`diffengine analyze`, `report` and `export`: what a finished run is made into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .arguments import RUN

if TYPE_CHECKING:
    from ...analysis.results import Analysis

DASHBOARD = "comprehensive_dashboard.png"


@click.command()
@click.argument("paths", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--method",
    type=click.Choice(
        ["answer_slot", "answer_slot_per_token", "softmax_sum", "max_prob", "mean_prob"]
    ),
    default="answer_slot",
    show_default=True,
    help="Confidence in the gold answer shown first.",
)
@click.option(
    "--spike-rule", type=click.Choice(["z", "2std", "basic"]), default="z", show_default=True
)
@click.option(
    "--spike-threshold",
    type=float,
    default=0.1,
    show_default=True,
    help="Gain for --spike-rule basic.",
)
@click.option(
    "--threshold-low", type=float, default=0.1, show_default=True, help="Where a transition starts."
)
@click.option(
    "--threshold-high", type=float, default=0.8, show_default=True, help="Where a transition ends."
)
@click.option(
    "--n-bins",
    type=click.IntRange(2),
    default=10,
    show_default=True,
    help="Bins of the MI by binning.",
)
@click.option(
    "--k",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Neighbours of the k-NN estimators.",
)
@click.option(
    "--answer-position",
    type=click.IntRange(0),
    help="Generated position at which every answer begins (a fixed slot).  [default: where each "
    "answer was found]",
)
@click.option(
    "--averaged",
    is_flag=True,
    help="Also the original suite's KL and CKA of averaged logits; needs hidden states.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="MODULE:OBJECT",
    help="A metric of your own, package.module:object. May be given several times.",
)
@click.option(
    "--estimator",
    "estimators",
    multiple=True,
    metavar="MODULE:OBJECT",
    help="An estimator of mutual information of your own. May be given several times.",
)
@click.option(
    "--mi/--no-mi", "mutual_information", default=True, help="Mutual information.  [default: mi]"
)
@click.option(
    "--tsne/--no-tsne", default=True, help="The t-SNE map, the slowest part.  [default: tsne]"
)
@click.option(
    "--plots", type=click.Choice(["dashboard", "all"]), default="dashboard", show_default=True
)
@click.option(
    "--panel",
    "panels",
    multiple=True,
    metavar="PACKAGE.MODULE:PANEL",
    help="A panel of your own at the end of the dashboard, or one of `diffengine list`. May be "
    "given several times.",
)
def analyze(
    paths: tuple[Path, ...], method: str, plots: str, panels: tuple[str, ...], **settings: Any
) -> None:
    """Compute every analysis of a run: analysis.h5, the dashboard, a summary, the original suite's
    results file.

    Several runs are also compared with the first, problem by problem where they share problems: how
    much faster each is, how far it strays, how accurate; then side by side. Tables here before the
    summaries; comparison.csv, comparison-paired.csv and tradeoff.png in the first one's folder. The
    directory of a sweep stands for its runs.
    """
    from ...analysis.show.plots import load_panel

    paths = _with_sweeps(paths)
    for name in panels:
        load_panel(name)  # refused before hours of work
    analyses = [
        _analyze_one(path, plots, panels, confidence_method=method, **settings) for path in paths
    ]
    if len(analyses) > 1:
        _say_comparison(analyses, paths)
    for path, analysis in zip(paths, analyses, strict=True):
        _say_summary(path, analysis)


def _with_sweeps(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The runs, each directory of a sweep replaced by those in it."""
    from ..runs.sweep_json import runs_of_sweep

    runs: list[Path] = []
    for path in paths:
        runs += runs_of_sweep(path) or [path]
    return tuple(runs)


def _say_comparison(analyses: list[Analysis], paths: Sequence[Path]) -> None:
    from ...analysis.compare.paired_runs import compare_pairs, write_pairs
    from ...analysis.compare.side_by_side import NUMBERS, compare_text, write_comparison
    from ...analysis.compare.tradeoff import tradeoff_lines
    from .tradeoff import say_tradeoff

    folder = paths[0]
    compared = say_tradeoff(paths, folder)
    click.echo(compare_text(analyses).rstrip())
    pairs = write_pairs(compare_pairs(analyses, list(NUMBERS)), folder / "comparison-paired.csv")
    more = tradeoff_lines(*compared, with_accuracy=False)
    table = write_comparison(analyses, folder / "comparison.csv", more=more)
    click.echo(f"\ncomparison: {table}, {pairs}\n")


def _say_summary(path: Path, analysis: Analysis) -> None:
    from ...analysis.show.sensitivity import NAME, has_map
    from ...analysis.show.summary import summarise

    click.echo(summarise(analysis).rstrip())
    if has_map(analysis):
        click.echo(f"\nsensitivity map: {path / NAME}")
    click.echo(f"\ndashboard: {path / DASHBOARD}\n".rstrip())


def _analyze_one(path: Path, plots: str, panels: tuple[str, ...], **settings: Any) -> Analysis:
    from ...analysis.analyze import analyze_run
    from ...analysis.original.results_pt import write_results
    from ...analysis.results import save_analysis, save_unfinished
    from ...analysis.show.dashboard import draw_dashboard
    from ...analysis.show.pages import draw_all
    from ...analysis.show.pivotal import NAME, write_pivotal_steps
    from ...analysis.show.sensitivity import draw_sensitivity, has_map
    from ...analysis.show.summary import write_summary
    from ..store import open_run

    saved = path / "analysis.h5"
    analysis = analyze_run(
        open_run(path), save=lambda part: save_unfinished(part, saved), **settings
    )
    save_analysis(analysis, saved)
    write_summary(analysis, path / "analysis_summary.txt")
    if "branching" in analysis.info:
        write_pivotal_steps(analysis, path / NAME)
    write_results(analysis, path / "comprehensive_analysis_results.pt")
    draw_dashboard(analysis, path / DASHBOARD, more=panels)
    if has_map(analysis):
        draw_sensitivity(path)
    if plots == "all":
        draw_all(analysis, path / "plots", more=panels)
    return analysis


@click.command()
@RUN
@click.option("--out", type=click.Path(path_type=Path), help="[default: RUN/report.html]")
@click.option("--max-problems", type=click.IntRange(1), default=200, show_default=True)
def report(path: Path, out: Path | None, max_problems: int) -> None:
    """Write report.html: one offline page with a step slider over every problem's canvas."""
    from ...analysis.analyze import analyze_run, analyze_run_again
    from ...analysis.results import load_analysis
    from ...analysis.show.report import write_report
    from ..store import open_run

    run = open_run(path)
    saved = path / "analysis.h5"
    analysis = load_analysis(saved) if saved.exists() else analyze_run(run)
    if stale := analysis.info.get("stale"):
        click.echo(
            f"{saved}: {stale}; the page's curves are computed anew from the run, {saved.name} "
            "stays as it is"
        )
        analysis = analyze_run_again(run, analysis)
    written = write_report(run, analysis, out or path / "report.html", max_problems=max_problems)
    click.echo(f"report: {written}")


@click.command()
@RUN
@click.option(
    "--format",
    "kind",
    type=click.Choice(["original", "seed"]),
    default="seed",
    help="`original`: the original suite's files; `seed`, an older name for it, is the default.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Directory.  [default: RUN/export-FORMAT]"
)
def export(path: Path, kind: str, out: Path | None) -> None:
    """Write a run as the original suite's files: averaged_logit_trajectory.pt and its
    companions."""
    from ...analysis.original.logits_pt import export_original
    from ..store import open_run

    for file in export_original(open_run(path), out or path / f"export-{kind}"):
        click.echo(str(file))
