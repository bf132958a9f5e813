"""Where each of several decoders stands: how many tokens a forward pass it makes, how accurate it
is, and how far it strays from a reference run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..groups import Groups
from ..limits import OK, status_of
from ..quantity import Quantity
from .generations import Generations
from .paired import paired_shares
from .stray import Stray, stray

TOKENS_PER_FORWARD = "parallel/tokens_per_forward"
TEXT_TOKENS_PER_FORWARD = "parallel/text_tokens_per_forward"
MEAN_TOKENS_PER_FORWARD = "parallel/tokens_per_forward_of_a_problem"
FORWARDS = "parallel/forwards"
ACCURACY = "accuracy"
ACCURACY_CHANGE = "stray/accuracy_change"
SAME_ANSWER = "stray/same_answer"
SAME_TEXT = "stray/same_text"
NEVER_DIVERGED = "stray/never_diverged"
DIVERGENCE = {
    0.25: "stray/divergence_lower_quartile",
    0.5: "stray/divergence_median",
    0.75: "stray/divergence_upper_quartile",
}

UNITS = "tokens per forward"
NO_GOLD = "no problem has a gold answer"
NOTHING_SHARED = "no problem in common"
NO_PROBLEM = "no problem is finished"
NONE_DIVERGES = "no problem diverges"


class Standing(NamedTuple):
    """One run and its numbers by name. `reference` is the place of the run that it is measured
    from, its own place for one that is measured from nothing; `strays` is None for such a run.
    """

    run: Generations
    reference: int
    quantities: dict[str, Quantity]
    strays: Stray | None


def standings(
    runs: Sequence[Generations], references: Sequence[int] | None = None
) -> list[Standing]:
    """One row a run, in order. `references` [run]: the place of the run that each is measured from;
    the first of all unless given."""
    places = [0] * len(runs) if references is None else list(references)
    rows = []
    for place, (run, reference) in enumerate(zip(runs, places, strict=True)):
        quantities = speed(run) | {ACCURACY: _accuracy(run)}
        strays = None
        if reference != place:
            strays = stray(runs[reference], run)
            quantities |= straying(runs[reference], run, strays)
        rows.append(Standing(run, reference, quantities, strays))
    return rows


def speed(run: Generations) -> dict[str, Quantity]:
    """Tokens per forward pass and forward passes per problem.

    Tokens are the committed positions of the canvas, all of them and those before the first
    end-of-sequence token. A step of a guided run is two passes.
    """
    tokens = run.committed.sum(axis=1).astype(np.float64)
    text_tokens = tokens_of_text(run)
    forwards = run.n_forwards.astype(np.float64)
    groups = run.groups
    no_eos = "the run does not say which token ends a text"
    return {
        TOKENS_PER_FORWARD: ratio_of_totals(
            tokens,
            forwards,
            label="tokens per forward pass, all",
            missing=NO_PROBLEM,
            groups=groups,
        ),
        TEXT_TOKENS_PER_FORWARD: ratio_of_totals(
            text_tokens,
            forwards,
            label="tokens per forward pass, before the end of the text",
            missing=NO_PROBLEM if _ends_of_text(run) else no_eos,
            groups=groups,
        ),
        MEAN_TOKENS_PER_FORWARD: Quantity.over_problems(
            tokens / forwards,
            units=UNITS,
            label="tokens per forward pass of a problem, mean over problems",
            missing=NO_PROBLEM,
            groups=groups,
        ),
        FORWARDS: Quantity.over_problems(
            forwards,
            units="forward passes",
            label="forward passes per problem",
            missing=NO_PROBLEM,
            groups=groups,
        ),
    }


def tokens_of_text(run: Generations) -> np.ndarray:
    """[problem] committed positions before the first end-of-sequence token, which is not counted;
    NaN where the run does not name that token."""
    ends = _ends_of_text(run)
    if not ends:
        return np.full(len(run.token), np.nan)
    ended = np.cumsum(np.isin(run.token, ends), axis=1) > 0
    return np.asarray((run.committed & ~ended).sum(axis=1), np.float64)


def _ends_of_text(run: Generations) -> list[int]:
    """The tokens that end a text: that of the sequence's end, and where the run names it (of runs
    that are decoded block by block) that of the turn's."""
    model = run.info["model"]
    ids = [model.get("eos_token_id"), model.get("eot_token_id")]
    return [int(token) for token in ids if token is not None]


def ratio_of_totals(
    numerator: np.ndarray,
    denominator: np.ndarray,
    *,
    label: str,
    missing: str,
    groups: Groups | None = None,
) -> Quantity:
    """Sum over sum of two numbers a row [row], with the standard error of a ratio.

    Linearised: the error of the mean of numerator - ratio x denominator, over the mean of the
    denominator (Cochran 1977, Sampling Techniques, section 2.11). NaN with one problem. `groups`:
    which rows are samples of one problem.
    """
    finite = np.isfinite(numerator) & np.isfinite(denominator)
    groups = Groups.single(len(finite)) if groups is None else groups
    of_finite = groups.chosen(finite)
    above = numerator[finite]
    below = denominator[finite]
    n = of_finite.count()
    ratio = np.nan
    error = np.nan
    if n:
        ratio = _ratio(above, below, of_finite)
    if n > 1:
        rest = above - ratio * below
        if of_finite.is_plain:
            error = float(np.sqrt((rest**2).sum() / (n - 1) / n) / below.mean())
        else:
            squares = (of_finite.sums(rest) ** 2).sum()
            error = float(np.sqrt(squares * n / (n - 1)) / of_finite.sums(below).sum())
    return Quantity(
        values=np.asarray(ratio),
        dims=(),
        units=UNITS,
        n=n,
        stderr=np.asarray(error),
        status=status_of("" if n else missing),
        label=label,
    )


def _ratio(above: np.ndarray, below: np.ndarray, groups: Groups) -> float:
    if groups.is_plain:
        return float(above.sum() / below.sum())
    return float(groups.sums(above).sum() / groups.sums(below).sum())


def straying(reference: Generations, run: Generations, strays: Stray) -> dict[str, Quantity]:
    """The numbers that say how far `run` strays from `reference`, over the shared problems."""
    shared = NOTHING_SHARED if not len(strays.rows) else ""
    never = np.where(np.isnan(strays.divergence), np.nan, np.isinf(strays.divergence))
    quantities = {
        ACCURACY_CHANGE: _accuracy_change(reference, run, strays, shared or NO_GOLD),
        SAME_ANSWER: Quantity.share_of_problems(
            strays.same_answer,
            label="share of problems with the same answer",
            missing=shared or "no text has an answer",
            groups=strays.groups,
        ),
        SAME_TEXT: Quantity.share_of_problems(
            strays.same_text,
            label="share of problems with the same text",
            missing=shared,
            groups=strays.groups,
        ),
        NEVER_DIVERGED: Quantity.share_of_problems(
            never,
            label="share of problems without another token",
            missing=shared or strays.undefined,
            groups=strays.groups,
        ),
    }
    for share, name in DIVERGENCE.items():
        quantities[name] = _divergence_at(strays, share, shared or strays.undefined)
    return quantities


def _divergence_at(strays: Stray, share: float, missing: str) -> Quantity:
    """A quantile of the step of divergence over the problems that diverge: a value that occurs,
    never one between two."""
    diverges = np.isfinite(strays.divergence)
    steps = strays.divergence[diverges]
    value = np.nan
    if len(steps):
        value = float(np.quantile(steps, share, method="inverted_cdf"))
    return Quantity(
        values=np.asarray(value),
        dims=(),
        units="steps",
        n=strays.groups.count(diverges),
        stderr=None,
        status=status_of("" if len(steps) else missing or NONE_DIVERGES),
        label=f"first other token, step by which {share:.0%} of the diverging problems have it",
    )


def _accuracy(run: Generations) -> Quantity:
    return Quantity.share_of_problems(
        run.correct,
        label="share of problems answered correctly",
        missing=NO_GOLD,
        groups=run.groups,
    )


def _accuracy_change(
    reference: Generations, run: Generations, strays: Stray, missing: str
) -> Quantity:
    before = reference.correct[strays.rows[:, 0]]
    after = run.correct[strays.rows[:, 1]]
    paired = paired_shares(before, after, strays.groups)
    return Quantity(
        values=np.asarray(paired.difference),
        dims=(),
        units="1",
        n=paired.n,
        stderr=None,
        status=OK if paired.n else status_of(missing),
        label="accuracy minus that of the reference, paired",
        interval=np.array([paired.low, paired.high]),
    )
