"""What `sweep` leaves of each part of a row for `finish`: FIELDS numbers, each at its own place
(Triton)."""

from __future__ import annotations

import triton.language as tl

PEAK = tl.constexpr(0)
"""m, the largest logit."""
SCALED_PEAK = tl.constexpr(1)
"""round(m log2 e), to which S, T and the sum of e (x - y) are relative."""
SECOND = tl.constexpr(2)
SUM_S = tl.constexpr(3)
SUM_T = tl.constexpr(4)
BEST = tl.constexpr(5)
"""The largest candidate's logit."""
COUNTED = tl.constexpr(6)
"""Of the moments: how many logits, sum d, sum d^2 with d = x - CENTRE, and CENTRE itself."""
SUM_D = tl.constexpr(7)
SUM_DD = tl.constexpr(8)
CENTRE = tl.constexpr(9)
SUM_XY = tl.constexpr(10)
"""Of the comparison: sum e (x - y), and the largest x where the step before allows nothing."""
HOLE = tl.constexpr(11)
FIELDS = tl.constexpr(12)
