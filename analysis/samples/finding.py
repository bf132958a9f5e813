"""pass@k, the majority vote, and how far the answers to a problem disagree, as quantities.

A problem with fewer than k samples has no value at k; majority and entropy are of the problems that
have all N samples, since both depend on how many there are.
"""

from __future__ import annotations

import numpy as np

from ...engine.store.counts import count_text
from ...engine.store.format.verdicts import CORRECT
from ..findings.auroc import auroc, error_name, shortage
from ..findings.finding import Finding, Material
from ..groups import Groups, samples_asked
from ..limits import status_of
from ..quantity import Quantity
from .votes import Votes, pass_at

PASS = "samples/pass_at_k"
MAJORITY = "samples/majority"
ENTROPY = "samples/answer_entropy"
MILLER_MADOW = "samples/answer_entropy_miller_madow"
AUROC = "samples/entropy_auroc"
NAMES = (PASS, MAJORITY, ENTROPY, MILLER_MADOW, AUROC)
NO_GOLD = "no problem has a gold answer"


def several_samples(material: Material) -> dict[str, Quantity]:
    """`samples/...`, of a run in which some problem has several samples; empty without votes."""
    said = material.votes
    if said is None:
        return {}
    asked = samples_asked(material.run.problems)
    complete = said.n >= asked
    graded = said.graded == 1
    missing = f"no problem has all {count_text(asked, 'sample')}"
    of_asked = f"of a problem's answers over {count_text(asked, 'sample')}"
    return {
        PASS: _pass_at_k(said, graded),
        MAJORITY: Quantity.of_groups(
            np.where(graded & complete, said.majority, np.nan),
            Groups.single(len(said.n)),
            dims=(),
            label=f"majority vote right (maj@{asked}), ties split",
            missing=missing if graded.any() else NO_GOLD,
        ),
        ENTROPY: Quantity.over_problems(
            np.where(complete, said.entropy, np.nan),
            units="bits",
            label=f"entropy {of_asked}, plug-in",
            missing=missing,
        ),
        MILLER_MADOW: Quantity.over_problems(
            np.where(complete, said.miller_madow, np.nan),
            units="bits",
            label=f"entropy {of_asked}, Miller-Madow",
            missing=missing,
        ),
        AUROC: _auroc(material, said, complete & graded),
    }


def _pass_at_k(said: Votes, graded: np.ndarray) -> Quantity:
    """For every k from 1 to the most samples of a problem. Of n samples n / k draws of k are
    independent at most, and no interval counts more."""
    k = np.arange(1, int(said.n.max()) + 1)
    curve = np.stack([pass_at(said.n, said.right, each) for each in k.tolist()], axis=1)
    curve = np.where(graded[:, None], curve, np.nan)
    draws = np.where(np.isfinite(curve), said.n[:, None] / k, 0.0)
    return Quantity.of_groups(
        curve,
        Groups.single(len(said.n)),
        dims=("k",),
        most=draws.sum(axis=0),
        label="pass@k: probability that one of k samples is right, mean over problems",
        missing=NO_GOLD,
    )


def _auroc(material: Material, said: Votes, problems: np.ndarray) -> Quantity:
    """Whether samples of problems with more entropy are more often wrong; a row's score is the
    entropy of its problem. `problems` [problem]: those that count."""
    number = material.groups.number
    chosen = problems[number]
    groups = material.groups.chosen(chosen)
    wrong = material.verdict[chosen] != CORRECT
    area = auroc(said.entropy[number][chosen], wrong, groups)
    return Quantity(
        np.asarray(area.area),
        (),
        "1",
        n=area.n,
        stderr=np.asarray(area.stderr),
        status=status_of(shortage(wrong, groups)),
        label=f"AUROC of a problem's answer entropy for a wrong sample ({error_name(groups)} "
        "error)",
    )


FINDING = Finding(NAMES, several_samples, there=lambda material: material.votes is not None)
