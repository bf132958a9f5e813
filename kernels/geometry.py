"""Exact linear algebra of logits in hidden space: Gram matrices and CKA of V-dimensional vectors
from D dimensions.

Logits are X = H W^T, so X X^T = H (W^T W) H^T: with G = W^T W every inner product of logit vectors
is a quadratic form of hidden states, V/D times cheaper and more precise than going through rounded
logits. Shapes: S steps, P positions, D features, V vocabulary.

Two traps. TF32 must be off for these products (its Gram error is 3e-4), so it is switched off
around them. Hidden states are centred before they are multiplied, because uncentred float32 Grams
lose the digits that matter. These are geometries of the exact logits; rounding logits to bfloat16
moves them by 1e-4.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor

MIN_ROWS = 4  # below that the unbiased HSIC divides by zero


class LogitGeometry:
    """Inner products of logits for one head weight [V, D]; G = W^T W is built once, in float64."""

    def __init__(self, weight: Tensor) -> None:
        device = weight.device
        wide = torch.float64
        if device.type == "mps":
            wide = torch.float32
        features = weight.shape[1]
        gram = torch.zeros(features, features, dtype=wide, device=device)
        for rows in weight.split(8192):  # never a float64 copy of the whole head
            part = rows.to(wide)
            gram += part.T @ part
        self.gram = gram.float()

    def centred_grams(self, hidden: Tensor) -> Tensor:
        """Gram matrices [..., P, P] of the logits at hidden states [..., P, D], centred over the P
        rows (float32)."""
        rows = hidden.float()
        mean = rows.mean(-2, keepdim=True)
        rows = rows - mean
        with _full_float32():
            return rows @ self.gram @ rows.transpose(-1, -2)


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
        k = _restricted(k, keep)
        l = _restricted(l, keep)
        n = keep.sum(-1)

    trace = (k * l).sum((-1, -2))
    k_rows = k.sum(-1)
    l_rows = l.sum(-1)
    product = k_rows.sum(-1) * l_rows.sum(-1) / ((n - 1) * (n - 2))
    crossed = 2.0 / (n - 2) * (k_rows * l_rows).sum(-1)
    hsic = (trace + product - crossed) / (n * (n - 3))
    return torch.where(n >= MIN_ROWS, hsic, math.nan)


def _restricted(gram: Tensor, keep: Tensor) -> Tensor:
    """Gram matrices [..., n, n] with zeros in the rows and columns where `keep` [..., n] is 0."""
    rows = keep[..., :, None]
    columns = keep[..., None, :]
    return gram * rows * columns


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
    hsic = debiased_hsic(k, l, rows)
    cka = hsic / (own_k * own_l).sqrt()
    return torch.where(valid, cka, math.nan).float()


def cka_matrix(grams: Tensor, rows: Tensor | None = None) -> Tensor:
    """Debiased CKA [S, S] between all pairs of S centred Gram matrices [S, n, n], by one matrix
    product.

    Same quantity as `debiased_cka` pair by pair: with hollow Grams flattened, the three terms of
    the unbiased HSIC are three matrix products. `rows` [S, n] (bool) restricts each matrix to some
    of its rows; only pairs with the same rows have a meaning then.
    """
    steps = grams.shape[0]
    if grams.shape[-1] < MIN_ROWS:
        return grams.new_full((steps, steps), math.nan)
    hollow = _hollow(grams, torch.float64)
    n = hollow.new_full((steps, 1), grams.shape[-1])
    if rows is not None:
        keep = rows.to(hollow.dtype)
        hollow = _restricted(hollow, keep)
        n = keep.sum(-1, keepdim=True)
    flat = hollow.flatten(1)
    sums = hollow.sum(-1)
    totals = sums.sum(-1)
    trace = flat @ flat.T
    product = torch.outer(totals, totals) / ((n - 1) * (n - 2))
    crossed = 2.0 / (n - 2) * (sums @ sums.T)
    hsic = trace + product - crossed

    own = hsic.diagonal()
    varies = (own > 0) & (n.squeeze(-1) >= MIN_ROWS)
    valid = varies[:, None] & varies[None, :]
    scale = torch.outer(own, own).sqrt()
    cka = torch.where(valid, hsic / scale, math.nan)
    return cka.float()


def _hollow(gram: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A copy with a diagonal of zeros; what is not finite there becomes NaN."""
    hollow = gram.to(dtype or gram.dtype, copy=True)
    diagonal = hollow.diagonal(dim1=-2, dim2=-1)
    diagonal -= diagonal.clone()
    return hollow
