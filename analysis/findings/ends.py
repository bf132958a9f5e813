"""How the problems of a run end: how many still run at each step, after how many forward passes
they end, how many tokens a pass commits, and with which masks left.
"""

from __future__ import annotations

import numpy as np

from ..quantity import Quantity
from .finding import Finding, Material

NO_PROBLEM = "no problem is stored"
NAMES = ("running", "steps", "tokens_per_step", "masks_left")
"""The quantities are `ends/<name>`."""


def ends(material: Material) -> dict[str, Quantity]:
    """`ends/running` [step], the share of problems that make this step or a later one, and single
    numbers over problems."""
    trajectories = material.trajectories
    groups = material.groups
    columns = trajectories.columns
    steps_taken = columns["steps_performed"].astype(np.float64)
    masks_left = columns["masks_left"]
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(steps_taken > 0, columns["tokens"] / steps_taken, np.nan)
    return {
        "ends/running": Quantity.share_of_problems(
            running(trajectories.performed),
            label="share of problems that make this step or a later one",
            missing=NO_PROBLEM,
            groups=groups,
        ),
        "ends/steps": Quantity.over_problems(
            steps_taken,
            units="steps",
            label="steps with a forward pass per problem",
            missing=NO_PROBLEM,
            groups=groups,
        ),
        "ends/tokens_per_step": Quantity.over_problems(
            rate,
            units="tokens per step",
            label="committed tokens per step with a forward pass, mean over problems",
            missing=NO_PROBLEM,
            groups=groups,
        ),
        "ends/masks_left": Quantity.share_of_problems(
            (masks_left > 0).astype(np.float64),
            label="share of problems that end with masks left",
            missing=NO_PROBLEM,
            groups=groups,
        ),
    }


def running(performed: np.ndarray) -> np.ndarray:
    """[problem, step] 1 up to a problem's last step with a forward pass, 0 behind it."""
    backwards = np.flip(performed, axis=1)
    is_before_end = np.flip(np.logical_or.accumulate(backwards, axis=1), axis=1)
    return is_before_end.astype(np.float64)


FINDING = Finding(tuple(f"ends/{name}" for name in NAMES), ends)
