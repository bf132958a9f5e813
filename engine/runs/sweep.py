"""A sweep: several runs of the same problems, one after the other in one directory, and with them
the exact run that they are measured from.

`sweep` is the whole of `diffengine sweep` but for its table, which `analysis/compare/` makes.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..config import ConfigError
from ..models.bundled import bundled_name
from ..models.loading import MaskedDiffusionModel
from ..presets import remarks
from ..problems.read import ProblemSet
from ..store import RunLock
from ..store.counts import count_text
from ..store.disk import make_directory
from ..store.sizes import size_text
from .disk_need import ASKED_SCHEDULES, Workload, disk_need, free_disk, refuse_if_too_large
from .estimate import Estimate
from .execution import Execution
from .grid import GridRun, exact_settings, folder_name, grid_runs, on_preset, varied_text
from .passes import passes_of
from .plan import Plan, Request, Source, default_out, plan_run
from .run import Progress, RunResult, estimate_run, run
from .sweep_json import describe_sweep, enter_sweep, write_sweep

logger = logging.getLogger(__name__)

EXACT = "exact"


class PlannedRun(NamedTuple):
    """A run of a sweep that can start. `reference`: the name of the run that it is measured from,
    its own where it is measured from none."""

    name: str
    settings: dict[str, Any]
    plan: Plan
    reference: str


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that can start. `content` is its sweep.json."""

    out: Path
    runs: list[PlannedRun]
    problems: ProblemSet
    model: MaskedDiffusionModel
    execution: Execution
    content: dict[str, Any]
    samples: int = 1


class SweepProgress(NamedTuple):
    """How far a sweep is: which of how many runs, from 1, and how far that one is."""

    name: str
    number: int
    runs: int
    progress: Progress


class SweptRun(NamedTuple):
    """One run of a finished command. `reference` as in `PlannedRun`."""

    name: str
    reference: str
    result: RunResult


class SweepResult(NamedTuple):
    """What a finished sweep leaves: where, and its runs in order. `sweep.json` there may name more,
    of earlier commands."""

    path: Path
    runs: list[SweptRun]

    @property
    def failed(self) -> int:
        """How many problems failed, over all runs."""
        return sum(len(swept.result.failed) for swept in self.runs)


def sweep(
    problems: Source = "samples",
    *,
    policy: str | Sequence[str] | None = None,
    exact: bool = True,
    out: str | Path | None = None,
    model: str | Path | MaskedDiffusionModel | None = None,
    limit: int | None = None,
    ids: Collection[str] | None = None,
    skip_bad: bool = False,
    execution: Execution | None = None,
    on_progress: Callable[[SweepProgress], None] | None = None,
    preset: str | None = None,
    samples: int = 1,
    **settings: Any,
) -> SweepResult:
    """Make a run of each combination of values; the same call goes on where an earlier one stopped.

    A list or tuple for an option of a policy is several values; `policy` may be several as well,
    and each takes those options that it has. `exact` adds the run with one token a step that the
    others are measured from. Raises as `run` does, ConfigError also for a directory that holds
    another sweep; whatever can be refused is refused before anything is written.
    """
    request = Request(
        problems,
        out=out,
        model=model,
        limit=limit,
        ids=ids,
        skip_bad=skip_bad,
        execution=execution or Execution(),
        settings=settings,
        preset=preset,
        weights=execution is None or not execution.distributed,
        samples=samples,
    )
    policies = [policy] if isinstance(policy, str) else list(policy or ())
    plan = plan_sweep(request, policies, exact=exact)
    return run_sweep(plan, on_progress or (lambda progress: None))


def plan_sweep(request: Request, policies: Sequence[str], *, exact: bool) -> SweepPlan:
    """All runs of a sweep, each planned as `run` plans it; `request.settings` may hold several
    values. Writes nothing; raises as `sweep`."""
    settings: Mapping[str, Any] = request.settings
    if request.preset is not None:
        policies, settings = on_preset(request.preset, policies, settings)
    grid = grid_runs(policies or [request.policy()], settings)
    problems = request.read_problems()
    model = replace(request, settings=settings).load_model()
    shared = replace(request, problems=problems, model=model, preset=None)

    runs = _planned(shared, grid, exact=exact)
    out = Path(request.out) if request.out is not None else _default_out(problems, runs)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; give --out a directory")
    runs = [each._replace(plan=replace(each.plan, out=out / each.name)) for each in runs]
    _refuse_too_large(runs, out)

    first = runs[0].plan.info
    fresh = describe_sweep(first, [_record(each) for each in runs], preset=request.preset)
    if request.preset is not None:
        _warn_of_preset(request.preset, model, str(settings.get("prompt_template", "")))
    content = enter_sweep(out, fresh)
    return SweepPlan(out, runs, problems, model, request.execution, content, request.samples)


def run_sweep(plan: SweepPlan, on_progress: Callable[[SweepProgress], None]) -> SweepResult:
    """Make the runs of a plan that are not there yet, one after the other."""
    make_directory(plan.out)
    done = []
    with RunLock(plan.out):
        write_sweep(plan.out, plan.content)
        for number, planned in enumerate(plan.runs, 1):

            def report(progress: Progress, at: int = number, name: str = planned.name) -> None:
                on_progress(SweepProgress(name, at, len(plan.runs), progress))

            result = run(
                plan.problems,
                out=planned.plan.out,
                model=_model_for(plan),
                execution=plan.execution,
                on_progress=report,
                samples=plan.samples,
                **planned.settings,
            )
            done.append(SweptRun(planned.name, planned.reference, result))
    return SweepResult(plan.out, done)


def estimate_sweep(plan: SweepPlan) -> dict[str, Estimate]:
    """What each run of a plan still has to do, by name. Writes nothing."""
    needs = {}
    for planned in plan.runs:
        needs[planned.name] = estimate_run(
            plan.problems,
            out=planned.plan.out,
            model=_model_for(plan),
            execution=plan.execution,
            samples=plan.samples,
            **planned.settings,
        )
    return needs


def _model_for(plan: SweepPlan) -> MaskedDiffusionModel | Path:
    """The loaded model, or where it lies: workers load their own."""
    return plan.model.path if plan.execution.distributed else plan.model


def _planned(shared: Request, grid: Sequence[GridRun], *, exact: bool) -> list[PlannedRun]:
    """The grid's runs behind the exact ones that they are measured from; a run of the grid that is
    an exact one is not made twice."""
    planned = [(each, plan_run(replace(shared, settings=each.settings))) for each in grid]
    if not exact:
        first = planned[0][0].name
        return _distinct([PlannedRun(*each, plan, first) for each, plan in planned])

    for each, plan in planned:
        if plan.config.of_blocks:
            raise ConfigError(
                f"{each.name}: {plan.model.architecture} attends block by block, and which of its "
                "runs is the exact one is not settled; use --no-exact, and the runs are measured "
                "from the first"
            )
    references: dict[str, PlannedRun] = {}
    reference_of = []
    for each, plan in planned:
        settings = exact_settings(plan.config, each.settings, published=plan.model.family.policy)
        of_exact = plan_run(replace(shared, settings=settings))
        fingerprint = of_exact.info["fingerprint"]
        references.setdefault(fingerprint, PlannedRun(EXACT, settings, of_exact, EXACT))
        reference_of.append(fingerprint)

    asked = {plan.info["fingerprint"] for _, plan in planned}
    named = _named(references, asked)
    runs = list(named.values())
    for (each, plan), fingerprint in zip(planned, reference_of, strict=True):
        if plan.info["fingerprint"] not in named:
            runs.append(PlannedRun(*each, plan, named[fingerprint].name))
    return _distinct(runs)


def _named(references: dict[str, PlannedRun], asked: Collection[str]) -> dict[str, PlannedRun]:
    """The exact runs, by what differs between them where there are several. One that the grid asked
    for itself is measured from the first, as when seeds are compared."""
    if len(references) == 1:
        return references
    options = {key: each.plan.config.as_dict() for key, each in references.items()}
    named: dict[str, PlannedRun] = {}
    for fingerprint, each in references.items():
        own = options[fingerprint]
        # what an exact run of another policy does not have tells nothing apart
        varying = {
            name: value
            for name, value in own.items()
            if any(other.get(name, value) != value for other in options.values())
        }
        name = folder_name(EXACT, *(varied_text(*option) for option in varying.items()))
        first = next(iter(named.values())).name if named and fingerprint in asked else name
        named[fingerprint] = each._replace(name=name, reference=first)
    return named


def _distinct(runs: list[PlannedRun]) -> list[PlannedRun]:
    """The runs; raises ConfigError where two of them are the same under two names."""
    names: dict[str, str] = {}
    for each in runs:
        fingerprint = each.plan.info["fingerprint"]
        if fingerprint in names:
            raise ConfigError(
                f"{names[fingerprint]} and {each.name} are the same run; leave one of them out"
            )
        names[fingerprint] = each.name
    return runs


def _default_out(problems: ProblemSet, runs: Iterable[PlannedRun]) -> Path:
    """runs/sweep-<problems>-<digest>: the same problems and settings always lead to the same
    directory."""
    fingerprints = sorted(each.plan.info["fingerprint"] for each in runs)
    digest = hashlib.sha256("".join(fingerprints).encode()).hexdigest()
    of_run = default_out(problems, digest)
    return of_run.with_name(f"sweep-{of_run.name}")


def _record(each: PlannedRun) -> dict[str, Any]:
    return {
        "name": each.name,
        "reference": each.reference,
        "fingerprint": each.plan.info["fingerprint"],
        "settings": each.plan.config.as_dict(),
    }


def _warn_of_preset(name: str, model: MaskedDiffusionModel, prompt_template: str) -> None:
    for remark in remarks(
        name,
        architecture=model.architecture,
        is_bundled=bundled_name(model.path) is not None,
        prompt_template=prompt_template,
    ):
        logger.warning("%s", remark)


def _refuse_too_large(runs: Sequence[PlannedRun], out: Path) -> None:
    """Raise ConfigError where one of the runs, or all together, need more disk than is free."""
    need = 0.0
    may_be_fewer = False
    for each in runs:
        plan = each.plan
        n_problems = len(plan.problems)
        limits = plan.execution.limits
        refuse_if_too_large(
            plan.config, plan.model, n_problems=n_problems, out=plan.out, limits=limits
        )
        factors = disk_need(plan.config, plan.model, Workload(n_problems, limits))
        held = sum(path.stat().st_size for path in (plan.out / "shards").glob("*.h5"))
        need += max(0.0, sum(factor.amount for factor in factors) - held)
        passes = passes_of(plan.model, plan.config, ASKED_SCHEDULES)
        may_be_fewer = may_be_fewer or passes.may_be_fewer

    free = free_disk(out)
    if need > free:
        up_to = "up to " if may_be_fewer else ""
        raise ConfigError(
            f"this sweep of {count_text(len(runs), 'run')} needs {up_to}{size_text(need)} of "
            f"disk, but {size_text(free)} are free; use --limit, another --out, fewer "
            "values, or keep less (--save-logits none, --no-mean-hidden)"
        )
