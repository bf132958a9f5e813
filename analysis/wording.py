"""How a number with its error and its n is written in a text."""

from __future__ import annotations

import math

import numpy as np

from .results import Quantity
from .shares import percent


def plus_minus(stderr: float | None, form: str = ".2g") -> str:
    """ " +- 0.02", or nothing where there is no error."""
    return "" if stderr is None or math.isnan(stderr) else f" +- {stderr:{form}}"


def of_n(n: int, stderr: float | None) -> str:
    """Either "n = 12", or "n = 1, no interval" where one problem does not have the error."""
    return f"n = {n}" + (", no interval" if stderr is not None and math.isnan(stderr) else "")


def known(value: float, form: str) -> str:
    """The number, or "unknown" for NaN."""
    return "unknown" if math.isnan(value) else f"{value:{form}}"


def value_text(quantity: Quantity, step: int | None = None, *, form: str = ".4g") -> str:
    """The value (at a step) with its uncertainty: "0.31 +- 0.02 bits", "0.31 (0.27 to 0.35) bits",
    "88 % (83 to 92)" for a share."""
    place = () if step is None else (step,)
    value = float(quantity.values[place])
    unit = "" if quantity.units == "1" else f" {quantity.units}"
    if quantity.interval is not None:
        low = float(quantity.interval[(0, *place)])
        high = float(quantity.interval[(1, *place)])
        return _with_interval(value, low, high, unit, form)
    return f"{value:{form}}{plus_minus(error_of(quantity, step))}{unit}"


def _with_interval(value: float, low: float, high: float, unit: str, form: str) -> str:
    """A value with its interval, in percent where it has no unit."""
    if not math.isfinite(value):
        return "no value"
    if not math.isfinite(low):
        return f"{value:{form}}{unit}, no interval" if unit else f"{100 * value:.3g} %, no interval"
    if unit:
        return f"{value:{form}} ({low:{form}} to {high:{form}}){unit}"
    return percent(value, low, high)


def error_of(quantity: Quantity, step: int | None = None) -> float | None:
    """The standard error (at a step), None where none is defined."""
    if quantity.stderr is None:
        return None
    return float(quantity.stderr[() if step is None else step])


def n_text(quantity: Quantity, step: int | None = None) -> str:
    """ "n = 12" of the value (at a step)."""
    n = np.asarray(quantity.n)
    if step is not None and n.ndim:
        n = n[step]
    return of_n(int(n), error_of(quantity, step))


def blocks_text(block_length: int) -> str:
    """ "blocks of 8", or that there are none."""
    return f"blocks of {block_length}" if block_length else "no blocks"
