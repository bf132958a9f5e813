"""`diffengine likelihood`: how probable the model finds the gold answers, of a run or of
problems."""

from __future__ import annotations

import json
import math
import signal
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..store.counts import count_text

if TYPE_CHECKING:
    from ..likelihood.cases import Case
    from ..likelihood.line import Line
    from ..models.loading import MaskedDiffusionModel
    from ..problems.read import Problem

    Prepared = tuple[Iterator[Case], list[Problem], MaskedDiffusionModel, dict[str, Any], Path]


@click.command()
@click.argument("source", metavar="RUN|PROBLEMS")
@click.option(
    "--kind",
    type=click.Choice(["bound", "sequential"]),
    default="bound",
    show_default=True,
    help="LLaDA's Monte Carlo bound, or exactly in the order surest position first (one forward a "
    "token).",
)
@click.option(
    "--context",
    type=click.Choice(["prompt", "generation"]),
    help="Behind the prompt alone, or in the finished text of a run.  [default: generation for a "
    "run, else prompt]",
)
@click.option(
    "--distractors",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Also the posterior of the gold answer among N others: gold answers of other problems, as "
    "many tokens long.",
)
@click.option(
    "--draws", type=click.IntRange(1), default=128, show_default=True, help="Draws of the bound."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of the draws.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Checkpoint directory.  [default: the run's; else ./llada-8b, else the bundled model]",
)
@click.option("--device", help="cpu, cuda or cuda:N.  [default: cuda if there is one]")
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), help="[default: as `diffengine run`]"
)
@click.option(
    "--prompt-style", type=click.Choice(["chat", "raw"]), help="[default: the run's, else chat]"
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N problems.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory.  [default: RUN/likelihood, or likelihood/<problems>]",
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on stdout.")
def likelihood(source: str, as_json: bool, **options: Any) -> None:
    """Log-likelihood of the gold answers, in nats with standard error. The same command resumes.

    RUN is a run directory; PROBLEMS a file, `-`, `samples` or `generated:N`. Writes
    <kind>-<context>.csv as it goes, and <kind>-<context>.h5 at the end. A problem without a gold
    answer, or without a place for it, says so in the column `skipped`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from ..likelihood.distractors import Distractors
    from ..likelihood.journal import Journal
    from ..likelihood.method import Method, measure
    from ..store import RunLock
    from ..store.disk import make_directory

    cases, problems, model, settings, out = _prepare(source, options)
    pool = Distractors(problems, model)
    number = options["distractors"]
    seed = options["seed"]
    method = Method(settings["kind"], draws=options["draws"], seed=seed)
    make_directory(out)
    with RunLock(out):
        journal = Journal(out, f"{settings['kind']}-{settings['context']}", settings)
        done = {line.problem_id for line in journal.lines}
        before = len(done)
        for case in cases:
            if case.problem_id in done:
                continue
            others = pool.draw(case.problem_id, case.answer, number, seed=seed)
            journal.add(measure(model, case, method, others))
            if not as_json and sys.stderr.isatty():
                so_far = count_text(len(journal.lines), "problem")
                click.echo(f"\r{so_far}", err=True, nl=False)
        file = journal.finish()
    _say(journal.lines, before, journal.path, file, as_json=as_json)


def _prepare(source: str, options: dict[str, Any]) -> Prepared:
    """(cases, the problems whose answers are distractors, model, settings, directory)."""
    is_run = (Path(source) / "run.json").is_file()
    context = options["context"] or ("generation" if is_run else "prompt")
    if context == "generation" and not is_run:
        raise click.UsageError(
            f"--context generation needs a run; {source} has no run.json. Use --context prompt"
        )
    return _of_run(Path(source), context, options) if is_run else _of_problems(source, options)


def _of_run(path: Path, context: str, options: dict[str, Any]) -> Prepared:
    from ..config import ConfigError
    from ..likelihood.cases import cases_after_prompt, cases_in_generation
    from ..store import open_run

    run = open_run(path)
    config = run.info["config"]
    known = run.info["model"]
    style = options["prompt_style"] or config["prompt_style"]
    if style != config["prompt_style"] and context == "generation":
        raise click.UsageError(
            f"--prompt-style {style}: the run's text follows a {config['prompt_style']} prompt"
        )
    model = _model(
        options["model"] or Path(config["model"]),
        options["device"],
        options["dtype"] or config["dtype"],
    )
    if model.fingerprint != known["fingerprint"]:
        raise ConfigError(
            f"{model.path} is not the model of {path}; give its checkpoint with --model"
        )
    # Other words around the question are of the run's own style.
    template = config.get("prompt_template", "") if style == config["prompt_style"] else ""
    stored = {problem.id: problem for problem in run.problems}
    cases = (
        cases_in_generation(run, model)
        if context == "generation"
        else cases_after_prompt(
            [stored[name] for name in run.ids], model, style=style, template=template
        )
    )
    settings = _settings(options, context, style, model, str(run.info["fingerprint"]))
    out = options["out"] or path / "likelihood"
    return _first(cases, options["limit"]), run.problems, model, settings, out


def _of_problems(source: str, options: dict[str, Any]) -> Prepared:
    from ..likelihood.cases import cases_after_prompt
    from ..problems.read import read_problems

    problems = read_problems([source])
    model = _model(options["model"], options["device"], options["dtype"])
    style = options["prompt_style"] or "chat"
    settings = _settings(options, "prompt", style, model, problems.sha256)
    out = options["out"] or Path("likelihood") / _stem(source)
    cases = cases_after_prompt(problems.problems, model, style=style)
    return _first(cases, options["limit"]), problems.problems, model, settings, out


def _stem(source: str) -> str:
    return "standard-input" if source == "-" else Path(source.replace(":", "-")).stem


def _model(path: Path | None, device: str | None, dtype: str | None) -> MaskedDiffusionModel:
    from ..likelihood.measure import refuse_blocks
    from ..models.loading import load_model
    from ..runs.plan import checkpoint_path

    model = load_model(checkpoint_path(path), device=device, dtype=dtype)
    refuse_blocks(model)
    return model


def _settings(
    options: dict[str, Any], context: str, style: str, model: MaskedDiffusionModel, problems: str
) -> dict[str, Any]:
    """What decides the numbers; `--limit` does not, so that more problems can be added later."""
    bound = options["kind"] == "bound"
    return {
        "kind": options["kind"],
        "context": context,
        "draws": options["draws"] if bound else 0,
        "seed": options["seed"] if bound or options["distractors"] else 0,
        "distractors": options["distractors"],
        "prompt_style": style,
        "dtype": str(model.dtype).removeprefix("torch."),
        "model": model.fingerprint,
        "problems": problems,
    }


def _first(cases: Iterator[Case], limit: int | None) -> Iterator[Case]:
    from itertools import islice

    return islice(cases, limit)


def _say(lines: list[Line], before: int, path: Path, file: Path, *, as_json: bool) -> None:
    known = [line for line in lines if not line.skipped]
    mean, stderr = _mean([line.nats for line in known])
    held = [line for line in known if line.distractors]
    among, among_stderr = _mean([line.posterior for line in held])
    if as_json:
        facts = {
            "csv": str(path),
            "hdf5": str(file),
            "done": len(lines) - before,
            "resumed": before,
            "measured": len(known),
            "skipped": len(lines) - len(known),
            "mean_nats": mean,
            "standard_error_nats": stderr,
            "with_distractors": len(held),
            "mean_posterior": among,
            "standard_error_posterior": among_stderr,
        }
        click.echo(
            json.dumps(
                {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in facts.items()}
            )
        )
        return
    resumed = f" ({before} from before)" if before else ""
    click.echo(
        f"{count_text(len(lines), 'problem')}{resumed}: {len(known)} measured, "
        f"{len(lines) - len(known)} skipped"
    )
    for reason, count in Counter(line.skipped for line in lines if line.skipped).items():
        click.echo(f"skipped: {count}: {reason}")
    if known:
        error = _error(stderr, len(known))
        tokens = sum(line.tokens for line in known)
        per_token = sum(line.nats for line in known) / tokens
        click.echo(
            f"mean log-likelihood of the gold answer {mean:.4g}{error} nats ({_n(len(known))}), "
            f"{per_token:.4g} nats per token"
        )
    if held:
        chance = sum(1 / (1 + line.distractors) for line in held) / len(held)
        error = _error(among_stderr, len(held))
        click.echo(
            f"mean posterior of the gold answer among its distractors {among:.4g}{error} "
            "probability "
            f"({_n(len(held))}, chance {chance:.3g})"
        )
    click.echo(f"written: {path}, {file}")


def _error(stderr: float, n: int) -> str:
    return f" +- {stderr:.2g}" if n > 1 else ""


def _n(n: int) -> str:
    return f"n = {n}" if n > 1 else "n = 1, no interval"


def _mean(values: list[float]) -> tuple[float, float]:
    n = len(values)
    if not n:
        return math.nan, math.nan
    error = statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
    return statistics.fmean(values), error
