"""What pictures and pages read of an analysis: which values may be shown, their intervals, the
rule and the blocks behind them.

Steps are counted from 0; a skipped step has no value (NaN).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...engine.store.counts import count_text
from ..limits import well_covered
from ..results import Analysis, Quantity, Spike


def finite(quantity: Quantity) -> np.ndarray:
    """Steps at which a quantity over steps has a value."""
    return np.flatnonzero(np.isfinite(quantity.values))


def ends_of(quantity: Quantity) -> tuple[int, int] | None:
    """First and last step at which a quantity over steps has a value; None without one."""
    steps = finite(quantity)
    return (int(steps[0]), int(steps[-1])) if steps.size else None


class Course(NamedTuple):
    """From where to where a quantity over steps goes, over `n` problems. `change_error` is the
    standard error of the difference, NaN where there is none."""

    first: float
    last: float
    change_error: float
    n: int


def course_of(analysis: Analysis, name: str) -> Course | None:
    """First and last value of quantity `name`; None without one.

    Where problems end at different steps and do not keep it: the means over problems of each one's
    own first and own last value, paired.
    """
    own = analysis.info.get("own_ends", {}).get(name)
    if own is not None:
        if not own["n"]:
            return None
        return Course(own["first"], own["last"], own["change_stderr"], own["n"])
    quantity = analysis[name]
    ends = ends_of(quantity)
    if ends is None:
        return None
    before, after = (float(quantity.values[step]) for step in ends)
    error = np.nan
    if quantity.stderr is not None:
        error = np.hypot(quantity.stderr[ends[0]], quantity.stderr[ends[1]])
    return Course(before, after, float(error), count(quantity))


def steps_shown(analysis: Analysis) -> int:
    """Steps up to the end of the last problem; a bound that nothing reached is not drawn."""
    total = max(int(analysis.info.get("steps", 1)), 1)
    ends = np.asarray(analysis.problems.get("end_step", ()))
    return int(ends.max()) + 1 if ends.size and ends.max() >= 0 else total


def steps_text(analysis: Analysis) -> str:
    """ "48 steps", or that these are only a bound."""
    steps = count_text(analysis.info.get("steps", "–"), "step")
    return f"at most {steps}" if ends_in_words(analysis) else steps


FAINT = "faint where fewer than half of them do"


def ends_in_words(analysis: Analysis, late: str = FAINT) -> list[str]:
    """That problems end at different steps or leave out steps of their own, and what that means for
    the curves, in two sentences; none where all make the same steps. `late`: how a curve is drawn
    where few are left."""
    taken = np.asarray(analysis.problems.get("end_step", ())) + 1
    left_out = taken - np.asarray(analysis.problems.get("steps_performed", taken))
    if not taken.size or ((taken == taken[0]) & (left_out == left_out[0])).all():
        return []
    of_step = "Entropy, KL and CKA are of the problems that still run"
    if left_out.any():
        of_step = (
            f"Each problem leaves out steps of its own (median {np.median(left_out):g}); entropy, "
            "KL and CKA of a step are of those that make it"
        )
    low, middle, high = (int(step) for step in (taken.min(), np.median(taken), taken.max()))
    return [
        f"Problems end after {low} to {high} steps (median {middle}): what stands, the answer, "
        "keeps its last value.",
        f"{of_step}; {late}.",
    ]


OF_OPENED = "not drawn before half of them have it"


def blocks_in_words(analysis: Analysis, early: str = OF_OPENED) -> list[str]:
    """What it means for the curves that each problem is at a block of its own, in two sentences;
    none where a pass reads all positions. `early`: how a curve is drawn where few have a value."""
    if not is_of_blocks(analysis):
        return []
    return [
        "Decoded block by block, each problem at a block of its own: entropy, KL and CKA of a step "
        "are over the block that is open.",
        "The answer has values from the step on that opens its block: more problems later; "
        f"{early}.",
    ]


def is_of_blocks(analysis: Analysis) -> bool:
    """Whether decoding goes block by block, with positions that are not open yet."""
    return bool(analysis.info.get("of_blocks"))


def positions_read(analysis: Analysis) -> str:
    """What a mean over all positions of a pass is over."""
    return "open positions" if is_of_blocks(analysis) else "all positions"


def covered(quantity: Quantity) -> np.ndarray:
    """Steps at which a quantity has a value and at least half as many problems behind it as at its
    best step: where a curve may be said to peak or to end."""
    n = np.broadcast_to(np.asarray(quantity.n), np.shape(quantity.values))
    return np.flatnonzero(np.isfinite(quantity.values) & well_covered(n))


def falls(quantity: Quantity) -> bool:
    """Whether fewer problems stand behind some step with a value than behind another."""
    n = np.broadcast_to(np.asarray(quantity.n), np.shape(quantity.values))
    behind = n[np.isfinite(quantity.values)]
    return bool(behind.size and behind.min() < behind.max())


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


def n_of(analysis: Analysis, name: str) -> str:
    """ "n = 12", or "n = 12 to 1" where not all problems stand behind each step."""
    quantity = analysis[name]
    behind = np.broadcast_to(np.asarray(quantity.n), np.shape(quantity.values))
    behind = behind[np.isfinite(quantity.values)]
    if not falls(quantity) or not (ends_in_words(analysis) or is_of_blocks(analysis)):
        return f"n = {count(quantity)}"
    return f"n = {int(behind.max())} to {int(behind.min())}"


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


def has_blocks(analysis: Analysis) -> bool:
    """Whether each step works on a block of its own, the same for all problems."""
    block = np.asarray(analysis.info.get("block", ()))
    return bool((block >= 0).all())


def block_starts(analysis: Analysis) -> np.ndarray:
    """Steps at which a new block begins, the first block left out and those that no problem comes
    to; empty where the run has one block."""
    block = np.asarray(analysis.info.get("block", ()))[: steps_shown(analysis)]
    if block.size < 2:
        return np.array([], dtype=int)
    return np.flatnonzero(np.diff(block)) + 1
