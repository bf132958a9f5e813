"""What the draws of one state say of it: entropy, most frequent answer, correctness.

Shapes: N decodings, K steps. NaN where not all R draws of the state are there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..limits import MOST_NEAR, NEAR_MOST
from .draws import ABSENT, Draws
from .entropy import Entropies, entropies, most_bits


class StateValues(NamedTuple):
    """[N, K] each. `entropy`: H(A | x_t) in bits, by each estimator. `is_near_most`: 1 where the
    plug-in is so near log2 R that the draws are nearly all different.

    `mode_share`: share of the most frequent answer; `mode_is_final`, `mode_is_gold`: whether it is
    the parent's own answer, the gold answer; where several are most frequent, the share of them
    that is. `accuracy`: share of correct draws, `spread`: their variance (with R - 1),
    `unextracted`: share of draws without an answer.
    """

    entropy: Entropies
    is_near_most: np.ndarray
    mode_share: np.ndarray
    mode_is_final: np.ndarray
    mode_is_gold: np.ndarray
    accuracy: np.ndarray
    spread: np.ndarray
    unextracted: np.ndarray


def state_values(draws: Draws) -> StateValues:
    """All of them for every state."""
    complete = draws.is_complete

    def known(values: np.ndarray) -> np.ndarray:
        return np.where(complete, values, np.nan)

    entropy = Entropies(*(known(values) for values in entropies(draws.counts)))
    near = entropy.plug_in >= most_bits(draws.samples) - NEAR_MOST
    near_most = np.where(draws.is_certain, 0.0, near.astype(np.float64))

    largest = draws.counts.max(axis=2, initial=0)
    has_gold = np.isfinite(draws.correct)
    accuracy = known(_mean(draws.correct))
    r = draws.samples
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = accuracy * (1 - accuracy) * r / np.float64(r - 1)
    is_unextracted = draws.label == draws.unextracted[:, None, None]
    is_unextracted &= draws.label != ABSENT
    return StateValues(
        entropy=entropy,
        is_near_most=known(near_most),
        mode_share=known(largest / max(r, 1)),
        mode_is_final=known(_share_of_modes(draws.counts, draws.final)),
        mode_is_gold=np.where(
            has_gold.all(axis=2), known(_share_of_modes(draws.counts, draws.gold)), np.nan
        ),
        accuracy=accuracy,
        spread=spread,
        unextracted=known(is_unextracted.mean(axis=2)),
    )


def saturated(values: StateValues) -> np.ndarray:
    """[K] bool: steps at which so many problems are near log2 R that their mean entropy is no
    result."""
    with np.errstate(invalid="ignore"):
        share = _mean(values.is_near_most.T)
    return np.asarray(share > MOST_NEAR)


def at_least(mode_share: np.ndarray, share: float) -> np.ndarray:
    """1 where the most frequent answer has at least this share of the draws, else 0; NaN as
    there."""
    reached = mode_share >= share - 1e-12
    return np.where(np.isfinite(mode_share), reached.astype(np.float64), np.nan)


def _share_of_modes(counts: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[N, K] 1 where the class `label` [N] alone is most frequent, 1 / m where it is one of m."""
    largest = counts.max(axis=2, keepdims=True, initial=0)
    is_mode = (counts == largest) & (largest > 0)
    place = np.where(label == ABSENT, 0, label)
    own = np.take_along_axis(is_mode, place[:, None, None], axis=2)[..., 0]
    own &= (label != ABSENT)[:, None]
    return np.asarray(own / np.maximum(is_mode.sum(axis=2), 1))


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the finite values; NaN without one."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(finite, values, 0.0).sum(axis=-1) / finite.sum(axis=-1))
