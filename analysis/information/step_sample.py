"""One step of a run as the estimators are given it: features, outcomes, and what several curves
make of them first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .decoding import Decoded, decode
from .folds import folds_of
from .sample import generator, prepared
from .significance import linear_many
from .uncertainty import Stability, stability, subsampled_stderr

FOLDS = 5
REPEATS = 3


@dataclass(frozen=True)
class CurveSettings:
    """`seed` of jitter, folds and permutations; `k` neighbours; `n_bins` of equal frequency."""

    seed: int = 0
    k: int = 3
    n_bins: int = 10


@dataclass(frozen=True)
class StepSample:
    """x [n, d], y [n] as observed, `permuted` [1 + B, n] y and its permutations, and `groups` [n]
    of rows that are samples of one question."""

    x: np.ndarray
    y: np.ndarray
    permuted: np.ndarray
    groups: np.ndarray
    settings: CurveSettings

    @property
    def seed(self) -> int:
        """The seed of the analysis."""
        return self.settings.seed

    @property
    def k(self) -> int:
        """Neighbours."""
        return self.settings.k

    @property
    def n_bins(self) -> int:
        """Bins."""
        return self.settings.n_bins

    @cached_property
    def scores(self) -> np.ndarray:
        """[n, d] normal scores of x at one draw of the jitter."""
        return prepared(self.x, self.jitter(0), scale="rank")

    @cached_property
    def decoded(self) -> Decoded:
        """What a cross-fitted decoder of x makes of the labels y."""
        return decode(self.x, self.y, seed=self.seed, folds=FOLDS, groups=self.groups)

    @cached_property
    def linear_null(self) -> np.ndarray:
        """[1 + B] how much of y a cross-fitted linear score of x explains, refitted for every
        permutation."""
        rng = generator(self.seed, "test folds")
        fold = folds_of(np.zeros(len(self.x)), self.groups, FOLDS, rng)
        return linear_many(self.x, self.permuted, fold)

    def jitter(self, draw: int) -> np.random.Generator:
        """The generator of one draw of the jitter."""
        return generator(self.seed, "jitter", draw)

    def stability(self, nats: Callable[[np.ndarray, int], float]) -> Stability:
        """Standard error and drift of `nats(rows, k)`."""
        return stability(
            nats,
            len(self.x),
            k=self.k,
            seed=self.seed,
            groups=self.groups,
            repeats=REPEATS,
        )

    def stderr(self, nats: Callable[[np.ndarray], float]) -> float:
        """Standard error of `nats(rows)`."""
        return subsampled_stderr(
            nats,
            len(self.x),
            seed=self.seed,
            groups=self.groups,
            repeats=REPEATS,
        )
