"""I(State; Answer) over the steps of a run: estimates in bits, standard errors, and p-values that
hold for all steps.

Y is whether the answer came out right. The state determines the answer itself once the answer is on
the canvas, so that I(State; Answer token) would be H(Answer) and say nothing; it does not determine
whether that answer is right. A curve may have the size of the gold answer for Y instead: how well
it can be read from the state.

No feature knows the gold answer. Where the answer slot is, though, is known from the end: belief
and state hold how long the working will be from the first step on; the summary does not.

Which curves there are is told by the estimators (estimators.py). Samples of one problem are
estimated layer by layer (layers.py); problems of one question are kept together in folds,
permutations and splits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.registry import Plugin
from ..metrics.trajectories import steps_of
from ..results import Quantity
from .estimators import CurveTable, EstimatorCurve, curve_table
from .features import FEATURES, RunFeatures
from .folds import permutations as permutations_of
from .sample import NATS, label_entropy
from .step_curve import StepCurve
from .step_sample import CurveSettings, StepSample
from .targets import Target, groups_of, shortage, targets_of
from .threads import workers

if TYPE_CHECKING:
    from ...engine.store import Run

PERMUTATIONS = 199

AT_ONCE = 16
"""Steps whose features are held in memory at a time."""


class MutualInformation(NamedTuple):
    """`quantities` by name; `info` plain values: features, Y, its entropy in bits, permutations,
    limited steps; `plugins` the estimators that are not ours."""

    quantities: dict[str, Quantity]
    info: dict[str, Any]
    warnings: list[str]
    plugins: list[Plugin]


def mutual_information(
    run: Run,
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    k: int = 3,
    n_bins: int = 10,
    estimators: Sequence[str] = (),
    features: RunFeatures | None = None,
) -> MutualInformation:
    """All curves of `run`; those that cannot be estimated say why in their status and hold NaN.

    `k` neighbours for Ross and KSG-1, `n_bins` bins of equal frequency. `permutations` B bounds the
    p-values from below by 1 / (1 + B). `estimators`: `package.module:NAME` of estimators that are
    not in the table. `features`: those of `run`, where others use them too. Reads the run in
    bounded memory.

    An estimator that raises at a step ends its own curve and no other. Raises ValueError for what
    is named in `estimators` and is none.
    """
    table = curve_table(estimators)
    steps = steps_of(run)
    targets = targets_of(run)
    curves = []
    for member in table.curves:
        missing = targets[member.curve.target].missing or _unrecorded(run, member)
        curves.append(StepCurve(member, steps, permutations, missing))
    features = RunFeatures(run) if features is None else features
    for curve in curves:
        kept = FEATURES[curve.spec.features].kept
        curve.of_running = features.ends_differ and not kept
    _fill(features, curves, targets, permutations, CurveSettings(seed, k, n_bins))

    quantities: dict[str, Quantity] = {}
    for curve in curves:
        quantities |= curve.quantities()
    info = _info(curves, targets["correct"], permutations)
    return MutualInformation(quantities, info, _warnings(table, curves), table.plugins())


class _Layer(NamedTuple):
    """One sample of each problem that has a Y: its rows [problem] in the run, and y [1 + B,
    problem] as observed and permuted."""

    rows: np.ndarray
    permuted: np.ndarray


class _Outcome:
    """One Y, permuted once for all steps and layers: a permutation moves whole problems."""

    def __init__(
        self, target: Target, groups: np.ndarray, permutations: int, settings: CurveSettings
    ) -> None:
        self.target = target
        self.groups = groups[target.first_rows]
        self.settings = settings
        n = len(self.groups)
        order = permutations_of(n, permutations, settings.seed, self.groups)
        self.layers = []
        for layer in target.layers:
            y = target.values[layer]
            self.layers.append(_Layer(target.rows[layer], np.concatenate([y[None], y[order]])))

    def samples(self, features: np.ndarray) -> tuple[int, list[StepSample]]:
        """How many problems have this Y and `features` [row, feature] at one step, and the layers
        of them that are large enough."""
        has_features = np.isfinite(features).all(axis=1)
        usable = np.stack([has_features[layer.rows] for layer in self.layers])
        samples = []
        for layer, is_usable in zip(self.layers, usable, strict=True):
            sample = self._sample(layer, is_usable, features)
            if not shortage(len(sample.y), sample.y if self.target.labels else None):
                samples.append(sample)
        return int(usable.any(axis=0).sum()), samples

    def _sample(self, layer: _Layer, usable: np.ndarray, features: np.ndarray) -> StepSample:
        return StepSample(
            np.asarray(features[layer.rows[usable]], np.float64),
            layer.permuted[0, usable],
            layer.permuted[:, usable],
            self.groups[usable],
            self.settings,
        )


class _Work(NamedTuple):
    """What one thread does at a time: the curves of one X and one Y at one step."""

    curves: list[StepCurve]
    outcome: _Outcome
    step: int
    features: np.ndarray  # [row, feature], NaN where a row has none

    def do(self) -> None:
        n, samples = self.outcome.samples(self.features)
        for curve in self.curves:
            curve.available[self.step] = n
            if samples:
                curve.add(self.step, samples, n)


def _fill(
    features: RunFeatures,
    curves: list[StepCurve],
    targets: dict[str, Target],
    permutations: int,
    settings: CurveSettings,
) -> None:
    """Every step of all curves that are not missing."""
    chosen = [curve for curve in curves if not curve.missing]
    if not chosen:
        return
    groups = groups_of(features.run)
    outcomes = {}
    for name in dict.fromkeys(curve.spec.target for curve in chosen):
        outcomes[name] = _Outcome(targets[name], groups, permutations, settings)
    with workers() as pool:
        work = _work(features, chosen, outcomes)
        while portion := list(islice(work, AT_ONCE)):
            list(pool.map(_Work.do, portion))


def _work(
    features: RunFeatures, chosen: list[StepCurve], outcomes: dict[str, _Outcome]
) -> Iterator[_Work]:
    names = list(dict.fromkeys(curve.spec.features for curve in chosen))
    for name, step, values in features.of_steps(names, steps_of(features.run)):
        for target, outcome in outcomes.items():
            curves = []
            for curve in chosen:
                if curve.spec.features == name and curve.spec.target == target:
                    curves.append(curve)
            if curves:
                yield _Work(curves, outcome, step, values)


def _unrecorded(run: Run, member: EstimatorCurve) -> str:
    recorded = run.info["config"].get("record", "all")
    if FEATURES[member.curve.features].every_position and recorded != "all":
        return "needs all positions, the run recorded masked ones (--record masked)"
    return ""


def _info(curves: list[StepCurve], correct: Target, permutations: int) -> dict[str, Any]:
    entropy = float("nan")
    if len(correct.values):
        entropy = label_entropy(correct.values[correct.layers].reshape(-1)) / NATS
    return {
        "permutations": permutations,
        "n_graded": correct.layers.shape[1],
        "entropy_correct_bits": entropy,
        "shown_first": curves[0].spec.name,
        "dimension_limited": {curve.spec.name: curve.limited for curve in curves},
    }


def _warnings(table: CurveTable, curves: list[StepCurve]) -> list[str]:
    warnings = list(table.refused)
    for curve in curves:
        if warning := curve.warning():
            warnings.append(warning)
    return warnings
