"""What several samples of a problem say together: pass@k, the majority vote, and how far their
answers disagree.

Chen et al. 2021 (arXiv:2107.03374), eq. 1: of n samples, c of them right, k drawn without
replacement hold a right one with probability 1 - C(n - c, k) / C(n, k), which is unbiased for the
chance that one of k fresh samples is right. A problem with fewer than k samples has no value at k;
majority and entropy are of the problems that have all N samples, since both depend on how many
there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...engine.store.counts import count_text
from ...engine.store.format.verdicts import CORRECT, NO_GOLD_ANSWER
from ..answer_classes import answer_classes, class_counts, entropy_bits, miller_madow_bits
from ..groups import Groups
from ..limits import status_of
from ..quantity import Quantity
from .auroc import auroc, error_name, shortage
from .finding import Finding, Material

if TYPE_CHECKING:
    from ...engine.store import Run

PASS = "samples/pass_at_k"
MAJORITY = "samples/majority"
ENTROPY = "samples/answer_entropy"
MILLER_MADOW = "samples/answer_entropy_miller_madow"
AUROC = "samples/entropy_auroc"
NO_GOLD = "no problem has a gold answer"


class Votes(NamedTuple):
    """What the samples of each problem say. [problem]: `n` samples that are stored, `right` of them
    correct, `graded` whether it has a gold answer, `majority` the share of a vote's winners that
    are right (ties are split), `entropy` and `miller_madow` of the answers in bits. `classes`
    [row]: the class of each answer among those of its problem.
    """

    n: np.ndarray
    right: np.ndarray
    graded: np.ndarray
    majority: np.ndarray
    entropy: np.ndarray
    miller_madow: np.ndarray
    classes: np.ndarray


def votes(answers: list[str], verdict: np.ndarray, groups: Groups) -> Votes:
    """The votes of `answers` [row] with these verdicts; all samples that a problem has count."""
    problems = groups.count()
    columns = {name: np.full(problems, np.nan) for name in Votes._fields[:-1]}
    classes = np.zeros(len(answers), np.int32)
    correct = verdict == CORRECT
    order = np.argsort(groups.number, kind="stable")
    ends = np.cumsum(np.bincount(groups.number))
    for problem, rows in enumerate(np.split(order, ends[:-1])):
        is_right = correct[rows]
        of_rows = answer_classes([answers[row] for row in rows], is_right.tolist())
        counts = class_counts(of_rows)
        classes[rows] = of_rows
        columns["n"][problem] = len(rows)
        columns["right"][problem] = is_right.sum()
        columns["graded"][problem] = (verdict[rows] != NO_GOLD_ANSWER).all()
        columns["majority"][problem] = _majority(of_rows, is_right)
        columns["entropy"][problem] = entropy_bits(counts)
        columns["miller_madow"][problem] = miller_madow_bits(counts)
    return Votes(**columns, classes=classes)


def _majority(classes: np.ndarray, right: np.ndarray) -> float:
    """The share of the classes with most votes that is right; one without an answer is wrong."""
    names, counts = np.unique(classes, return_counts=True)
    winners = names[counts == counts.max()]
    return float(np.isin(winners, classes[right]).mean())


def pass_at(n: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """[problem] 1 - C(n - c, k) / C(n, k) for c = `right` of `n` samples; NaN where n < k."""
    missed = np.ones(len(n))
    for drawn in range(k):
        # Of n - drawn samples that are left n - c - drawn are wrong.
        with np.errstate(invalid="ignore", divide="ignore"):
            missed = missed * np.maximum(n - right - drawn, 0) / (n - drawn)
    return np.where(n >= k, 1 - missed, np.nan)


def samples_asked(run: Run) -> int:
    """N: how many samples the run was asked for, of the problem with most."""
    names = [problem.group_id for problem in run.problems]
    return max((names.count(name) for name in set(names)), default=1)


def several_samples(material: Material) -> dict[str, Quantity]:
    """`samples/...`, of a run in which some problem has several samples."""
    said = material.votes
    asked = samples_asked(material.run)
    complete = said.n >= asked
    graded = said.graded == 1
    most = int(said.n.max())
    curve = np.stack([pass_at(said.n, said.right, k) for k in range(1, most + 1)], axis=1)
    k = np.arange(1, most + 1)
    of_problems = Groups.single(len(said.n))
    behind = np.where(graded[:, None] & (said.n[:, None] >= k), said.n[:, None] / k, 0.0)
    missing = f"no problem has all {asked} samples"
    return {
        PASS: Quantity.of_groups(
            np.where(graded[:, None], curve, np.nan),
            of_problems,
            dims=("k",),
            most=behind.sum(axis=0),
            label="pass@k: probability that one of k samples is right, mean over problems",
            missing=NO_GOLD,
        ),
        MAJORITY: Quantity.of_groups(
            np.where(graded & complete, said.majority, np.nan),
            of_problems,
            dims=(),
            label=f"majority vote of {asked} samples right (maj@{asked}), ties split",
            missing=missing if graded.any() else NO_GOLD,
        ),
        ENTROPY: Quantity.over_problems(
            np.where(complete, said.entropy, np.nan),
            units="bits",
            label=f"entropy of a problem's answers over {asked} samples, plug-in",
            missing=missing,
        ),
        MILLER_MADOW: Quantity.over_problems(
            np.where(complete, said.miller_madow, np.nan),
            units="bits",
            label=f"entropy of a problem's answers over {asked} samples, Miller-Madow",
            missing=missing,
        ),
        AUROC: _auroc(material, said, complete),
    }


def _auroc(material: Material, said: Votes, complete: np.ndarray) -> Quantity:
    """Whether samples of problems with more entropy are more often wrong; a row's score is the
    entropy of its problem."""
    number = material.groups.number
    chosen = (complete & (said.graded == 1))[number]
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


def votes_of_run(run: Run, verdict: np.ndarray, groups: Groups) -> Votes:
    """The votes of what the run holds, from its extracted answers."""
    answers = [str(answer) for answer in np.asarray(run["extracted_answer"][...]).tolist()]
    return votes(answers, verdict, groups)


def unequal_samples(run: Run, groups: Groups) -> list[str]:
    """What has to be known where problems do not have all their samples; else nothing."""
    asked = samples_asked(run)
    members = np.bincount(groups.number)
    fewer = int((members < asked).sum())
    if not fewer:
        return []
    return [
        f"{fewer} of {count_text(len(members), 'problem')} have fewer than {asked} samples: each "
        "problem counts once all the same; pass@k is of those with k or more, majority vote and "
        f"entropy of the answers of those with all {asked}"
    ]


NAMES = (PASS, MAJORITY, ENTROPY, MILLER_MADOW, AUROC)
FINDING = Finding(NAMES, several_samples, of_samples=True)
