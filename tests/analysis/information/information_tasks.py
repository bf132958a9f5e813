"""Samplers with known mutual information, one for each task of `mi_acceptance.csv`, and the rows of
that table.

Truths come from formulas or quadrature, not from any estimator. `x`, `y` are pairs; labels are
integers.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.linalg import expm
from scipy.stats import norm

TABLE = Path(__file__).with_name("mi_acceptance.csv")
Pair = tuple[np.ndarray, np.ndarray]
Rng = np.random.Generator

CIRCLE_10 = 3.511254
"""Radius at which ten unit Gaussians on a circle carry 1.6507 nats about their label (checked by
quadrature)."""


def rows(n: int) -> list[dict[str, str]]:
    """The rows of the table for samples of `n`."""
    with TABLE.open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if int(row["n"]) == n]


def normal(n: int, rng: Rng, *, rho: float = 0.75) -> Pair:
    """Bivariate normal; -1/2 log(1 - rho^2)."""
    x, noise = rng.normal(size=(2, n))
    return x, rho * x + np.sqrt(1 - rho**2) * noise


def multinormal(n: int, rng: Rng, covariance: np.ndarray) -> Pair:
    z = rng.normal(size=(n, len(covariance))) @ np.linalg.cholesky(covariance).T
    return z[:, : len(covariance) // 2], z[:, len(covariance) // 2 :]


def pairs(n: int, rng: Rng, *, d: int, rho: float = 0.8) -> Pair:
    """The first two columns of x and y are correlated, the rest independent."""
    covariance = np.eye(2 * d)
    for column in (0, 1):
        covariance[column, d + column] = covariance[d + column, column] = rho
    return multinormal(n, rng, covariance)


def dense(n: int, rng: Rng) -> Pair:
    return multinormal(n, rng, np.full((10, 10), 0.5) + 0.5 * np.eye(10))


def zero(n: int, rng: Rng) -> Pair:
    return rng.normal(size=n), rng.normal(size=n)


def half_cube(n: int, rng: Rng) -> Pair:
    x, y = normal(n, rng)
    return np.sign(x) * np.abs(x) ** 1.5, np.sign(y) * np.abs(y) ** 1.5


def additive(n: int, rng: Rng, *, eps: float = 0.1) -> Pair:
    x = rng.random(n)
    return x, x + rng.uniform(-eps, eps, n)


def student(n: int, rng: Rng) -> Pair:
    """Bivariate Cauchy, identity dispersion: log(8 pi) - 3."""
    z = rng.normal(size=(2, n)) / np.sqrt(rng.chisquare(1, n))
    return z[0], z[1]


def asinh_student(n: int, rng: Rng) -> Pair:
    x, y = student(n, rng)
    return np.arcsinh(x), np.arcsinh(y)


def spiral(n: int, rng: Rng) -> Pair:
    """Each vector turned by an angle that grows with its squared length: a bijection, so the
    information stays."""
    x, y = pairs(n, rng, d=3)
    return _turned(x, 0, 1), _turned(y, 1, 2)


def _turned(z: np.ndarray, one: int, other: int) -> np.ndarray:
    generator = np.zeros((3, 3))
    generator[one, other], generator[other, one] = -1.0, 1.0
    return np.stack([expm(generator * (row @ row) / 3) @ row for row in z])


def swiss_roll(n: int, rng: Rng) -> Pair:
    x, y = normal(n, rng)
    t = 1.5 * np.pi * (1 + 2 * norm.cdf(x))
    return np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 21, norm.cdf(y)


def binary(n: int, rng: Rng, *, noise: int = 0, share: float = 0.5) -> Pair:
    """One unit Gaussian column with mean -1 or 1, the others noise."""
    y = (rng.random(n) < share).astype(np.int64)
    return np.concatenate(
        [(2 * y - 1)[:, None] + rng.normal(size=(n, 1)), rng.normal(size=(n, noise))], axis=1
    ), y


def ten_classes(n: int, rng: Rng) -> Pair:
    y = rng.integers(0, 10, n)
    angle = 2 * np.pi * y / 10
    return CIRCLE_10 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + rng.normal(size=(n, 2)), y


def zero_labels(n: int, rng: Rng, *, labels: int) -> Pair:
    return rng.normal(size=n), rng.integers(0, labels, n)


def uniform_steps(n: int, rng: Rng) -> Pair:
    """Gao et al. 2017: the label m is uniform on 0..4, x uniform on [m, m + 2]."""
    y = rng.integers(0, 5, n)
    return y + 2 * rng.random(n), y


def saturated(n: int, rng: Rng) -> Pair:
    """A confidence that is exactly 1 with chance .6 or .2 by label, else uniform."""
    y = rng.integers(0, 2, n)
    return np.where(rng.random(n) < np.where(y == 1, 0.6, 0.2), 1.0, rng.random(n)), y


def inflated_poisson(n: int, rng: Rng) -> Pair:
    x = rng.exponential(size=n)
    return x, np.where(rng.random(n) < 0.15, 0, rng.poisson(x))


def bfloat16(n: int, rng: Rng) -> Pair:
    """Offset 20, rounded to 8 bits of mantissa: steps of .125."""
    return tuple(np.round((20 + value) * 8) / 8 for value in normal(n, rng))  # type: ignore[return-value]


TASKS: dict[str, Callable[[int, Rng], Pair]] = {
    "1v1-normal-0.75": normal,
    "1v1-normal-0.99": lambda n, rng: normal(n, rng, rho=0.99),
    "zero-1v1": zero,
    "half_cube-1v1": half_cube,
    "1v1-additive-0.1": additive,
    "student-1-1-1": student,
    "asinh-student-1-1-1": asinh_student,
    "multinormal-dense-5": dense,
    "multinormal-2pair-5": lambda n, rng: pairs(n, rng, d=5),
    "spiral-2pair-3": spiral,
    "swissroll-2v1": swiss_roll,
    "cd-bin-d1": binary,
    "cd-bin-d5": lambda n, rng: binary(n, rng, noise=4),
    "cd-bin-d50": lambda n, rng: binary(n, rng, noise=49),
    "cd-rare5%-d1": lambda n, rng: binary(n, rng, share=0.05),
    "cd-10class-d2": ten_classes,
    "cd-zero-bin-d1": lambda n, rng: zero_labels(n, rng, labels=2),
    "cd-zero-500class-d1": lambda n, rng: zero_labels(n, rng, labels=500),
    "cd-unif-m5": uniform_steps,
    "mix-atom-bin": saturated,
    "mix-zip-p.15": inflated_poisson,
    "bf16-1v1-normal-.75": bfloat16,
}
