"""The panels whose analysis is not in this version yet: they say so, and what will be here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..results import Analysis
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_mutual_information(ax: Axes, analysis: Analysis) -> None:
    """Placeholder of I(State; Answer) by estimator."""
    style.explain(
        ax,
        "Mutual information I(State; Answer)",
        "Not computed in this version.\n"
        "This panel will compare the estimators (KSG, Ross, binning, Gaussian copula, decoder bound) over steps, "
        "in bits, with permutation p-values and the number of problems that each of them needs.",
    )


def draw_tsne(ax: Axes, analysis: Analysis) -> None:
    """Placeholder of the joint t-SNE map of all steps."""
    style.explain(
        ax,
        "t-SNE map of the denoising path",
        "Not computed in this version.\n"
        "This panel will show the states of all steps in one joint map, coloured by step, "
        "with the path of their centroid and how well the map keeps neighbours.",
    )
