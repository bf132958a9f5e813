"""How much of the answer is decided at a step: the quantities made from the answers at the end of
branches.

H(A | x_t) is the entropy of the answers that the model comes to from the state x_t, I_t = H(A |
x_0) - H(A | x_t) what the steps until t have decided of it. Every value is of one problem first and
then a mean over problems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..limits import MIN_RESAMPLED, lacking, status_of, undefined
from ..quantity import Quantity
from .draws import Draws
from .entropy import ESTIMATORS, most_bits
from .over_problems import States
from .per_state import StateValues, at_least, saturated, state_values
from .permutations import Pivotal, drop_since_first, pivotal_steps
from .resampling import Resampled, correlation_interval
from .state_answers import state_answers

SHOWN = ESTIMATORS[0]
"""The estimator that is shown first, and that the permutations use."""

WORDS = {"miller_madow": "Miller-Madow", "chao_shen": "Chao-Shen", "plug_in": "plug-in"}
ENTROPY = "answer_entropy"
INFORMATION = "answer_information"
DECIDED = {"half": 0.5, "nine_tenths": 0.9, "all": 1.0}
"""Share of the draws that the most frequent answer has at least."""
RANKED = {
    "answer_confidence": "answer/confidence",
    "gold_confidence": "confidence/answer_slot",
    "masked_entropy": "entropy/masked",
}
"""Metrics that the entropy is compared with, problem by problem."""
LEVEL = 0.05

NAMES = (
    *(f"{ENTROPY}/{estimator}" for estimator in ESTIMATORS),
    *(f"{INFORMATION}/{estimator}" for estimator in ESTIMATORS),
    f"{INFORMATION}/dealt_out_anew",
    f"{INFORMATION}_p/{SHOWN}",
    "decided/mode_share",
    *(f"decided/{name}" for name in DECIDED),
    "decided/mode_is_final",
    "decided/mode_is_gold",
    "branches/accuracy",
    "branches/accuracy_spread",
    "branches/unextracted",
    "pivotal/problems",
    "pivotal/here",
    "pivotal/drop",
    *(f"{ENTROPY}_rank/{name}" for name in RANKED),
)
"""Every quantity that branches add to an analysis, in order."""

OF_BRANCHES = tuple(sorted({f"{name.partition('/')[0]}/" for name in NAMES}))
"""How the names begin."""


@dataclass(frozen=True, eq=False)
class AnswerInformation:
    """`quantities` by `NAMES`; `columns` [decoding, ...] for `Analysis.problems`; `values` of every
    state [N, K]; `saturated` [K]: R draws cannot tell enough apart there."""

    draws: Draws
    values: StateValues
    pivotal: Pivotal
    saturated: np.ndarray
    quantities: dict[str, Quantity]
    columns: dict[str, np.ndarray]


def answer_information(
    draws: Draws,
    *,
    steps: int,
    law: str,
    metrics: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> AnswerInformation:
    """All quantities of `draws`, for a run of so many `steps`. `law` says in labels what states and
    continuations are; `metrics` [decoding, step] are those of `RANKED` by name, if they are known.
    """
    values = state_values(draws)
    states = States(draws, values, steps, seed, law)
    too_many = saturated(values)
    pivotal = pivotal_steps(draws, seed=seed)
    quantities = _entropies(states, too_many) | _informations(states, too_many)
    quantities |= _decided(states) | _branches(states)
    quantities |= _pivotal(states, pivotal) | _ranked(states, metrics or {})
    return AnswerInformation(
        draws=draws,
        values=values,
        pivotal=pivotal,
        saturated=too_many,
        quantities={name: quantities[name] for name in NAMES},
        columns=_columns(states, pivotal),
    )


def cannot_tell(samples: int) -> str:
    """Why R draws do not measure an entropy."""
    return f"R = {samples} cannot tell more than {most_bits(samples):.3g} bits apart"


def _more_draws(samples: int) -> str:
    return f"{cannot_tell(samples)}; `diffengine branch RUN --samples` with more than {samples}"


def _entropies(states: States, too_many: np.ndarray) -> dict[str, Quantity]:
    """H(A | x_t), without the steps at which R is too small."""
    quantities = {}
    for estimator in ESTIMATORS:
        measured = np.where(too_many, np.nan, getattr(states.values.entropy, estimator))
        quantity = states.mean(measured, f"H(A | x_t), {WORDS[estimator]}", "bits")
        if not quantity.ok and too_many[:-1].any():
            quantity = quantity.insufficient(_more_draws(states.draws.samples))
        quantities[f"{ENTROPY}/{estimator}"] = quantity
    return quantities


def _informations(states: States, too_many: np.ndarray) -> dict[str, Quantity]:
    """I_t, its control, and its p-values."""
    quantities = {}
    for estimator in ESTIMATORS:
        entropy = getattr(states.values.entropy, estimator)
        decided = entropy[:, :1] - np.where(too_many, np.nan, entropy)
        label = f"I_t = H(A | x_0) - H(A | x_t), paired by problem, {WORDS[estimator]}"
        quantities[f"{INFORMATION}/{estimator}"] = states.mean(decided, label, "bits")
    quantities |= _dealt_out(states)

    reason = _why_no_information(states, too_many)
    if reason:
        return {name: each._replace(status=reason) for name, each in quantities.items()}
    return quantities


def _why_no_information(states: States, too_many: np.ndarray) -> str:
    """The status of all that is measured from step 0, where that has no value; else nothing."""
    first = int(states.draws.steps[0])
    if first != 0:
        return undefined(
            f"the first step with branches is {first}, and I_t is counted from step 0; "
            "`diffengine branch RUN --at 0`"
        )
    return status_of(_more_draws(states.draws.samples)) if too_many[0] else ""


def _dealt_out(states: States) -> dict[str, Quantity]:
    """I_t when draws are dealt out anew: the control, and the p-values."""
    dealt = drop_since_first(states.draws, seed=states.seed)
    entropy = states.problems(states.values.entropy.plug_in)[:, :-1]
    n = np.isfinite(entropy[:, :1] - entropy).sum(axis=0)
    n[:1] = 0  # where both begin there is nothing to deal
    anew = "when the draws of step 0 and of step t are dealt out anew"
    control = states.quantity(
        _with_end(dealt.mean, n), f"I_t, {WORDS[SHOWN]}, {anew}: 0 but for chance", "bits"
    )
    p = states.quantity(
        _with_end(dealt.p, n), f"p of I_t: as large {anew}, corrected over steps (max-T)", "1"
    )
    error = states.on_steps(np.append(dealt.error, np.nan))
    return {
        f"{INFORMATION}/dealt_out_anew": control._replace(stderr=error, interval=None),
        f"{INFORMATION}_p/{SHOWN}": p._replace(interval=None),
    }


def _decided(states: States) -> dict[str, Quantity]:
    """How far one answer prevails among the draws of a state."""
    values = states.values
    quantities = {
        "decided/mode_share": states.mean(
            values.mode_share, "share of the most frequent answer", "1"
        )
    }
    for name, least in DECIDED.items():
        quantities[f"decided/{name}"] = states.share(
            at_least(values.mode_share, least),
            f"share of problems in which one answer has at least {100 * least:g} % of the draws",
        )
    most = "share of problems whose most frequent answer is"
    quantities["decided/mode_is_final"] = states.share(
        values.mode_is_final, f"{most} the parent's own"
    )
    quantities["decided/mode_is_gold"] = states.share(
        values.mode_is_gold, f"{most} the gold answer"
    )
    return quantities


def _branches(states: States) -> dict[str, Quantity]:
    """Whether branches come out right, or with an answer at all."""
    values = states.values
    variance = states.mean(
        values.spread, "standard deviation of correctness between the branches of a state", "1"
    )
    assert variance.interval is not None
    return {
        "branches/accuracy": states.mean(values.accuracy, "share of correct branches", "1"),
        "branches/accuracy_spread": variance._replace(
            values=np.sqrt(variance.values), interval=np.sqrt(variance.interval)
        ),
        "branches/unextracted": states.mean(
            values.unextracted, "share of branches without an extracted answer", "1"
        ),
    }


def _pivotal(states: States, pivotal: Pivotal) -> dict[str, Quantity]:
    """In how many problems the largest drop is more than chance, where it begins, and its size."""
    known = np.isfinite(pivotal.p)
    beyond = pivotal.p <= LEVEL
    here = (pivotal.step[:, None] == states.draws.steps) & beyond[:, None]
    largest = "largest drop of H(A | x_t) between neighbouring steps"
    test = f"p <= {LEVEL:g} when the draws of any two neighbours are dealt out anew"
    none = "no problem has all branches at every step"
    return {
        "pivotal/problems": states.single_share(
            np.where(known, beyond, np.nan),
            f"share of problems whose {largest} is beyond chance ({test})",
            missing=none,
        ),
        "pivotal/here": states.share(
            np.where(known[:, None], here, np.nan),
            f"share of problems whose {largest} is beyond chance and begins here",
        ),
        "pivotal/drop": states.single_mean(
            np.where(beyond, pivotal.drop, np.nan),
            f"{largest}, mean over the problems in which it is beyond chance; chosen for its size, "
            "so too large",
            "bits",
            missing="in no problem is it beyond chance" if known.any() else none,
        ),
    }


def _ranked(states: States, metrics: Mapping[str, np.ndarray]) -> dict[str, Quantity]:
    """Whether the problems with the greater H(A | x_t) are those that a metric ranks so."""
    at = states.draws.steps[:-1]
    entropy = states.problems(getattr(states.values.entropy, SHOWN)[:, :-1])
    quantities = {}
    for name, metric in RANKED.items():
        other = np.full(entropy.shape, np.nan)
        if metric in metrics:
            other = states.problems(metrics[metric][:, at])
        found = correlation_interval(entropy, other, seed=states.seed)
        most = int(found.n.max(initial=0))
        quantity = states.quantity(
            Resampled(
                mean=np.append(found.mean, np.nan),
                low=np.append(found.low, np.nan),
                high=np.append(found.high, np.nan),
                n=np.append(found.n, 0),
            ),
            f"rank correlation over problems of H(A | x_t) and {metric} (Spearman)",
            "rho",
        )
        if not quantity.ok:
            few = lacking(most, MIN_RESAMPLED, "problems with both values")
            reason = few if most < MIN_RESAMPLED else "one of the two does not vary at any step"
            quantity = quantity.insufficient(reason)
        quantities[f"{ENTROPY}_rank/{name}"] = quantity
    return quantities


def _columns(states: States, pivotal: Pivotal) -> dict[str, np.ndarray]:
    """What is kept of each decoding."""
    most = state_answers(states.draws)
    return {
        "branch_answer": most.text,
        "branch_share": most.share,
        "branch_answers": most.distinct,
        ENTROPY: states.on_steps(getattr(states.values.entropy, SHOWN)),
        "mode_share": states.on_steps(states.values.mode_share),
        "pivotal_step": pivotal.step,
        "pivotal_until": pivotal.until,
        "pivotal_drop": pivotal.drop,
        "pivotal_p": pivotal.p,
    }


def _with_end(values: np.ndarray, n: np.ndarray) -> Resampled:
    """`values` [K - 1] as a curve that has no value at the end, and no interval."""
    curve = np.append(values, np.nan)
    nothing = np.full(curve.shape, np.nan)
    return Resampled(curve, nothing, nothing, np.append(n, 0))
