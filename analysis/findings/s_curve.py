"""Is the mean confidence an S-curve? The original suite's threshold crossings, and a comparison of
shapes.

R^2 says nothing here (a logistic fits a line with R^2 > .9), hence: a gate (does the mean change at
all), AICc against five other shapes, midpoint inside, amplitude against its error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..groups import Groups
from ..limits import MIN_CURVE_PROBLEMS, MIN_CURVE_STEPS, lacking, status_of
from ..means import deviation, mean_over_problems
from ..quantity import Quantity
from ..results import SCurve
from .curve_models import LOGISTIC_10_90, Fit, aicc, fit_all, logistic
from .finding import Finding, Material

GATE_ALPHA = 0.05
MIN_DELTA_AICC = 4.0
MIN_AMPLITUDE_Z = 3.0
SIGN_FLIPS = 199
REFITS = 24


class SCurveResult(NamedTuple):
    """`fit` [step]: the best model's curve, NaN where nothing was fitted; `aicc` by model, empty if
    nothing was."""

    s_curve: SCurve
    fit: np.ndarray
    aicc: dict[str, float]


class Spread(NamedTuple):
    """Standard errors of the logistic's midpoint (in x) and amplitude."""

    midpoint: float
    amplitude: float


def s_curve(
    values: np.ndarray,
    *,
    threshold_low: float = 0.1,
    threshold_high: float = 0.8,
    seed: int = 0,
    withheld: str = "",
    groups: Groups | None = None,
) -> SCurveResult:
    """Threshold crossings and model comparison of `values` [row, step]; steps without a value
    are left out. `withheld`: why the steps' means are not of one set of problems, so that they make
    no curve. `groups`: which rows are samples of one problem."""
    if withheld:
        nothing = np.full(values.shape[1], np.nan)
        bare = _thresholds(nothing, threshold_low, threshold_high)
        return SCurveResult(bare._replace(verdict="insufficient", reason=withheld), nothing, {})
    has_value = np.isfinite(values).any(axis=1)
    values = values[has_value]
    groups = Groups.single(len(values)) if groups is None else groups.chosen(has_value)
    problems = groups.count()
    mean = mean_over_problems(values, groups).mean
    bare = _thresholds(mean, threshold_low, threshold_high)
    used = np.flatnonzero(np.isfinite(mean))
    curve = np.full(mean.shape, np.nan)
    if problems < MIN_CURVE_PROBLEMS or len(used) < MIN_CURVE_STEPS:
        too_few = lacking(problems, MIN_CURVE_PROBLEMS, "problem(s)")
        steps = lacking(len(used), MIN_CURVE_STEPS, "step(s)")
        few = bare._replace(verdict="insufficient", reason=f"{too_few} and {steps}")
        return SCurveResult(few, curve, {})

    x = _relative(used)
    y = mean[used]
    fits = fit_all(x, y)
    criteria = {name: aicc(fit, y) for name, fit in fits.items()}
    logistic_fit = fits["logistic"]
    spread = _spread(values[:, used], groups, x, logistic_fit, seed)
    gate = flatness_p(values, groups, seed=seed)

    described = _describe(bare, logistic_fit, criteria, spread, used)
    judged = _judge(described, logistic_fit, y, gate, criteria)
    best = "constant" if gate > GATE_ALPHA else _lowest(criteria)
    curve[used] = fits[best].curve
    return SCurveResult(judged._replace(model=best, gate_p=gate), curve, criteria)


def flatness_p(
    values: np.ndarray,
    groups: Groups | None = None,
    *,
    seed: int = 0,
    draws: int = SIGN_FLIPS,
) -> float:
    """p-value of "the mean over problems does not depend on the step", of `values` [row, step].

    Each problem's deviation from its own mean over steps keeps or changes its sign as a whole (so
    that steps, and samples of one problem, may depend on each other in any way); sum of z^2 over
    steps against its values under random signs; p = (1 + #>=) / (1 + draws).
    """
    own_mean = mean_over_problems(values.T).mean
    with np.errstate(invalid="ignore"):
        deviation = values - own_mean[:, None]
    deviation = np.where(np.isfinite(deviation), deviation, 0.0)
    if groups is not None and not groups.is_plain:
        deviation = groups.sums(deviation)
    scale = np.sqrt((deviation**2).sum(axis=0))
    moving = scale > _rounding(values)
    if not moving.any():
        return 1.0

    standard = deviation[:, moving] / scale[moving]
    observed = (standard.sum(axis=0) ** 2).sum()
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(draws, len(deviation)))
    null = ((signs @ standard) ** 2).sum(axis=1)
    as_large = null >= observed * (1 - 1e-12)
    return float((1 + as_large.sum()) / (1 + draws))


def _rounding(values: np.ndarray) -> float:
    """Root of the sum of squares that a step's deviations may have by rounding to float32 alone."""
    finite = values[np.isfinite(values)]
    largest = np.abs(finite).max(initial=0.0)
    return float(len(values) ** 0.5 * np.finfo(np.float32).eps * largest)


def _thresholds(mean: np.ndarray, low: float, high: float) -> SCurve:
    """The original suite's crossings: first step above `low`; first step from there on above
    `high`. Step 0 is a valid start."""
    start = _first(mean > low)
    end = None
    length = None
    if start is not None:
        end = _first(mean > high, since=start)
        if end is not None:
            length = end - start

    finite = mean[np.isfinite(mean)]
    nan = float("nan")
    return SCurve(
        threshold_low=float(low),
        threshold_high=float(high),
        transition_start=start,
        transition_end=end,
        transition_length=length,
        max_confidence=float(finite.max()) if len(finite) else nan,
        final_confidence=float(finite[-1]) if len(finite) else nan,
        model=None,
        midpoint=nan,
        length_10_90=nan,
        amplitude=nan,
        delta_aicc=nan,
        verdict="",
        reason="",
    )


def _first(holds: np.ndarray, *, since: int = 0) -> int | None:
    """The first step not before `since` at which `holds` [step] is true."""
    steps = np.flatnonzero(holds[since:])
    return since + int(steps[0]) if len(steps) else None


def _lowest(criteria: dict[str, float]) -> str:
    """The name of the model with the lowest criterion."""
    return min(criteria, key=lambda name: criteria[name])


def _relative(steps: np.ndarray) -> np.ndarray:
    """Steps as x from 0 to 1."""
    return np.asarray((steps - steps[0]) / (steps[-1] - steps[0]))


def _spread(values: np.ndarray, groups: Groups, x: np.ndarray, fit: Fit, seed: int) -> Spread:
    """Standard errors from refits to the mean of half the problems, drawn without replacement.

    At half size the spread of the refits equals the standard error at full size: var / (n/2) * (1 -
    1/2) = var / n.
    """
    rng = np.random.default_rng(seed)
    estimates = []
    n = groups.count()
    for _ in range(REFITS):
        order = rng.permutation(n)
        half = groups.rows_of(order[: n // 2])
        mean = mean_over_problems(values[half], groups.chosen(half)).mean
        has_mean = np.isfinite(mean)
        refit = logistic(x[has_mean], mean[has_mean], start=fit)
        parameters = refit.parameters
        estimates.append((parameters["midpoint"], parameters["rise"]))
    midpoint, amplitude = deviation(np.array(estimates), ddof=1)
    return Spread(float(midpoint), float(amplitude))


def _describe(
    bare: SCurve, fit: Fit, criteria: dict[str, float], spread: Spread, used: np.ndarray
) -> SCurve:
    steps = float(used[-1] - used[0])
    others = [value for name, value in criteria.items() if name != "logistic"]
    parameters = fit.parameters
    midpoint = used[0] + parameters["midpoint"] * steps
    length = LOGISTIC_10_90 * parameters["width"] * steps
    return bare._replace(
        midpoint=float(midpoint),
        midpoint_stderr=spread.midpoint * steps,
        length_10_90=float(length),
        amplitude=parameters["rise"],
        amplitude_stderr=spread.amplitude,
        delta_aicc=min(others) - criteria["logistic"],
    )


def _judge(
    curve: SCurve, fit: Fit, y: np.ndarray, gate: float, criteria: dict[str, float]
) -> SCurve:
    if gate > GATE_ALPHA:
        reason = f"no change of the mean over steps (p = {gate:.3f})"
        return curve._replace(verdict="no transition", reason=reason)
    if objections := _objections(curve, fit, criteria):
        return curve._replace(verdict="no s-curve", reason="; ".join(objections))
    residual = y - fit.curve
    farthest = float(np.abs(residual).max())
    reason = (
        f"logistic is the best of {len(criteria)} shapes, delta AICc {curve.delta_aicc:.1f}, gate "
        f"p = {gate:.3f}; the mean strays from it by at most {farthest:.3f}"
    )
    return curve._replace(verdict="s-curve", reason=reason)


def _objections(curve: SCurve, fit: Fit, criteria: dict[str, float]) -> list[str]:
    """What speaks against an S-curve, in words."""
    objections = []
    if not curve.delta_aicc > MIN_DELTA_AICC:
        best = _lowest(criteria)
        objections.append(f"logistic leads by delta AICc {curve.delta_aicc:.1f}, best is {best}")
    if not 0 < fit.parameters["midpoint"] < 1:
        objections.append(f"midpoint at step {curve.midpoint:.1f} is not inside the trajectory")
    if not curve.amplitude > MIN_AMPLITUDE_Z * curve.amplitude_stderr:
        objections.append(
            f"amplitude {curve.amplitude:.3g} is not above {MIN_AMPLITUDE_Z:g} SE "
            f"({curve.amplitude_stderr:.2g})"
        )
    return objections


def _make(material: Material) -> dict[str, Quantity]:
    method = material.settings.confidence_method
    confidence = material.metrics[f"confidence/{method}"]
    curve = material.curve.s_curve
    quantity = Quantity(
        material.curve.fit,
        ("step",),
        confidence.units,
        n=int(np.max(confidence.n, initial=0)),
        stderr=None,
        status=status_of("" if curve.model else curve.reason),
        label=f"best model ({curve.model or 'none'}) of: {confidence.label}",
    )
    return {NAME: quantity}


NAME = "s_curve/fit"
FINDING = Finding((NAME,), _make)
