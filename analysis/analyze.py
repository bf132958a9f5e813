"""From a run to its `Analysis`: one pass over the run, then every quantity, spikes, S-curve and
patterns.

The place where the parts meet; computes nothing itself. Needs no model, no GPU, no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import SettingError
from .findings.accuracy import CORRECT, WRONG, accuracy, count
from .findings.auroc import auroc_trajectories
from .findings.early_exit import replay, replay_problems
from .findings.facts import block_of_step, facts
from .findings.gain import Gain, information_gain
from .findings.patterns import Signs, judge_patterns
from .findings.s_curve import SCurveResult, s_curve
from .findings.spikes import Spikes, find_spikes, spike_totals
from .means import as_quantity, mean_over_problems
from .metrics.emergence import emergence_table
from .metrics.trajectories import (
    Trajectories,
    positions_missing,
    read_trajectories,
    steps_of,
    unrecorded,
)
from .provenance import content_of
from .registry import METRICS, SPIKE_RULES, confidence_methods, find
from .results import Analysis, Quantity
from .shares import share
from .slow_parts import slow_parts, unfinished
from .states.cka_subsets import cka_subsets
from .states.similarity import similarities

if TYPE_CHECKING:
    from ..engine.store import Run

SAMPLER = (
    "policy",
    "temperature",
    "cfg_scale",
    "remasking",
    "logits_eos_inf",
    "confidence_eos_eot_inf",
    "seed",
    "numerics",
    "dtype",
    "prompt_style",
    "record",
)
"""Settings of the run that an analysis repeats."""


class Settings(NamedTuple):
    """The choices of an analysis, kept with its results; `analysis_seed` is not the sampler's
    seed."""

    confidence_method: str
    spike_rule: str
    spike_threshold: float
    threshold_low: float
    threshold_high: float
    analysis_seed: int
    averaged: bool
    answer_position: int | None = None
    n_bins: int = 10
    k: int = 3


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
    save: Callable[[Analysis], None] | None = None,
) -> Analysis:
    """Analyse `run`. `confidence_method` is the confidence that gain, spikes and S-curve are read
    from.

    All spike rules are applied; `spike_rule` names the one that is shown first. `averaged` adds the
    seed's averaged KL and CKA; `answer_position` looks for the answer at one fixed position in
    every problem. The slow parts are asked for: `mutual_information` (`k` neighbours, `n_bins`
    bins) and the `tsne` map. Before each of them `save` is handed what there is, with
    `info["to_come"]` naming what is to come, so that hours of work outlive a crash in the next.
    Raises ValueError for an unknown name, thresholds out of order, or an averaged form that was not
    recorded.
    """
    settings = Settings(
        confidence_method,
        spike_rule,
        float(spike_threshold),
        float(threshold_low),
        float(threshold_high),
        seed,
        averaged,
        answer_position,
        n_bins,
        k,
    )
    _check(settings, run)
    trajectories = read_trajectories(run, answer_position=answer_position)
    counts = count(trajectories.columns["verdict"])
    confidence = _values(run, trajectories, f"confidence/{confidence_method}")
    curve = s_curve(
        confidence, threshold_low=threshold_low, threshold_high=threshold_high, seed=seed
    )
    gain = information_gain(confidence)
    block = block_of_step(run)
    found = {
        rule: find_spikes(gain, rule=rule, threshold=spike_threshold, block=block)
        for rule in SPIKE_RULES
    }
    entropy, kl, cka = (
        _values(run, trajectories, name) for name in ("entropy/all", "kl/all", "cka/consecutive")
    )
    signs = Signs(
        confidence,
        entropy,
        kl,
        cka,
        gain,
        found["z"],
        settings.spike_threshold,
        curve.s_curve,
        counts,
        seed,
    )
    info = facts(run, trajectories, counts, block) | _findings(run, settings, found, gain, curve)
    exits = replay_problems(trajectories.metrics, trajectories.columns["verdict"])
    quantities = _quantities(run, trajectories, exits, curve, settings)
    if answer_position is not None:
        info["warnings"].append(
            f"fixed slot: the answer is looked for at position {answer_position} in every problem"
        )
    analysis = Analysis(
        quantities=quantities,
        spikes={rule: spikes.spikes for rule, spikes in found.items()},
        s_curve=curve.s_curve,
        patterns=judge_patterns(signs),
        problems=_problem_columns(run, trajectories, confidence) | exits,
        info=info,
    )
    parts = slow_parts(
        run,
        seed=seed,
        k=k,
        n_bins=n_bins,
        mutual_information=mutual_information,
        tsne=tsne,
    )
    for done, (_, add) in enumerate(parts):
        if save is not None:
            save(unfinished(analysis, [name for name, _ in parts[done:]]))
        add(analysis)
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


def mean_by_verdict(
    values: np.ndarray, verdict: np.ndarray, *, code: int, like: Quantity, name: str
) -> Quantity:
    """Mean of `values` [problem, step] over the problems with verdict `code`; units of `like`,
    label with `name`."""
    mean = mean_over_problems(values[verdict == code])
    return as_quantity(
        mean,
        dims=like.dims,
        units=like.units,
        label=f"{like.label}; {name} problems",
        missing=f"no {name} problem with a value",
    )


def _check(settings: Settings, run: Run) -> None:
    find(
        dict.fromkeys(confidence_methods(), True),
        settings.confidence_method,
        kind="confidence method",
    )
    find(SPIKE_RULES, settings.spike_rule, kind="spike rule")
    if not settings.threshold_low <= settings.threshold_high:
        raise SettingError(
            f"threshold_low {settings.threshold_low} is above threshold_high "
            f"{settings.threshold_high}; swap them"
        )
    length = int(run.info["config"]["gen_length"])
    at = settings.answer_position
    if at is not None and not 0 <= at < length:
        raise SettingError(
            f"answer_position {at} is not a generated position; expected 0 to {length - 1}"
        )


def _values(run: Run, trajectories: Trajectories, name: str) -> np.ndarray:
    """[problem, step] of a metric, all NaN where the run did not record the positions that it
    needs."""
    values = trajectories.metrics[name]
    return np.full_like(values, np.nan) if positions_missing(run, METRICS[name]) else values


def _quantities(
    run: Run,
    trajectories: Trajectories,
    exits: dict[str, np.ndarray],
    curve: SCurveResult,
    settings: Settings,
) -> dict[str, Quantity]:
    found = {
        name: _metric_quantity(run, name, values) for name, values in trajectories.metrics.items()
    }
    found["accuracy"] = accuracy(count(trajectories.columns["verdict"]))
    for prefix, name in (("confidence", "answer_slot"), ("entropy", "all"), ("pvi", "gold_answer")):
        like = found[f"{prefix}/{name}"]
        values = trajectories.metrics[f"{prefix}/{name}"]
        for word, code in (("correct", CORRECT), ("wrong", WRONG)):
            split = mean_by_verdict(
                values, trajectories.columns["verdict"], code=code, like=like, name=word
            )
            found[f"{prefix}_{word}/{name}"] = (
                split if like.ok else split._replace(status=like.status)
            )
    for method in confidence_methods():
        found[f"gain/{method}"] = _gain_quantity(
            _values(run, trajectories, f"confidence/{method}"), found[f"confidence/{method}"]
        )
    found |= emergence_table(trajectories.columns, steps_of(run))
    found |= auroc_trajectories(trajectories.metrics, trajectories.columns["verdict"])
    found |= replay(exits, trajectories.columns["verdict"])
    found |= similarities(run, steps=steps_of(run), seed=settings.analysis_seed)
    found |= cka_subsets(run, steps=steps_of(run), seed=settings.analysis_seed)
    found["cka/matrix"] = _matrix_quantity(run, trajectories)
    found["s_curve/fit"] = _fit_quantity(curve, found[f"confidence/{settings.confidence_method}"])
    if settings.averaged:
        from .states.averaged import averaged_trajectory

        found |= averaged_trajectory(run)
    return found


def _metric_quantity(run: Run, name: str, values: np.ndarray) -> Quantity:
    metric = METRICS[name]
    if metric.share:
        quantity = share(values, dims=("step",), label=metric.label, missing=metric.missing)
    else:
        mean = mean_over_problems(values)
        quantity = as_quantity(
            mean, dims=("step",), units=metric.units, label=metric.label, missing=metric.missing
        )
    if positions_missing(run, metric):
        return quantity._replace(
            status="insufficient: needs all positions, the run recorded masked ones (--record "
            "masked)"
        )
    if run.ids and (lacking := unrecorded(run, metric)):
        return quantity._replace(status=f"insufficient: the run did not store {lacking}")
    return quantity


def _gain_quantity(values: np.ndarray, confidence: Quantity) -> Quantity:
    gain = information_gain(values)
    label = f"gain per step of: {confidence.label}"
    quantity = Quantity(
        gain.gain, ("step",), confidence.units, gain.n, gain.stderr, confidence.status, label
    )
    if confidence.ok and not gain.n.max(initial=0):
        return quantity._replace(status="insufficient: no problem has a value at two steps")
    return quantity


def _matrix_quantity(run: Run, trajectories: Trajectories) -> Quantity:
    quantity = as_quantity(
        trajectories.cka_matrix,
        dims=("step", "other_step"),
        units="1",
        label="debiased CKA of the logits of two steps, all positions",
        missing="no recorded value",
    )
    missing = positions_missing(run, METRICS["cka/consecutive"])
    return (
        quantity._replace(status="insufficient: the run recorded masked positions only")
        if missing
        else quantity
    )


def _fit_quantity(curve: SCurveResult, confidence: Quantity) -> Quantity:
    n = int(np.max(confidence.n, initial=0))
    status = "ok" if curve.s_curve.model else f"insufficient: {curve.s_curve.reason}"
    label = f"best model ({curve.s_curve.model or 'none'}) of: {confidence.label}"
    return Quantity(curve.fit, ("step",), confidence.units, n, None, status, label)


def _problem_columns(
    run: Run, trajectories: Trajectories, confidence: np.ndarray
) -> dict[str, np.ndarray]:
    ids = np.array(list(run.ids), dtype=object)
    known = {problem.id: problem for problem in run.problems}
    return {
        "id": ids,
        "content": np.array([content_of(known[name]) for name in run.ids], dtype=object),
        **trajectories.columns,
        "confidence": confidence,
        "entropy": _values(run, trajectories, "entropy/all"),
    }


def _findings(
    run: Run, settings: Settings, found: dict[str, Spikes], gain: Gain, curve: SCurveResult
) -> dict[str, Any]:
    return {
        "settings": {name: value for name, value in run.info["config"].items() if name in SAMPLER}
        | settings._asdict(),
        "spike_status": {rule: spikes.status for rule, spikes in found.items()},
        "spike_totals": {rule: spike_totals(spikes.spikes, gain) for rule, spikes in found.items()},
        "s_curve_aicc": curve.aicc,
    }
