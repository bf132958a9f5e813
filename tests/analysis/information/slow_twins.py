"""Every estimator once more, point by point from its formula, on columns that were prepared
already. In nats.

`closed` and the like make the mistakes that tools in this field make, so that tests can show we do
not make them.
"""

from __future__ import annotations

from collections import Counter
from math import log

import numpy as np
from scipy.special import digamma


def distances(points: np.ndarray) -> np.ndarray:
    """[n, n] maximum-norm distances."""
    points = points.reshape(len(points), -1)
    return np.array([[max(abs(a - b)) for b in points] for a in points])


def ksg1(x: np.ndarray, y: np.ndarray, k: int, *, closed: bool = False) -> float:
    dx, dy = distances(x), distances(y)
    n, total = len(x), 0.0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        eps = sorted(max(dx[i, j], dy[i, j]) for j in others)[k - 1]
        counts = [
            sum((d[i, j] <= eps) if closed else (d[i, j] < eps) for j in others) for d in (dx, dy)
        ]
        total += digamma(counts[0] + 1) + digamma(counts[1] + 1)
    return float(digamma(k) + digamma(n) - total / n)


def ksg2(x: np.ndarray, y: np.ndarray, k: int, *, one_radius: bool = False) -> float:
    dx, dy = distances(x), distances(y)
    n, total = len(x), 0.0
    for i in range(n):
        others = sorted((j for j in range(n) if j != i), key=lambda j: max(dx[i, j], dy[i, j]))
        radii = [max(d[i, j] for j in others[:k]) for d in (dx, dy)]
        radii = [max(radii)] * 2 if one_radius else radii
        total += sum(
            digamma(sum(d[i, j] <= r for j in others)) for d, r in zip((dx, dy), radii, strict=True)
        )
    return float(digamma(k) - 1 / k + digamma(n) - total / n)


def ross(x: np.ndarray, codes: np.ndarray, k: int) -> float:
    d, n, total = distances(x), len(x), 0.0
    for i in range(n):
        same = sorted(d[i, j] for j in range(n) if j != i and codes[j] == codes[i])
        k_i = min(k, len(same))
        inside = sum(d[i, j] < same[k_i - 1] for j in range(n))
        total += digamma(k_i) - digamma(len(same) + 1) - digamma(inside)
    return float(digamma(n) + total / n)


def gao(x: np.ndarray, y: np.ndarray, k: int, *, paper: bool = False) -> float:
    """`paper`: the line as printed, closed balls and log(n + 1)."""
    dx, dy = distances(x), distances(y)
    n, total = len(x), 0.0
    for i in range(n):
        joint = np.maximum(dx[i], dy[i])
        eps = sorted(joint[j] for j in range(n) if j != i)[k - 1]
        k_i = int((joint == 0).sum()) if eps == 0 else k
        if paper:
            counts = [log(int((d[i] <= eps).sum())) for d in (dx, dy)]
        else:
            counts = [
                digamma(int((d[i] == 0).sum() if eps == 0 else (d[i] < eps).sum()))
                for d in (dx, dy)
            ]
        total += digamma(k_i) + log(n) - sum(counts)
    return float(total / n)


def plug_in(x: np.ndarray, y: np.ndarray) -> float:
    n = len(x)
    px, py, pxy = (
        Counter(values)
        for values in (x.tolist(), y.tolist(), list(zip(x.tolist(), y.tolist(), strict=True)))
    )
    return sum(count / n * log(count * n / (px[a] * py[b])) for (a, b), count in pxy.items())


def miller_madow(x: np.ndarray, y: np.ndarray) -> float:
    cells = [
        len(set(x.tolist())),
        len(set(y.tolist())),
        len(set(zip(x.tolist(), y.tolist(), strict=True))),
    ]
    return plug_in(x, y) + (cells[0] + cells[1] - cells[2] - 1) / (2 * len(x))


def gaussian(*parts: np.ndarray) -> float:
    """Gaussian information of two sets of columns [n, d] by their log determinants, psi bias of
    each taken off."""

    def entropy(z: np.ndarray) -> float:
        n, d = z.shape
        bias = sum(digamma((n - i) / 2) for i in range(1, d + 1)) + d * (log(2) - log(n - 1))
        return (log(np.linalg.det(np.cov(z.T).reshape(d, d))) - bias) / 2

    return entropy(parts[0]) + entropy(parts[1]) - entropy(np.concatenate(parts, axis=1))
