"""Exact linear algebra of logits in hidden space: Gram matrices, CKA, distances, principal
components and moments of V-dimensional vectors from D dimensions.

Logits are X = H W^T, so X X^T = H (W^T W) H^T: with G = W^T W every inner product of logit vectors
is a quadratic form of hidden states, V/D times cheaper and more precise than going through rounded
logits. Shapes: S steps, P positions, D features, V vocabulary.

Three traps. TF32 must be off for these products (its Gram error is 3e-4), so it is switched off
around them. Hidden states are centred before they are multiplied, because uncentred float32 Grams
lose the digits that matter. Distances take the difference first: |a|^2 + |b|^2 - 2ab of near
neighbours is all cancellation, and torch.cdist does just that above 25 rows. These are geometries
of the exact logits; rounding logits to bfloat16 moves them by 1e-4.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

MIN_ROWS = 4  # below that the unbiased HSIC divides by zero


class Principal(NamedTuple):
    """Principal components of N logit vectors, largest first, as far as they have any variance that
    can be seen."""

    scores: Tensor  # [N, K]
    singular_values: Tensor  # [K]
    axes: Tensor  # [K, D]: the unit vector in logit space is W times the row


class LogitGeometry:
    """Inner products of logits for one head weight [V, D]; G = W^T W is built once, in float64."""

    def __init__(self, weight: Tensor) -> None:
        wide = torch.float64 if weight.device.type != "mps" else torch.float32
        gram = torch.zeros(weight.shape[1], weight.shape[1], dtype=wide, device=weight.device)
        columns = torch.zeros(weight.shape[1], dtype=wide, device=weight.device)
        for rows in weight.split(8192):  # never a float64 copy of the whole head
            part = rows.to(wide)
            gram += part.T @ part
            columns += part.sum(0)
        self.weight = weight
        self.vocabulary = weight.shape[0]
        self.wide_gram = gram
        self.column_sum = columns
        self.gram = gram.float()

    @cached_property
    def root(self) -> Tensor:
        """R [D, D] (float32) with R R^T = G, so |x_i - x_j| = |(h_i - h_j) R|; good for a
        rank-deficient head too."""
        return _root(self.wide_gram)

    @cached_property
    def centred_root(self) -> Tensor:
        """R [D, D] of G - (W^T 1)(W^T 1)^T / V: the same for logits centred over the vocabulary."""
        return _root(
            self.wide_gram - torch.outer(self.column_sum, self.column_sum) / self.vocabulary
        )

    def features(self, hidden: Tensor, *, space: str = "logits") -> Tensor:
        """Vectors [..., D] (float32) with the same distances and inner products as the logits of
        hidden [..., D].

        `space="clr"`: logits minus their mean over the vocabulary (Aitchison geometry of the
        probabilities).
        """
        roots = {"logits": "root", "clr": "centred_root"}
        if space not in roots:
            raise ValueError(f"space is {space!r}; use one of {', '.join(roots)}")
        with _full_float32():
            return hidden.float() @ getattr(self, roots[space])

    def centred_grams(self, hidden: Tensor) -> Tensor:
        """Gram matrices [..., P, P] of the logits at hidden states [..., P, D], centred over the P
        rows (float32)."""
        rows = hidden.float()
        rows = rows - rows.mean(-2, keepdim=True)
        with _full_float32():
            return rows @ self.gram @ rows.transpose(-1, -2)

    def distances(self, hidden: Tensor, others: Tensor | None = None) -> Tensor:
        """Euclidean distances [N, M] between the logits at hidden [N, D] and others [M, D]
        (default: the same)."""
        centre = hidden.float().mean(0)
        ours = self.features(hidden.float() - centre)
        theirs = ours if others is None else self.features(others.float() - centre)
        return torch.cdist(ours, theirs, compute_mode="donot_use_mm_for_euclid_dist")

    def step_lengths(self, hidden: Tensor) -> Tensor:
        """How far the logits move between consecutive hidden states [..., S, D]: [..., S - 1]."""
        return self.features(hidden.float().diff(dim=-2)).norm(dim=-1)

    def pca(self, hidden: Tensor, n_components: int = 50) -> Principal:
        """Principal components of the logits at hidden [N, D]."""
        rows = hidden.double()
        features = (rows - rows.mean(0)) @ _root(self.wide_gram, torch.float64)
        left, values, right = torch.linalg.svd(features, full_matrices=False)
        seen = values > values[:1] * max(features.shape) * torch.finfo(torch.float32).eps
        k = min(n_components, int(seen.sum()))
        # An axis in logit space is X^T u / s = W (h_c^T u) / s, which is W times this.
        axes = (rows - rows.mean(0)).T @ left[:, :k] / values[:k]
        return Principal((left[:, :k] * values[:k]).float(), values[:k].float(), axes.T.float())

    def mean_logits(self, hidden: Tensor) -> Tensor:
        """The mean [V] (float32) of the logits at hidden [N, D]: the logits of the mean hidden
        state."""
        mean = hidden.double().mean(0)
        return torch.cat([(part.double() @ mean).float() for part in self.weight.split(8192)])

    def moments(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and second moment [...] (float64, nats and nats^2) over the vocabulary of the logits
        at hidden [..., D].

        The variance is not their difference, which cancels; it is |h centred_root|^2 / V.
        """
        rows = hidden.double()
        mean = rows @ self.column_sum / self.vocabulary
        return mean, ((rows @ self.wide_gram) * rows).sum(-1) / self.vocabulary

    def spread(self, hidden: Tensor) -> Tensor:
        """Standard deviation [...] (float32, nats) over the vocabulary of the logits at hidden
        [..., D]."""
        return self.features(hidden, space="clr").norm(dim=-1) / math.sqrt(self.vocabulary)


def _root(gram: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp_min(0).sqrt()).to(
        dtype
    )  # a Cholesky factor would not exist for a tied head


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def debiased_hsic(k: Tensor, l: Tensor, rows: Tensor | None = None) -> Tensor:
    """Unbiased HSIC [...] of Gram matrices [..., n, n] (Song et al. 2012, eq. 5). NaN for n < 4.

    `rows` [..., n] (bool) restricts each matrix to some of its rows. The estimator removes any
    centring by itself, so Grams centred over all rows give the value of the subset.
    """
    k = _hollow(k)
    l = _hollow(l)
    n = torch.full(k.shape[:-2], float(k.shape[-1]), dtype=k.dtype, device=k.device)
    if rows is not None:
        keep = rows.to(k.dtype)
        k, l = (m * keep[..., :, None] * keep[..., None, :] for m in (k, l))
        n = keep.sum(-1)
    trace = (k * l).sum((-1, -2))
    k_rows = k.sum(-1)
    l_rows = l.sum(-1)
    product = k_rows.sum(-1) * l_rows.sum(-1) / ((n - 1) * (n - 2))
    hsic = (trace + product - 2.0 / (n - 2) * (k_rows * l_rows).sum(-1)) / (n * (n - 3))
    return torch.where(n >= MIN_ROWS, hsic, math.nan)


def debiased_cka(k: Tensor, l: Tensor, rows: Tensor | None = None) -> Tensor:
    """Debiased linear CKA [...]: HSIC(k, l) / sqrt(HSIC(k, k) HSIC(l, l)). May be slightly
    negative; never clamped.

    NaN where a side has no variance that the estimator can see (its own HSIC is not positive) and
    for n < 4.
    """
    k = k.double()
    l = l.double()
    own_k = debiased_hsic(k, k, rows)
    own_l = debiased_hsic(l, l, rows)
    valid = (own_k > 0) & (own_l > 0)
    return torch.where(valid, debiased_hsic(k, l, rows) / (own_k * own_l).sqrt(), math.nan).float()


def cka_matrix(grams: Tensor) -> Tensor:
    """Debiased CKA [S, S] between all pairs of S centred Gram matrices [S, n, n], by one matrix
    product.

    Same quantity as `debiased_cka` pair by pair: with hollow Grams flattened, the three terms of
    the unbiased HSIC are three matrix products.
    """
    steps = grams.shape[0]
    n = grams.shape[-1]
    if n < MIN_ROWS:
        return grams.new_full((steps, steps), math.nan)
    hollow = _hollow(grams, torch.float64)
    flat = hollow.flatten(1)
    rows = hollow.sum(-1)
    totals = rows.sum(-1)
    hsic = (
        flat @ flat.T
        + torch.outer(totals, totals) / ((n - 1) * (n - 2))
        - 2.0 / (n - 2) * (rows @ rows.T)
    )
    own = hsic.diagonal()
    valid = (own > 0)[:, None] & (own > 0)[None, :]
    return torch.where(valid, hsic / torch.outer(own, own).sqrt(), math.nan).float()


def _hollow(gram: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A copy with a diagonal of zeros; what is not finite there becomes NaN."""
    hollow = gram.to(dtype or gram.dtype, copy=True)
    diagonal = hollow.diagonal(dim1=-2, dim2=-1)
    diagonal -= diagonal.clone()
    return hollow
