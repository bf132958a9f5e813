"""Ridge regression, logistic and linear, for many penalties at once in the principal axes of the
training rows.

In those axes the Hessian of the logistic loss is bounded by a diagonal matrix (Boehning 1992: 1/4
X'X for two labels, 1/2 X'X for more), so that each penalty costs one division; Nesterov's
acceleration makes up for the bound's slack. The ridge solution does not depend on the axes. The
intercept is not penalised.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PENALTIES = 10.0 ** np.arange(-1, 6)
"""1 / C of the logistic ridge, in units of one standardised column; ascending."""

ROUNDS = 1000

CLOSE = 1e-6
"""The fit ends when no penalty's loss can fall by more than this, in nats per row, in one round."""

NEGLIGIBLE = 1e-12
"""Share of the largest sum of squares below which an axis counts for nothing."""


class Axes(NamedTuple):
    """Standardisation and rotation learnt on training rows: z = ((x - centre) / spread) @
    rotation."""

    centre: np.ndarray
    spread: np.ndarray
    rotation: np.ndarray  # [d, r]
    variance: np.ndarray  # [r] sum of squares along each axis over the training rows

    def of(self, x: np.ndarray) -> np.ndarray:
        """[n, r] coordinates of rows x [n, d]."""
        standard = (x - self.centre) / self.spread
        coordinates: np.ndarray = standard @ self.rotation
        return coordinates


def axes_of(x: np.ndarray) -> Axes:
    """Axes of training rows x [n, d], from the smaller of the two Gram matrices; constant columns
    count for nothing."""
    centre = x.mean(axis=0)
    is_constant = x.min(axis=0) == x.max(axis=0)
    spread = np.where(is_constant, np.inf, x.std(axis=0))
    standard = (x - centre) / spread
    is_tall = len(x) >= x.shape[1]
    gram = standard.T @ standard if is_tall else standard @ standard.T
    values, vectors = np.linalg.eigh(gram)
    used = values > values[-1] * NEGLIGIBLE
    values = values[used]
    vectors = vectors[:, used]
    rotation = vectors if is_tall else standard.T @ (vectors / np.sqrt(values))
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
    n = len(z)
    rows = _with_constant(z)
    target = _target(codes, labels)
    penalty = np.repeat(penalties[:, None], rows.shape[1], axis=1)
    penalty[:, 0] = 0.0
    bound = 0.25 if labels == 2 else 0.5
    squares = np.concatenate([[n], variance])
    curvature = bound * squares[None, :] + penalty
    curvature = curvature[:, :, None]  # [penalty, 1 + r, 1]
    penalty = penalty[:, :, None]

    weights = np.zeros((len(penalties), rows.shape[1], target.shape[1]))
    ahead = weights
    speed = 1.0
    for _ in range(rounds):
        scores = _scores(rows, ahead)
        residual = _probabilities(scores) - target
        gradient = _back(rows, residual) + penalty * ahead
        moved: np.ndarray = ahead - gradient / curvature
        possible = (gradient**2 / curvature).sum(axis=(1, 2))
        if possible.max() < close * n:
            return moved
        # Restart where momentum points uphill (O'Donoghue and Candes 2015).
        step = moved - weights
        if ((ahead - moved) * step).sum() > 0:
            faster = 1.0
            ahead = moved
        else:
            faster = (1 + np.sqrt(1 + 4 * speed**2)) / 2
            momentum = (speed - 1) / faster
            ahead = moved + momentum * step
        weights = moved
        speed = faster
    return weights


def log_probabilities(z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[penalty, n, labels] log q(label | row) in nats, for rows z [n, r] and what `logistic`
    returned."""
    scores = _scores(_with_constant(z), weights)
    if scores.shape[-1] == 1:
        first = -np.logaddexp(0, scores)
        second = -np.logaddexp(0, -scores)
        return np.concatenate([first, second], axis=-1)
    largest = scores.max(axis=-1, keepdims=True)
    below_largest = scores - largest
    total = np.exp(below_largest).sum(axis=-1, keepdims=True)
    log_q: np.ndarray = below_largest - np.log(total)
    return log_q


def linear(
    axes: Axes, train: np.ndarray, target: np.ndarray, test: np.ndarray, penalties: np.ndarray
) -> np.ndarray:
    """[penalty, test rows, B] least-squares ridge predictions of B targets [n, B], `train` and
    `test` in the axes."""
    mean = target.mean(axis=0)
    onto = train.T @ (target - mean)  # [r, B]
    predictions = []
    for penalty in penalties:
        weights = onto / (axes.variance + penalty)[:, None]
        predictions.append(test @ weights)
    shifted: np.ndarray = np.stack(predictions) + mean
    return shifted


def gcv(axes: Axes, train: np.ndarray, target: np.ndarray, penalties: np.ndarray) -> float:
    """The penalty with the least generalised cross-validation error (Golub, Heath, Wahba 1979) for
    one target [n]."""
    n = len(train)
    centred = target - target.mean()
    onto = train.T @ centred
    total = centred @ centred
    errors = []
    for penalty in penalties:
        kept = axes.variance / (axes.variance + penalty)
        share = 1 - (1 - kept) ** 2
        explained = onto**2 / axes.variance * share
        rest = total - float(explained.sum())
        degrees = 1 + kept.sum()
        errors.append(rest / (1 - degrees / n) ** 2)
    return float(penalties[int(np.argmin(errors))])


def _with_constant(z: np.ndarray) -> np.ndarray:
    """[n, 1 + r] rows z [n, r] behind a column of ones for the intercept."""
    ones = np.ones((len(z), 1))
    return np.concatenate([ones, z], axis=1)


def _target(codes: np.ndarray, labels: int) -> np.ndarray:
    """[n, c] the probabilities that would be right: of label 1 where there are two, else of
    each."""
    if labels == 2:
        is_second: np.ndarray = codes == 1
        return is_second[:, None].astype(np.float64)
    each: np.ndarray = np.eye(labels)[codes]
    return each


def _scores(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[penalty, n, c] by one product."""
    number, width, c = weights.shape
    side_by_side = weights.transpose(1, 0, 2).reshape(width, number * c)
    product: np.ndarray = rows @ side_by_side
    return product.reshape(len(rows), number, c).transpose(1, 0, 2)


def _back(rows: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """[penalty, 1 + r, c], the transpose of `_scores`."""
    number, n, c = residual.shape
    side_by_side = residual.transpose(1, 0, 2).reshape(n, number * c)
    product: np.ndarray = rows.T @ side_by_side
    return product.reshape(rows.shape[1], number, c).transpose(1, 0, 2)


def _probabilities(scores: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    if scores.shape[-1] == 1:
        of_second: np.ndarray = expit(scores)
        return of_second
    largest = scores.max(axis=-1, keepdims=True)
    raised = np.exp(scores - largest)
    share: np.ndarray = raised / raised.sum(axis=-1, keepdims=True)
    return share
