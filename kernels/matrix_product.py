"""How many rows a matrix product needs so that a row's last bits do not depend on how many rows
there are.

With few rows per thread a BLAS takes another code path, which sums in another order (measured with
oneMKL on AVX-512: the change lies between 4 and 5 rows per thread).
"""

from __future__ import annotations

import torch

ROWS_PER_THREAD = 16
FEWEST = 64


def safe_rows() -> int:
    """The fewest rows to hand to a matrix product; pad up to it."""
    return max(FEWEST, ROWS_PER_THREAD * torch.get_num_threads())
