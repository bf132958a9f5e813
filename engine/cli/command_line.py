"""The command line. Starts fast: click only; every command imports what it needs when it runs.

This is the one file of the engine that reaches the analyses and the benchmarks, and only inside
functions.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ... import __version__
from ..checkout import hide_checkout_root
from .config_file import config_option

if TYPE_CHECKING:
    from ...analysis.results import Analysis

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
DASHBOARD = "comprehensive_dashboard.png"
COMMANDS = {
    "run": "diffengine.engine.cli.run:run",
    "estimate": "diffengine.engine.cli.run:estimate",
    "likelihood": "diffengine.engine.cli.likelihood:likelihood",
    "inspect": "diffengine.engine.cli.inspect:inspect",
    "verify": "diffengine.engine.cli.inspect:verify",
    "list": "diffengine.engine.cli.inspect:list_names",
    "doctor": "diffengine.engine.cli.inspect:doctor",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        order = [
            "run",
            "estimate",
            "analyze",
            "report",
            "likelihood",
            "inspect",
            "verify",
            "export",
        ]
        order += ["bench", "list", "doctor"]
        return [name for name in order if name in COMMANDS or name in self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            from ..registry import Registry

            command: click.Command | None = Registry("command", COMMANDS).load(cmd_name)
        else:
            command = super().get_command(ctx, cmd_name)
        if command is not None and not any(
            parameter.name == "config" for parameter in command.params
        ):
            command.params.append(config_option(group))
        return command


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=LazyGroup, context_settings=SETTINGS)
@click.version_option(__version__, message="%(prog)s %(version)s")
def group() -> None:
    """When, during denoising, does a diffusion language model know the answer?"""


group.params.append(config_option(group))

RUN = click.argument("path", metavar="RUN", type=click.Path(path_type=Path))


@group.command()
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
    help="Also the seed's KL and CKA of averaged logits; needs hidden states.",
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
def analyze(paths: tuple[Path, ...], method: str, plots: str, **settings: Any) -> None:
    """Compute every analysis of a run: analysis.h5, the dashboard, a summary, the seed's results
    file.

    Several runs are also compared with the first, problem by problem where they share problems, and
    put side by side: tables here before the summaries, and comparison.csv and comparison-paired.csv
    in the first one's folder.
    """
    analyses = [_analyze_one(path, plots, confidence_method=method, **settings) for path in paths]
    if len(analyses) > 1:
        _say_comparison(analyses, paths[0])
    for path, analysis in zip(paths, analyses, strict=True):
        _say_summary(path, analysis)


def _say_comparison(analyses: list[Analysis], folder: Path) -> None:
    from ...analysis.compare.paired_runs import compare_pairs, write_pairs
    from ...analysis.compare.side_by_side import NUMBERS, compare_text, write_comparison

    click.echo(compare_text(analyses).rstrip())
    pairs = write_pairs(compare_pairs(analyses, list(NUMBERS)), folder / "comparison-paired.csv")
    click.echo(f"\ncomparison: {write_comparison(analyses, folder / 'comparison.csv')}, {pairs}\n")


def _say_summary(path: Path, analysis: Analysis) -> None:
    from ...analysis.show.summary import summarise

    click.echo(summarise(analysis).rstrip())
    click.echo(f"\ndashboard: {path / DASHBOARD}\n".rstrip())


def _analyze_one(path: Path, plots: str, **settings: Any) -> Analysis:
    from ...analysis.analyze import analyze_run
    from ...analysis.original.results_pt import write_seed_results
    from ...analysis.results import save_analysis, save_unfinished
    from ...analysis.show.dashboard import draw_all, draw_dashboard
    from ...analysis.show.summary import write_summary
    from ..store import open_run

    saved = path / "analysis.h5"
    analysis = analyze_run(
        open_run(path), save=lambda part: save_unfinished(part, saved), **settings
    )
    save_analysis(analysis, saved)
    write_summary(analysis, path / "analysis_summary.txt")
    write_seed_results(analysis, path / "comprehensive_analysis_results.pt")
    draw_dashboard(analysis, path / DASHBOARD)
    if plots == "all":
        draw_all(analysis, path / "plots")
    return analysis


@group.command()
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


@group.command()
@RUN
@click.option("--format", "kind", type=click.Choice(["seed"]), default="seed", show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Directory.  [default: RUN/export-seed]"
)
def export(path: Path, kind: str, out: Path | None) -> None:
    """Write a run in another tool's files; `seed`: averaged_logit_trajectory.pt and its
    companions."""
    from ...analysis.original.logits_pt import export_seed
    from ..store import open_run

    for file in export_seed(open_run(path), out or path / f"export-{kind}"):
        click.echo(str(file))


@group.command()
@click.argument("part", metavar="PART")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bench/results"), show_default=True
)
def bench(part: str, out: Path) -> None:
    """Measure on this machine; each part takes under nine minutes and writes PART.json into a
    directory.

    PART: all, or one of suite, sanitizer, aot, kernels (kernels-bfloat16, kernels-float32),
    decoding. A part for which something is lacking here says so and is no error.
    """
    from ...bench.parts import FAILED, GROUPS, PARTS, run_parts

    if part not in (*GROUPS, *PARTS):
        raise click.UsageError(f"{part} is no part; there are: {', '.join((*GROUPS, *PARTS))}")
    failed = False
    for one in GROUPS.get(part, (part,)):
        (result,) = run_parts((one,), out)
        failed |= result["state"] == FAILED
        for row in result.get("rows", []):
            click.echo(f"  {json.dumps(row)}")
        why = "".join(
            f"; {word} {result[key]}"
            for key, word in (("error", ""), ("lacks", "lacks"))
            if result.get(key)
        )
        click.echo(f"{one:16} {result['state']} in {result['seconds']} s{why}")
    click.echo(f"results: {out}")
    if failed:
        sys.exit(EXIT_ERROR)


def analysis_tables() -> dict[str, list[str]]:
    """Names in the analyses' tables, for `diffengine list`."""
    from ...analysis import registry
    from ...analysis.show.plots import PANELS

    return {
        "metrics": list(registry.METRICS),
        "information estimators": list(registry.ESTIMATORS),
        "analyses": list(registry.DERIVED),
        "spike rules": list(registry.SPIKE_RULES),
        "curve models": list(registry.CURVE_MODELS),
        "early-exit rules": list(registry.EXIT_RULES),
        "plots": list(PANELS),
    }


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 error, 2 usage, 3 finished with failed problems,
    130 interrupted."""
    hide_checkout_root()
    from .failures import expected_failure

    try:
        sys.exit(group.main(prog_name="diffengine", standalone_mode=False))
    except click.exceptions.Abort:
        _interrupted()
    except KeyboardInterrupt:
        _interrupted()
    except click.exceptions.Exit as over:
        sys.exit(over.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_ERROR)
    except Exception as error:
        code = expected_failure(error)
        if code is None:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(code)


def _interrupted() -> None:
    click.echo("\ninterrupted; finished problems are published, the same command goes on", err=True)
    sys.exit(EXIT_INTERRUPTED)
