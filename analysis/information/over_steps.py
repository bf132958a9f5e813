"""I(State; Answer) over the steps of a run: estimates in bits, standard errors, and p-values that
hold for all steps.

Y is whether the answer came out right. The state determines the answer itself once the answer is on
the canvas, so that I(State; Answer token) would be H(Answer) and say nothing; it does not determine
whether that answer is right. `ksg1` has the size of the gold answer for Y instead: how well it can
be read from the state.

No feature knows the gold answer. Where the answer slot is, though, is known from the end: belief
and state hold how long the working will be from the first step on; the summary does not.

Problems without a gold answer, or whose answer could not be extracted, are left out; several
samples of one question are kept together in folds, permutations and splits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.optional_parts import optional_part
from ..findings.accuracy import CORRECT, WRONG
from ..metrics.trajectories import steps_of
from ..results import Quantity
from ..wording import lacking
from .sample import NATS, label_entropy
from .significance import max_t
from .uncertainty import MIN_MINORITY, MIN_N, insufficient

if TYPE_CHECKING:
    from ...engine.store import Run
    from .curves import Point, Setting

PERMUTATIONS = 199
AT_ONCE = 16
MOST_WORKERS = 4
MIN_DISTINCT = 10
"""Fewer different gold values than this are classes, not sizes."""

ABOUT = {"correct": "mi", "size": "mi_size"}
"""Y -> what its quantities are called: `mi/<name>` and their p-values `mi_p/<name>`, or
`mi_size/...`."""

SCORE_TESTED = ("decoder", "ross_oof", "ksg1")
"""Curves whose own statistic is too dear to refit for every permutation."""


class Curve(NamedTuple):
    """What one or two curves are made of, at each step by `maker` of information/curves.py.

    `names` -> labels; `features`: belief, slot (the belief's first column), summary or state;
    `target`: correct, size.
    """

    names: dict[str, str]
    features: str
    target: str
    maker: str


CURVES = (
    Curve(
        {"ross": "I(correct; belief at the answer slot), Ross"}, "belief", "correct", "ross_points"
    ),
    Curve(
        {
            "binning": "I(correct; log-probability of the answer slot), equal-frequency bins, "
            "shuffle-corrected"
        },
        "slot",
        "correct",
        "binning_points",
    ),
    Curve(
        {"gcmi": "I(correct; belief at the answer slot), Gaussian copula"},
        "belief",
        "correct",
        "gcmi_points",
    ),
    Curve(
        {"ross_summary": "I(correct; mean, std, max of the logits and mean entropy), Ross"},
        "summary",
        "correct",
        "ross_points",
    ),
    Curve(
        {
            "decoder": "I(correct; state at the answer slot), lower bound by a cross-fitted "
            "decoder",
            "ross_oof": "I(correct; out-of-fold score of the state at the answer slot), Ross",
        },
        "state",
        "correct",
        "decoder_points",
    ),
    Curve(
        {
            "ksg1": "I(log size of the gold answer; its out-of-fold prediction from the state at "
            "the slot), KSG-1"
        },
        "state",
        "size",
        "ksg1_points",
    ),
)
"""The curves of an analysis, the one shown first in front."""


def quantity_names() -> list[str]:
    """Names of the quantities that the curves become, estimates and p-values."""
    names = []
    for curve in CURVES:
        about = ABOUT[curve.target]
        for name in curve.names:
            names += [f"{about}/{name}", f"{about}_p/{name}"]
    return names


class MutualInformation(NamedTuple):
    """`quantities` by name; `info` plain values: features, Y, its entropy in bits, permutations,
    limited steps."""

    quantities: dict[str, Quantity]
    info: dict[str, Any]
    warnings: list[str]


def mutual_information(
    run: Run, *, seed: int = 0, permutations: int = PERMUTATIONS, k: int = 3, n_bins: int = 10
) -> MutualInformation:
    """All curves of `run`; those that cannot be estimated say why in their status and hold NaN.

    `k` neighbours for Ross and KSG-1, `n_bins` bins of equal frequency.
    `permutations` B bounds the p-values from below by 1 / (1 + B). Reads the run in bounded memory.
    """
    targets = targets_of(run)
    reasons = [targets[curve.target].missing or _unrecorded(run, curve) for curve in CURVES]
    chosen = [curve for curve, reason in zip(CURVES, reasons, strict=True) if not reason]
    steps = steps_of(run)
    found = {name: _Points(steps, permutations) for curve in CURVES for name in curve.names}
    if chosen:
        groups = groups_of(run)
        settings = {
            name: _setting(target, groups, permutations, seed=seed, k=k, n_bins=n_bins)
            for name, target in targets.items()
            if not target.missing
        }
        with workers() as pool:
            work = _features(run, chosen, steps)
            while some := list(islice(work, AT_ONCE)):
                list(pool.map(lambda one: _put(one, settings[one.curve.target], found), some))
    quantities: dict[str, Quantity] = {}
    for curve, reason in zip(CURVES, reasons, strict=True):
        for name, label in curve.names.items():
            quantities |= _quantities(name, label, found[name], reason, ABOUT[curve.target])
    return MutualInformation(
        quantities, _info(targets["correct"], found, permutations), _warnings(found)
    )


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Threads over steps, each with one BLAS thread: matrices this small are slower with more, ten
    times on busy cores.

    Without threadpoolctl, which comes with scikit-learn, BLAS keeps its threads and the results are
    the same.
    """
    limit: AbstractContextManager[Any] = nullcontext()
    controls = optional_part("threadpoolctl", instead="BLAS keeps its threads").module
    if controls is not None:
        limit = controls.threadpool_limits(1, user_api="blas")
    with limit, ThreadPoolExecutor(max(1, min(MOST_WORKERS, os.cpu_count() or 1))) as pool:
        yield pool


class Target(NamedTuple):
    """One Y: the problems that have it [n], its values [n], whether they are labels, and why there
    is none, or ""."""

    rows: np.ndarray
    values: np.ndarray
    labels: bool
    missing: str


class _Work(NamedTuple):
    """One step of a curve; `x` [problem, feature], NaN where a problem has no features."""

    curve: Curve
    step: int
    x: np.ndarray


class _Points:
    """The points of one curve as they come, in nats."""

    def __init__(self, steps: int, permutations: int) -> None:
        self.most = 0
        self.nats, self.stderr = np.full((2, steps), np.nan)
        self.null = np.full((1 + permutations, steps), np.nan)
        self.n = np.zeros(steps, np.int64)
        self.limited: list[int] = []

    def put(self, step: int, point: Point, n: int) -> None:
        """Keep the point of `step`, made from `n` problems."""
        self.nats[step] = point.nats
        self.stderr[step] = point.stderr
        self.null[:, step] = point.null
        self.n[step] = n
        if point.limited:
            self.limited.append(step)


def targets_of(run: Run) -> dict[str, Target]:
    """Whether the answer came out right, and the size of the gold answer."""
    verdict = np.asarray(run["verdict"][...]) if len(run.ids) else np.zeros(0, np.uint8)
    graded = np.flatnonzero((verdict == CORRECT) | (verdict == WRONG))
    correct = (verdict[graded] == CORRECT).astype(np.int64)
    gold = {problem.id: problem.answer for problem in run.problems}
    size = np.array([_log_size(gold.get(name)) for name in run.ids])
    sized = np.flatnonzero(np.isfinite(size))
    no_size = insufficient(len(sized), of=len(run.ids), without="a gold answer that is a number")
    if not no_size and len(np.unique(size[sized])) < MIN_DISTINCT:
        no_size = f"gold answers have fewer than {MIN_DISTINCT} different sizes"
    few = insufficient(len(graded), correct, of=len(run.ids), without="a gold answer")
    return {
        "correct": Target(graded, correct, True, few),
        "size": Target(sized, size[sized], False, no_size),
    }


def _log_size(answer: str | None) -> float:
    """sign(v) log(1 + |v|) of a gold answer that is a number, else NaN."""
    text = re.sub(r"[,$%\s]", "", answer or "")
    if not re.fullmatch(r"[-+]?\d+(\.\d+)?", text):
        return float("nan")
    return float(np.sign(float(text)) * np.log1p(abs(float(text))))


def groups_of(run: Run) -> np.ndarray:
    """[problem] number of its question: samples of one question share it."""
    question = {
        problem.id: getattr(problem, "question", None) or problem.id for problem in run.problems
    }
    return np.unique([question.get(name, name) for name in run.ids], return_inverse=True)[
        1
    ].reshape(-1)


def _setting(
    target: Target, groups: np.ndarray, number: int, **options: int
) -> Callable[[np.ndarray], Setting]:
    """From [problem] bool, which problems have features, to what the makers need; permuted once for
    all steps."""
    from .curves import Setting
    from .folds import permutations

    own = groups[target.rows]
    order = permutations(len(own), number, options["seed"], own)
    permuted = np.concatenate([target.values[None], target.values[order]])

    def setting(usable: np.ndarray) -> Setting:
        inside = usable[target.rows]
        return Setting(
            target.values[inside], permuted[:, inside], own[inside], target.rows[inside], **options
        )

    return setting


def _features(run: Run, chosen: list[Curve], steps: int) -> Iterator[_Work]:
    """Every step of all chosen curves; hidden states are read a few steps at a time."""
    from .features import narrow_features, states

    narrow = narrow_features(run) if any(curve.features != "state" for curve in chosen) else {}
    if narrow:
        narrow["slot"] = narrow["belief"][:, :, :1]
    for curve in chosen:
        if curve.features != "state":
            yield from (
                _Work(curve, step, narrow[curve.features][:, step]) for step in range(steps)
            )
    wide = [curve for curve in chosen if curve.features == "state"]
    for step, x in states(run, np.arange(steps)) if wide else ():
        yield from (_Work(curve, step, x) for curve in wide)


def _put(
    work: _Work, setting_of: Callable[[np.ndarray], Setting], found: dict[str, _Points]
) -> None:
    from . import curves

    setting = setting_of(np.isfinite(work.x).all(axis=1))
    for name in work.curve.names:
        found[name].most = max(found[name].most, len(setting.y))
    if insufficient(len(setting.y), setting.y if work.curve.target == "correct" else None):
        return
    points = getattr(curves, work.curve.maker)(
        np.asarray(work.x[setting.rows], np.float64), setting
    )
    for name, point in zip(work.curve.names, points, strict=True):
        found[name].put(work.step, point, len(setting.y))


def _unrecorded(run: Run, curve: Curve) -> str:
    if curve.features == "summary" and run.info["config"].get("record", "all") != "all":
        return "needs all positions, the run recorded masked ones (--record masked)"
    return ""


def _quantities(
    name: str, label: str, points: _Points, reason: str, prefix: str
) -> dict[str, Quantity]:
    """Estimate and p-value; curves with no value at any step are insufficient for want of enough
    problems there."""
    if not reason and not np.isfinite(points.nats).any():
        reason = (
            f"no step has features of {MIN_N} problems with {MIN_MINORITY} of each outcome: at "
            "best "
            f"{lacking(points.most, MIN_N, 'problems')}"
        )
    status = f"insufficient: {reason}" if reason else "ok"
    p_label = f"p-value over all steps (max-T) of: {label}"
    if name in SCORE_TESTED:
        p_label += "; tested by a linear score of the same state, refitted for each permutation"
    bits = points.nats / NATS
    stderr = points.stderr / NATS
    return {
        f"{prefix}/{name}": Quantity(bits, ("step",), "bits", points.n, stderr, status, label),
        f"{prefix}_p/{name}": Quantity(
            max_t(points.null), ("step",), "1", points.n, None, status, p_label
        ),
    }


def _info(correct: Target, found: dict[str, _Points], permutations: int) -> dict[str, Any]:
    entropy = label_entropy(correct.values) / NATS if len(correct.values) else float("nan")
    return {
        "permutations": permutations,
        "n_graded": len(correct.rows),
        "entropy_correct_bits": entropy,
        "shown_first": next(iter(CURVES[0].names)),
        "dimension_limited": {name: points.limited for name, points in found.items()},
    }


def _warnings(found: dict[str, _Points]) -> list[str]:
    return [
        f"mi/{name}: dimension-limited at {len(points.limited)} of "
        f"{int(np.isfinite(points.nats).sum())} steps: it "
        "drifts with n or k by more than 2 standard errors, so that its bias exceeds its error"
        for name, points in found.items()
        if points.limited
    ]
