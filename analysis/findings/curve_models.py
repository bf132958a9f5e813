"""Six shapes that a mean trajectory may have, fitted by least squares, compared by AICc.

Every shape is linear in its levels, so only place and width are searched for (variable projection,
Golub & Pereyra 1973): at most two numbers, a grid first, then Nelder-Mead with a bounded number of
evaluations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..registry import CURVE_MODELS

LOGISTIC_10_90 = 2 * np.log(9.0)
"""Length of the rise from 10 to 90 % of a logistic, in units of its width."""


class Fit(NamedTuple):
    """A fitted shape. `parameters` by name, in the units of x and y; `curve` at the given x; `rss`
    residual sum of squares; `free` number of free parameters without the noise variance."""

    model: str
    parameters: dict[str, float]
    curve: np.ndarray
    rss: float
    free: int


def fit_all(x: np.ndarray, y: np.ndarray) -> dict[str, Fit]:
    """Every registered model fitted to `y` at `x` (both [point], x increasing from 0 to 1)."""
    fits = {}
    for name in CURVE_MODELS:
        model = CURVE_MODELS.load(name)
        fits[name] = model(x, y)
    return fits


def aicc(fit: Fit, y: np.ndarray) -> float:
    """Akaike's criterion with the small-sample term (Hurvich & Tsai 1989), Gaussian noise of
    unknown variance.

    The rounding of float32, in which trajectories are recorded, is added to the noise: otherwise an
    exact fit has criterion minus infinity and the comparison is one of rounding errors.
    """
    n = len(y)
    k = fit.free + 1
    largest = np.abs(y).max(initial=0.0)
    smallest_change = np.finfo(np.float32).eps * largest
    rounding = n * smallest_change**2 + np.finfo(float).tiny
    deviance = n * np.log((fit.rss + rounding) / n)
    small_sample = 2 * k * (k + 1) / (n - k - 1)
    return float(deviance + 2 * k + small_sample)


def constant(x: np.ndarray, y: np.ndarray) -> Fit:
    """y = level."""
    no_shapes = np.empty((len(x), 0))
    return _fit("constant", no_shapes, y, {})


def line(x: np.ndarray, y: np.ndarray) -> Fit:
    """y = level + rise * x."""
    return _fit("line", x[:, None], y, {})


def quadratic(x: np.ndarray, y: np.ndarray) -> Fit:
    """y = level + rise * x + bend * x^2."""
    shapes = np.stack([x, x**2], axis=1)
    return _fit("quadratic", shapes, y, {})


def step(x: np.ndarray, y: np.ndarray) -> Fit:
    """y = level before `place`, level + rise from there on; the best of all places."""
    before = np.arange(1, len(y))
    sum_before = np.cumsum(y)[:-1]
    sum_after = y.sum() - sum_before
    explained = sum_before**2 / before + sum_after**2 / (len(y) - before)
    best = explained.argmax()
    first = int(before[best])

    has_risen = np.arange(len(x)) >= first
    shape = has_risen[:, None].astype(float)
    searched = {"place": float(x[first])}
    return _fit("step", shape, y, searched)


def saturating(x: np.ndarray, y: np.ndarray) -> Fit:
    """y = level + rise * (1 - exp(-x / scale))."""

    def rise(parameters: np.ndarray) -> np.ndarray:
        scale = np.exp(parameters[0])
        return np.asarray(-np.expm1(-x / scale))

    scales = np.geomspace(0.5 / len(x), 10, 24)
    log_scales = np.log(scales)
    best = _search(
        rise,
        y,
        log_scales[:, None],
        lowest=[log_scales[0]],
        highest=[log_scales[-1]],
    )
    shape = rise(best)[:, None]
    searched = {"scale": float(np.exp(best[0]))}
    return _fit("saturating", shape, y, searched)


def logistic(x: np.ndarray, y: np.ndarray, *, start: Fit | None = None) -> Fit:
    """y = level + rise / (1 + exp(-(x - midpoint) / width)). `start`: an earlier fit to begin from,
    without a grid."""
    from scipy.special import expit

    def rise(parameters: np.ndarray) -> np.ndarray:
        midpoint, log_width = parameters
        width = np.exp(log_width)
        return np.asarray(expit((x - midpoint) / width))

    narrowest = np.log(0.25 / len(x))
    if start is None:
        midpoints = np.linspace(-0.2, 1.2, 15)
        log_widths = np.linspace(narrowest, 0.0, 10)
        places, widths = np.meshgrid(midpoints, log_widths)
        starts = np.stack([places.ravel(), widths.ravel()], axis=1)
    else:
        midpoint = start.parameters["midpoint"]
        log_width = np.log(start.parameters["width"])
        starts = np.array([[midpoint, log_width]])

    best = _search(
        rise,
        y,
        starts,
        lowest=[-0.5, narrowest],
        highest=[1.5, 0.0],
    )
    shape = rise(best)[:, None]
    searched = {
        "midpoint": float(best[0]),
        "width": float(np.exp(best[1])),
    }
    return _fit("logistic", shape, y, searched)


def _fit(model: str, shapes: np.ndarray, y: np.ndarray, searched: dict[str, float]) -> Fit:
    """Least squares over the levels: a constant and the columns of `shapes` [point, at most 2].
    `searched`: the parameters that were found before."""
    ones = np.ones((len(y), 1))
    design = np.concatenate([ones, shapes], axis=1)
    levels, *_ = np.linalg.lstsq(design, y, rcond=None)
    curve = design @ levels
    residual = y - curve

    parameters = {}
    names = ("level", "rise", "bend")[: len(levels)]
    for name, level in zip(names, levels, strict=True):
        parameters[name] = float(level)
    parameters |= searched
    return Fit(
        model,
        parameters,
        curve,
        rss=float((residual**2).sum()),
        free=len(parameters),
    )


def _search(
    shape: Callable[[np.ndarray], np.ndarray],
    y: np.ndarray,
    starts: np.ndarray,
    *,
    lowest: list[float],
    highest: list[float],
) -> np.ndarray:
    """The parameters whose `shape` explains most of `y`, levels projected out; from the best of
    `starts`."""
    from scipy.optimize import minimize

    def unexplained(parameters: np.ndarray) -> float:
        values = shape(parameters)
        centred = values - values.mean()
        norm = centred @ centred
        if not norm > 0:
            return 0.0
        return -float((centred @ y) ** 2 / norm)

    inside = np.clip(starts, lowest, highest)
    best = min(inside, key=unexplained)
    result = minimize(
        unexplained,
        best,
        method="Nelder-Mead",
        bounds=list(zip(lowest, highest, strict=True)),
        options={"maxfev": 200, "xatol": 1e-7, "fatol": 1e-14},
    )
    return np.asarray(result.x)
