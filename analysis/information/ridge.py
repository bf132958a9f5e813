"""Ridge regression, logistic and linear, for many penalties at once in the principal axes of the
training rows.

In those axes the Hessian of the logistic loss is bounded by a diagonal matrix (Boehning 1992: 1/4
X'X for two labels, 1/2 X'X for more), so that each penalty costs one division; Nesterov's
acceleration makes up for the bound's slack. The ridge solution does not depend on the axes. The
intercept is not penalised. Knows nothing of folds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PENALTIES = 10.0 ** np.arange(-1, 6)
"""1 / C of the logistic ridge, in units of one standardised column; ascending."""

ROUNDS = 1000
CLOSE = 1e-6
"""The fit ends when no penalty's loss can fall by more than this, in nats per row, in one round."""


class Axes(NamedTuple):
    """Standardisation and rotation learnt on training rows: z = ((x - centre) / spread) @
    rotation."""

    centre: np.ndarray
    spread: np.ndarray
    rotation: np.ndarray  # [d, r]
    variance: np.ndarray  # [r] sum of squares along each axis over the training rows

    def of(self, x: np.ndarray) -> np.ndarray:
        """[n, r] coordinates of rows x [n, d]."""
        return ((x - self.centre) / self.spread) @ self.rotation


def axes_of(x: np.ndarray) -> Axes:
    """Axes of training rows x [n, d], from the smaller of the two Gram matrices; constant columns
    count for nothing."""
    centre = x.mean(axis=0)
    spread = x.std(axis=0)
    spread = np.where(x.min(axis=0) == x.max(axis=0), np.inf, spread)
    standard = (x - centre) / spread
    tall = len(x) >= x.shape[1]
    values, vectors = np.linalg.eigh(standard.T @ standard if tall else standard @ standard.T)
    used = values > values[-1] * 1e-12
    values = values[used]
    vectors = vectors[:, used]
    rotation = vectors if tall else standard.T @ (vectors / np.sqrt(values))
    return Axes(centre, spread, rotation, values)


def logistic(
    z: np.ndarray,
    codes: np.ndarray,
    labels: int,
    variance: np.ndarray,
    penalties: np.ndarray,
    *,
    close: float = CLOSE,
    rounds: int = ROUNDS,
) -> np.ndarray:
    """[penalty, 1 + r, c] intercept and weights for rows z [n, r] in their axes; c is 1 for two
    labels, else `labels`.

    Minimises sum CE + penalty / 2 |weights|^2. `codes` [n] below `labels`; a label may be absent.
    Ends after `rounds`, or when no loss falls by more than `close` nats per row in one.
    """
    n, r = z.shape
    c = 1 if labels == 2 else labels
    target = (codes == 1)[:, None].astype(np.float64) if c == 1 else np.eye(labels)[codes]
    bound = 0.25 if c == 1 else 0.5
    penalty = np.concatenate(
        [np.zeros((len(penalties), 1)), np.repeat(penalties[:, None], r, axis=1)], axis=1
    )
    curvature = bound * np.concatenate([[n], variance])[None, :] + penalty  # [penalty, 1 + r]
    rows = np.concatenate([np.ones((n, 1)), z], axis=1)
    weights = np.zeros((len(penalties), 1 + r, c))
    ahead = weights
    speed = 1.0
    for _ in range(rounds):
        residual = _probabilities(_scores(rows, ahead)) - target
        gradient = _back(rows, residual) + penalty[:, :, None] * ahead
        moved = ahead - gradient / curvature[:, :, None]
        if (gradient**2 / curvature[:, :, None]).sum(axis=(1, 2)).max() < close * n:
            return moved
        # Restart where momentum points uphill (O'Donoghue and Candes 2015).
        uphill = ((ahead - moved) * (moved - weights)).sum() > 0
        faster = 1.0 if uphill else (1 + np.sqrt(1 + 4 * speed**2)) / 2
        ahead = moved if uphill else moved + (speed - 1) / faster * (moved - weights)
        weights = moved
        speed = faster
    return weights


def log_probabilities(z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[penalty, n, labels] log q(label | row) in nats, for rows z [n, r] and what `logistic`
    returned."""
    scores = _scores(np.concatenate([np.ones((len(z), 1)), z], axis=1), weights)
    if scores.shape[-1] == 1:
        return np.concatenate([-np.logaddexp(0, scores), -np.logaddexp(0, -scores)], axis=-1)
    largest = scores.max(axis=-1, keepdims=True)
    return scores - largest - np.log(np.exp(scores - largest).sum(axis=-1, keepdims=True))


def linear(
    axes: Axes, train: np.ndarray, target: np.ndarray, test: np.ndarray, penalties: np.ndarray
) -> np.ndarray:
    """[penalty, test rows, B] least-squares ridge predictions of B targets [n, B], `train` and
    `test` in the axes."""
    mean = target.mean(axis=0)
    onto = train.T @ (target - mean)  # [r, B]
    return (
        np.stack([test @ (onto / (axes.variance + penalty)[:, None]) for penalty in penalties])
        + mean
    )


def gcv(axes: Axes, train: np.ndarray, target: np.ndarray, penalties: np.ndarray) -> float:
    """The penalty with the least generalised cross-validation error (Golub, Heath, Wahba 1979) for
    one target [n]."""
    n = len(train)
    centred = target - target.mean()
    onto = train.T @ centred
    errors = []
    for penalty in penalties:
        kept = axes.variance / (axes.variance + penalty)
        rest = centred @ centred - float((onto**2 / axes.variance * (1 - (1 - kept) ** 2)).sum())
        errors.append(rest / (1 - (1 + kept.sum()) / n) ** 2)
    return float(penalties[int(np.argmin(errors))])


def _scores(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[penalty, n, c] by one product."""
    number, width, c = weights.shape
    flat = rows @ weights.transpose(1, 0, 2).reshape(width, number * c)
    return flat.reshape(len(rows), number, c).transpose(1, 0, 2)


def _back(rows: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """[penalty, 1 + r, c], the transpose of `_scores`."""
    number, n, c = residual.shape
    flat = rows.T @ residual.transpose(1, 0, 2).reshape(n, number * c)
    return flat.reshape(rows.shape[1], number, c).transpose(1, 0, 2)


def _probabilities(scores: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    if scores.shape[-1] == 1:
        return expit(scores)
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)
