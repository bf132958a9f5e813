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
    return {name: CURVE_MODELS.load(name)(x, y) for name in CURVE_MODELS}


def aicc(fit: Fit, y: np.ndarray) -> float:
    """Akaike's criterion with the small-sample term (Hurvich & Tsai 1989), Gaussian noise of
    unknown variance.

    The rounding of float32, in which trajectories are recorded, is added to the noise: otherwise an
    exact fit has criterion minus infinity and the comparison is one of rounding errors.
    """
    n = len(y)
    k = fit.free + 1
    smallest_change = np.finfo(np.float32).eps * np.abs(y).max(initial=0.0)
    rounding = n * smallest_change**2 + np.finfo(float).tiny
    return float(n * np.log((fit.rss + rounding) / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def constant(x: np.ndarray, y: np.ndarray) -> Fit:
    """y = level."""
    return _fit("constant", np.empty((len(x), 0)), y, {})


def line(x: np.ndarray, y: np.ndarray) -> Fit:
    """y = level + rise * x."""
    return _fit("line", x[:, None], y, {})


def quadratic(x: np.ndarray, y: np.ndarray) -> Fit:
    """y = level + rise * x + bend * x^2."""
    return _fit("quadratic", np.stack([x, x**2], axis=1), y, {})


def step(x: np.ndarray, y: np.ndarray) -> Fit:
    """y = level before `place`, level + rise from there on; the best of all places."""
    before = np.arange(1, len(y))
    sum_before = np.cumsum(y)[:-1]
    sum_after = y.sum() - sum_before
    explained = sum_before**2 / before + sum_after**2 / (len(y) - before)
    first = int(before[explained.argmax()])
    risen = (np.arange(len(x)) >= first)[:, None].astype(float)
    return _fit("step", risen, y, {"place": float(x[first])})


def saturating(x: np.ndarray, y: np.ndarray) -> Fit:
    """y = level + rise * (1 - exp(-x / scale))."""

    def rise(parameters: np.ndarray) -> np.ndarray:
        return np.asarray(-np.expm1(-x / np.exp(parameters[0])))

    starts = np.log(np.geomspace(0.5 / len(x), 10, 24))[:, None]
    best = _search(rise, y, starts, lowest=[starts[0, 0]], highest=[starts[-1, 0]])
    return _fit("saturating", rise(best)[:, None], y, {"scale": float(np.exp(best[0]))})


def logistic(x: np.ndarray, y: np.ndarray, *, start: Fit | None = None) -> Fit:
    """y = level + rise / (1 + exp(-(x - midpoint) / width)). `start`: an earlier fit to begin from,
    without a grid."""
    from scipy.special import expit

    def rise(parameters: np.ndarray) -> np.ndarray:
        midpoint, log_width = parameters
        return np.asarray(expit((x - midpoint) / np.exp(log_width)))

    narrowest = np.log(0.25 / len(x))
    if start is None:
        midpoints = np.linspace(-0.2, 1.2, 15)
        log_widths = np.linspace(narrowest, 0.0, 10)
        places, widths = np.meshgrid(midpoints, log_widths)
        starts = np.stack([places.ravel(), widths.ravel()], axis=1)
    else:
        starts = np.array([[start.parameters["midpoint"], np.log(start.parameters["width"])]])
    best = _search(rise, y, starts, lowest=[-0.5, narrowest], highest=[1.5, 0.0])
    searched = {"midpoint": float(best[0]), "width": float(np.exp(best[1]))}
    return _fit("logistic", rise(best)[:, None], y, searched)


def _fit(model: str, shapes: np.ndarray, y: np.ndarray, searched: dict[str, float]) -> Fit:
    """Least squares over the levels: a constant and the columns of `shapes` [point, at most 2].
    `searched`: the parameters that were found before."""
    design = np.concatenate([np.ones((len(y), 1)), shapes], axis=1)
    levels, *_ = np.linalg.lstsq(design, y, rcond=None)
    names = ("level", "rise", "bend")[: len(levels)]
    curve = design @ levels
    return Fit(
        model,
        parameters=dict(zip(names, map(float, levels), strict=True)) | searched,
        curve=curve,
        rss=float(((y - curve) ** 2).sum()),
        free=len(levels) + len(searched),
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
        values = values - values.mean()
        norm = values @ values
        return -float((values @ y) ** 2 / norm) if norm > 0 else 0.0

    best = min(np.clip(starts, lowest, highest), key=unexplained)
    bounds = list(zip(lowest, highest, strict=True))
    options = {"maxfev": 200, "xatol": 1e-7, "fatol": 1e-14}
    result = minimize(unexplained, best, method="Nelder-Mead", bounds=bounds, options=options)
    return np.asarray(result.x)
