"""How alike the logits of any two steps are: the mean over problems of each one's CKA matrix."""

from __future__ import annotations

from ..limits import OF_RUNNING_AT_BOTH
from ..metrics.trajectories import is_of_blocks
from ..quantity import Quantity
from .finding import Finding, Material

NAME = "cka/matrix"
OF_BLOCKS = " of the block that is open at both, no value between blocks"


def cka_matrix(material: Material) -> dict[str, Quantity]:
    """`cka/matrix` [step, other_step], over all positions."""
    of_running = OF_RUNNING_AT_BOTH if material.trajectories.ends_differ else ""
    of_blocks = OF_BLOCKS if is_of_blocks(material.run) else ""
    quantity = Quantity.of_mean(
        material.trajectories.cka_matrix,
        units="1",
        label=f"debiased CKA of the logits of two steps, all positions{of_blocks}{of_running}",
        missing="no recorded value",
    )
    if "cka/consecutive" in material.trajectories.incomplete:
        quantity = quantity.insufficient("the run recorded masked positions only")
    return {NAME: quantity}


FINDING = Finding((NAME,), cka_matrix)
