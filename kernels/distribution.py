"""Rows of logits as distributions, in plain torch: the softmax, and means under it that keep their
digits.

A logit at or below FLOOR counts as -inf, one at or above CEILING as +inf. Shapes: N rows, V
vocabulary.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

BITS_PER_NAT = 1.0 / math.log(2.0)
FLOOR = -(2.0**30)
CEILING = 2.0**30


class Distribution(NamedTuple):
    """softmax(x). `ordinary`: nothing in x is NaN, -inf or at FLOOR, so no product under the sums
    can be 0 * inf.

    The softmax's own sum is only good to 4e-6 at V = 126464; dividing by `mass`, the sum of what it
    gave, takes that error out.
    """

    x: Tensor  # [N, V]
    p: Tensor  # [N, V], bit for bit what the published samplers compare
    mass: Tensor  # [N]
    ordinary: bool

    def mean(self, values: Tensor) -> Tensor:
        """sum p v / sum p over p > 0 [N]; overwrites `values` [N, V].

        A product and torch's pairwise sum: a BLAS dot product in float32 loses two digits at V =
        126464.
        """
        if self.ordinary:
            terms = values.mul_(self.p)
        else:
            terms = torch.where(self.p > 0, self.p * values, 0.0)
        return terms.sum(-1) / self.mass


def widen(logits: Tensor) -> Tensor:
    """The logits in the dtype the arithmetic is done in: float32, or float64 if they are float64
    already."""
    if logits.dtype in (torch.float32, torch.float64):
        return logits
    return logits.float()


def floored(x: Tensor) -> Tensor:
    """The same with -inf where a logit is at or below FLOOR; a NaN stays one."""
    return torch.where(x <= FLOOR, -math.inf, x)


def distribution(x: Tensor) -> Distribution:
    """softmax of rows [N, V] in float32 or float64."""
    # Looked at on the CPU alone, where looking costs no wait. The smallest of some with a NaN among
    # them is NaN.
    ordinary = x.device.type == "cpu" and len(x) > 0 and bool(x.amin() > FLOOR)
    if not ordinary:
        x = floored(x)
    p = x.softmax(-1)
    return Distribution(x, p, p.sum(-1), ordinary)


def kl_divergence(p: Distribution, lse_x: Tensor, y: Tensor, lse_y: Tensor) -> Tensor:
    """KL(p || q) in bits [N] for q = softmax(y): sum p (x - y) - (lse_x - lse_y); +inf where q = 0
    < p."""
    p = p._replace(ordinary=p.ordinary and bool(y.amin() > FLOOR))
    if p.ordinary:
        difference = p.x - y
    else:
        difference = torch.where(p.p > 0, p.x - floored(y), 0.0)
    return (p.mean(difference) - (lse_x - lse_y)) * BITS_PER_NAT
