"""How a number with its error and its n is written in a text. Knows no quantity."""

from __future__ import annotations

import math


def plus_minus(stderr: float | None, form: str = ".2g") -> str:
    """" +- 0.02", or nothing where there is no error."""
    return "" if stderr is None or math.isnan(stderr) else f" +- {stderr:{form}}"


def of_n(n: int, stderr: float | None) -> str:
    """"n = 12", or "n = 1, no interval" where an error is defined but one problem does not have it."""
    return f"n = {n}" + (", no interval" if stderr is not None and math.isnan(stderr) else "")


def known(value: float, form: str) -> str:
    """The number, or "unknown" for NaN."""
    return "unknown" if math.isnan(value) else f"{value:{form}}"
