"""What pictures and pages read of an analysis: which values may be shown, their intervals, the
rule and the blocks behind them.

Steps are counted from 0; a skipped step has no value (NaN).
"""

from __future__ import annotations

import numpy as np

from ..results import Analysis, Quantity, Spike


def finite(quantity: Quantity) -> np.ndarray:
    """Steps at which a quantity over steps has a value."""
    return np.flatnonzero(np.isfinite(quantity.values))


def ends_of(quantity: Quantity) -> tuple[int, int] | None:
    """First and last step at which a quantity over steps has a value; None without one."""
    steps = finite(quantity)
    return (int(steps[0]), int(steps[-1])) if steps.size else None


def usable(analysis: Analysis, name: str) -> bool:
    """Whether quantity `name` is there, may be shown as a result, and has a finite value."""
    if name not in analysis or not analysis[name].ok:
        return False
    return bool(np.isfinite(analysis[name].values).any())


def why_not(analysis: Analysis, name: str) -> str:
    """One plain sentence about why `name` cannot be shown."""
    if name not in analysis:
        return f"{name} is not part of this analysis"
    quantity = analysis[name]
    if not quantity.ok:
        return quantity.status
    return f"{name} has no finite value in this run, as with a single step"


def count(quantity: Quantity) -> int:
    """The number of problems behind a quantity; the largest where it differs by step."""
    return int(np.max(quantity.n)) if np.size(quantity.n) else 0


def half_width(quantity: Quantity) -> np.ndarray:
    """Half the 95 % interval of a mean, Student's t with n - 1 degrees of freedom; NaN where n < 2
    or undefined."""
    shape = np.shape(quantity.values)
    if quantity.stderr is None:
        return np.full(shape, np.nan)

    from scipy.special import stdtrit

    n = np.broadcast_to(np.asarray(quantity.n, dtype=float), shape)
    with np.errstate(invalid="ignore"):
        t = np.where(n >= 2, stdtrit(np.maximum(n - 1, 1), 0.975), np.nan)
        return np.asarray(t * quantity.stderr)


def band_of(quantity: Quantity) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the 95 % interval: that of a share, else of a mean (`half_width`)."""
    if quantity.interval is not None:
        return quantity.interval[0], quantity.interval[1]
    half = half_width(quantity)
    return quantity.values - half, quantity.values + half


def method_of(analysis: Analysis) -> str:
    """The confidence method from which the analysis read gain, spikes and S-curve."""
    return str(analysis.info.get("settings", {}).get("confidence_method", "answer_slot"))


def spike_rule(analysis: Analysis) -> str:
    """The rule whose spikes are shown first."""
    return str(analysis.info.get("settings", {}).get("spike_rule", "z"))


def spikes_of(analysis: Analysis, method: str) -> list[Spike] | None:
    """The spikes by the analysis's rule, in order of step; None for a method in which it did not
    look for any."""
    if method != method_of(analysis):
        return None
    spikes = analysis.spikes.get(spike_rule(analysis), [])
    return sorted(spikes, key=lambda spike: spike.step)


def block_starts(analysis: Analysis) -> np.ndarray:
    """Steps at which a new block begins, the first block left out; empty where the run has one
    block."""
    block = np.asarray(analysis.info.get("block", ()))
    if block.size < 2:
        return np.array([], dtype=int)
    return np.flatnonzero(np.diff(block)) + 1
