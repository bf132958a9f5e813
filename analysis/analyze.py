"""From a run to its `Analysis`: every metric in one pass over the run, then what their curves
amount to.

The place where the parts meet; it computes nothing itself and needs no model and no GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..engine.store.counts import count_text
from .analyzable import refuse_branch_run
from .branching.beside import Branches, read_branches
from .branching.effect_table import effect_table
from .findings import accuracy
from .findings.about_run import about_run
from .findings.accuracy import count, members
from .findings.early_exit import replay_problems
from .findings.finding import Finding, Material
from .findings.gain import Gain, information_gain
from .findings.own_ends import own_ends
from .findings.patterns import Signs, judge_patterns
from .findings.s_curve import SCurveResult, s_curve
from .findings.spikes import Spikes, find_spikes, spike_totals
from .info import Info
from .information.estimators import curve_table
from .limits import BLOCKS_DIFFER, ENDS_DIFFER, NO_TRAJECTORY, undefined
from .metrics.loading import Metrics, load_metrics
from .metrics.mean import metric_quantities
from .metrics.trajectories import Trajectories, keeps_answers_alone, read_trajectories
from .names import finding_names
from .provenance import content_of
from .quantity import Quantity
from .registry import FINDINGS, SPIKE_RULES
from .results import Analysis
from .samples.finding import NAMES
from .samples.votes import votes_of_run
from .settings import Settings
from .slow_parts import slow_parts, unfinished

if TYPE_CHECKING:
    from ..engine.store import Run


UNSETTLED = "compared as text, Math-Verify settled nothing: classes may be too many"


@dataclass(frozen=True)
class Judged:
    """What is read off the one confidence that the settings name."""

    confidence: np.ndarray
    gain: Gain
    spikes: dict[str, Spikes]
    curve: SCurveResult


def analyze_run(
    run: Run,
    *,
    confidence_method: str = "answer_slot",
    spike_rule: str = "z",
    spike_threshold: float = 0.1,
    threshold_low: float = 0.1,
    threshold_high: float = 0.8,
    seed: int = 0,
    averaged: bool = False,
    answer_position: int | None = None,
    n_bins: int = 10,
    k: int = 3,
    mutual_information: bool = False,
    tsne: bool = False,
    metrics: Sequence[str] = (),
    estimators: Sequence[str] = (),
    save: Callable[[Analysis], None] | None = None,
) -> Analysis:
    """Analyse `run`. `confidence_method` is the confidence that gain, spikes and S-curve are read
    from.

    All spike rules are applied; `spike_rule` names the one that is shown first. `averaged` adds the
    original suite's averaged KL and CKA; `answer_position` looks for the answer at one fixed
    position in every problem. `metrics` adds metrics and `estimators` estimators of your own, each
    `package.module:object`.

    The slow parts are asked for: `mutual_information` (`k` neighbours, `n_bins` bins) and the
    `tsne` map. Before each of them `save` is handed what there is, with `info["to_come"]` naming
    what is to come, so that hours of work outlive a crash in the next.

    Raises ValueError for an unknown name, thresholds out of order, an averaged form that was not
    recorded, a metric or estimator that is none, or a branch run.
    """
    refuse_branch_run(run)
    settings = Settings(
        confidence_method=confidence_method,
        spike_rule=spike_rule,
        spike_threshold=float(spike_threshold),
        threshold_low=float(threshold_low),
        threshold_high=float(threshold_high),
        analysis_seed=seed,
        averaged=averaged,
        answer_position=answer_position,
        n_bins=n_bins,
        k=k,
    )
    curve_table(estimators)  # refuses one that is none before any work
    analysis = _fast_part(run, settings, metrics)
    has_steps = not keeps_answers_alone(run)
    parts = slow_parts(
        run,
        settings,
        mutual_information=mutual_information and has_steps,
        tsne=tsne and has_steps,
        estimators=estimators,
    )
    for done, part in enumerate(parts):
        if save is not None:
            to_come = [later.title for later in parts[done:]]
            save(unfinished(analysis, to_come))
        part.add(analysis)
    return analysis


def analyze_run_again(run: Run, earlier: Analysis) -> Analysis:
    """What `earlier` shows of a run, of the run as it is now: same settings, without the parts that
    are asked for."""
    kept = earlier.info.get("settings", {})
    names = (
        "confidence_method",
        "spike_rule",
        "spike_threshold",
        "threshold_low",
        "threshold_high",
        "answer_position",
    )
    settings = {name: kept[name] for name in names if name in kept}
    return analyze_run(run, seed=int(kept.get("analysis_seed", 0)), **settings)


def _fast_part(run: Run, settings: Settings, asked: Sequence[str]) -> Analysis:
    """All but the slow parts."""
    metrics = load_metrics(asked, taken=finding_names())
    settings.check(run, list(metrics.by_name))
    trajectories = read_trajectories(run, metrics, answer_position=settings.answer_position)
    info = about_run(run, trajectories, count(trajectories.columns["verdict"]))
    judged = _judge(trajectories, metrics, settings, info["block"])
    verdict = trajectories.columns["verdict"]
    exits = replay_problems(
        trajectories.metrics,
        verdict,
        trajectories.performed,
        of_blocks=trajectories.of_blocks,
    )

    quantities = metric_quantities(run, metrics, trajectories)
    branches = read_branches(
        run, metrics=trajectories.metrics, steps=info["steps"], seed=settings.analysis_seed
    )
    material = Material(
        run,
        settings,
        trajectories,
        dict(quantities),
        judged.curve,
        exits,
        branches,
        votes_of_run(run, verdict, trajectories.groups),
    )
    for name in FINDINGS:
        finding: Finding = FINDINGS.load(name)
        if finding.is_made(material):
            quantities |= finding.make(material)
    if keeps_answers_alone(run):
        quantities = _without_trajectory(quantities)

    _add_findings(info, run, settings, judged)
    if ends := own_ends(metrics, trajectories):
        info["own_ends"] = ends
    _add_what_is_not_ours(info, metrics, trajectories)
    _add_branches(info, branches)
    _add_interventions(info, run, settings)
    if material.votes is not None and material.votes.uncompared:
        pairs = count_text(material.votes.uncompared, "pair")
        info["warnings"].append(f"answers to one problem: {pairs} {UNSETTLED}")
    return Analysis(
        quantities=quantities,
        spikes={rule: spikes.spikes for rule, spikes in judged.spikes.items()},
        s_curve=judged.curve.s_curve,
        patterns=judge_patterns(_signs(trajectories, settings, judged)),
        problems=_problem_columns(run, trajectories, judged.confidence)
        | exits
        | _sample_columns(run, material)
        | _branch_columns(branches),
        info=info,
    )


def _without_trajectory(quantities: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """The same, where all but what answers alone tell has no result."""
    kept = (*accuracy.FINDING.names, *NAMES)
    return {
        name: quantity if name in kept else quantity.insufficient(NO_TRAJECTORY)
        for name, quantity in quantities.items()
    }


def _judge(
    trajectories: Trajectories, metrics: Metrics, settings: Settings, block: np.ndarray
) -> Judged:
    """Gain, spikes by every rule, and S-curve of the confidence that the settings name."""
    name = f"confidence/{settings.confidence_method}"
    confidence = trajectories.recorded(name)
    curve = s_curve(
        confidence,
        threshold_low=settings.threshold_low,
        threshold_high=settings.threshold_high,
        seed=settings.analysis_seed,
        withheld=_why_no_curve(trajectories, metrics, name),
        groups=trajectories.groups,
    )
    gain = information_gain(confidence, trajectories.groups)
    spikes = {}
    for rule in SPIKE_RULES:
        spikes[rule] = find_spikes(gain, rule=rule, threshold=settings.spike_threshold, block=block)
    return Judged(confidence, gain, spikes, curve)


def _why_no_curve(trajectories: Trajectories, metrics: Metrics, name: str) -> str:
    """Why the means of two steps of a confidence are of different things, or nothing."""
    is_kept = metrics.by_name[name].kept
    if trajectories.of_blocks and (not is_kept or trajectories.grows(name)):
        return undefined(BLOCKS_DIFFER)
    if trajectories.ends_differ and not is_kept:
        return undefined(ENDS_DIFFER)
    return ""


def _signs(trajectories: Trajectories, settings: Settings, judged: Judged) -> Signs:
    return Signs(
        confidence=judged.confidence,
        entropy=trajectories.recorded("entropy/all"),
        kl=trajectories.recorded("kl/all"),
        cka=trajectories.recorded("cka/consecutive"),
        gain=judged.gain,
        spikes=judged.spikes["z"],
        major=settings.spike_threshold,
        s_curve=judged.curve.s_curve,
        counts=members(trajectories.columns["verdict"], trajectories.groups),
        seed=settings.analysis_seed,
        groups=trajectories.groups,
        of_blocks=trajectories.of_blocks,
    )


def _add_findings(info: Info, run: Run, settings: Settings, judged: Judged) -> None:
    """Put what depends on the settings into `info`."""
    info["settings"] = settings.record(run)
    info["spike_status"] = {rule: spikes.status for rule, spikes in judged.spikes.items()}
    info["spike_totals"] = {
        rule: spike_totals(spikes.spikes, judged.gain) for rule, spikes in judged.spikes.items()
    }
    info["s_curve_aicc"] = judged.curve.aicc
    position = settings.answer_position
    if position is not None:
        info["warnings"].append(
            f"fixed slot: the answer is looked for at position {position} in every problem"
        )


def _add_what_is_not_ours(info: Info, metrics: Metrics, trajectories: Trajectories) -> None:
    """Name other people's metrics, and say which of them failed."""
    if metrics.plugins:
        info["plugins"] = metrics.records()
    info["warnings"] += [*metrics.warnings, *trajectories.failures.values()]


def _sample_columns(run: Run, material: Material) -> dict[str, np.ndarray]:
    """Which sample of which problem each row is, the class of its answer among its problem's, and
    their entropy in bits; nothing where each problem has one sample."""
    said = material.votes
    if said is None:
        return {}
    return {
        "group_id": np.array(run.groups, dtype=object),
        "sample": np.asarray(run.samples, np.int32),
        "answer_class": said.classes,
        "answer_entropy": said.entropy[material.groups.number],
    }


def _add_branches(info: Info, branches: Branches | None) -> None:
    """Put what is said of branch runs into `info`, where there are any."""
    if branches is not None:
        info["branching"] = branches.info
        info["warnings"] += branches.warnings


def _add_interventions(info: Info, run: Run, settings: Settings) -> None:
    """Put the effects of interventions into `info`, where branches of the run have any."""
    table = effect_table(run, seed=settings.analysis_seed)
    if table.rows:
        info["interventions"] = [row._asdict() for row in table.rows]
    info["warnings"] += table.warnings


def _branch_columns(branches: Branches | None) -> dict[str, np.ndarray]:
    if branches is None or branches.shown is None:
        return {}
    return branches.shown.columns


def _problem_columns(
    run: Run, trajectories: Trajectories, confidence: np.ndarray
) -> dict[str, np.ndarray]:
    problems = {problem.id: problem for problem in run.problems}
    contents = [content_of(problems[name]) for name in run.ids]
    return {
        "id": np.array(list(run.ids), dtype=object),
        "content": np.array(contents, dtype=object),
        **trajectories.columns,
        "confidence": confidence,
        "entropy": trajectories.recorded("entropy/all"),
    }
