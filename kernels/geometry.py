"""Exact linear algebra of logits in hidden space: Gram matrices and CKA of V-dimensional vectors from D dimensions.

Logits are X = H W^T, so X X^T = H (W^T W) H^T: with G = W^T W every inner product of logit vectors is a quadratic
form of hidden states, V/D times cheaper and more precise than going through rounded logits. Shapes: S steps,
P positions, D features, V vocabulary.

TF32 must be off for these products (its Gram error is 3e-4); hidden states are centred before they are multiplied,
because uncentred float32 Grams lose the digits that matter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MIN_ROWS = 4  # below that the unbiased HSIC divides by zero


class LogitGeometry:
    """Inner products of logits for one head weight [V, D]; G is built once, in float64."""

    def __init__(self, weight: Tensor) -> None:
        wide = torch.float64 if weight.device.type != "mps" else torch.float32
        gram = torch.zeros(weight.shape[1], weight.shape[1], dtype=wide, device=weight.device)
        for rows in weight.split(8192):  # never a float64 copy of the whole head
            part = rows.to(wide)
            gram += part.T @ part
        self.gram = gram.float()

    def centred_grams(self, hidden: Tensor) -> Tensor:
        """Gram matrices [..., P, P] of the logits at hidden states [..., P, D], centred over the P rows (float32)."""
        rows = hidden.float()
        rows = rows - rows.mean(-2, keepdim=True)
        return rows @ self.gram @ rows.transpose(-1, -2)


def debiased_hsic(k: Tensor, l: Tensor, rows: Tensor | None = None) -> Tensor:  # noqa: E741 - the paper's letters
    """Unbiased HSIC [...] of Gram matrices [..., n, n] (Song et al. 2012, eq. 5). NaN for n < 4.

    `rows` [..., n] (bool) restricts each matrix to some of its rows. The estimator removes any centring by itself, so
    Grams centred over all rows give the value of the subset.
    """
    k, l = _hollow(k), _hollow(l)  # noqa: E741
    n = torch.full(k.shape[:-2], float(k.shape[-1]), dtype=k.dtype, device=k.device)
    if rows is not None:
        keep = rows.to(k.dtype)
        k, l = (m * keep[..., :, None] * keep[..., None, :] for m in (k, l))  # noqa: E741
        n = keep.sum(-1)
    trace = (k * l).sum((-1, -2))
    k_rows, l_rows = k.sum(-1), l.sum(-1)
    product = k_rows.sum(-1) * l_rows.sum(-1) / ((n - 1) * (n - 2))
    hsic = (trace + product - 2.0 / (n - 2) * (k_rows * l_rows).sum(-1)) / (n * (n - 3))
    return torch.where(n >= MIN_ROWS, hsic, math.nan)


def debiased_cka(k: Tensor, l: Tensor, rows: Tensor | None = None) -> Tensor:  # noqa: E741
    """Debiased linear CKA [...]: HSIC(k, l) / sqrt(HSIC(k, k) HSIC(l, l)). May be slightly negative; never clamped.

    NaN where a side has no variance that the estimator can see (its own HSIC is not positive) and for n < 4.
    """
    k, l = k.double(), l.double()  # noqa: E741
    own_k, own_l = debiased_hsic(k, k, rows), debiased_hsic(l, l, rows)
    valid = (own_k > 0) & (own_l > 0)
    return torch.where(valid, debiased_hsic(k, l, rows) / (own_k * own_l).sqrt(), math.nan).float()


def cka_matrix(grams: Tensor) -> Tensor:
    """Debiased CKA [S, S] between all pairs of S centred Gram matrices [S, n, n], by one matrix product.

    Same quantity as `debiased_cka` pair by pair: with hollow Grams flattened, the three terms of the unbiased HSIC
    are three matrix products.
    """
    steps, n = grams.shape[0], grams.shape[-1]
    if n < MIN_ROWS:
        return grams.new_full((steps, steps), math.nan)
    hollow = _hollow(grams.double())
    flat, rows = hollow.flatten(1), hollow.sum(-1)
    totals = rows.sum(-1)
    hsic = flat @ flat.T + torch.outer(totals, totals) / ((n - 1) * (n - 2)) - 2.0 / (n - 2) * (rows @ rows.T)
    own = hsic.diagonal()
    valid = (own > 0)[:, None] & (own > 0)[None, :]
    return torch.where(valid, hsic / torch.outer(own, own).sqrt(), math.nan).float()


def _hollow(gram: Tensor) -> Tensor:
    return gram - torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))
