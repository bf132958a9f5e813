"""The few shapes of a run's packed batches that a compiled network meets (`--compile`).

They follow from the run, never from the batch at hand: torch.compile makes each shape once and
refuses a ninth, and a worker meets hundreds of batches. Knows nothing of canvases or models.
"""

from __future__ import annotations

from typing import NamedTuple

SIZES = 4
"""How many sizes of the packed batch there are."""
SIZE_STEP = 64
LONGEST_STEP = 128
"""What a size, and the longest row that the attention kernel is told of, are multiples of."""


class Shapes(NamedTuple):
    """Packed tokens are padded to a multiple of `bucket` by rows of `padding_row`, row boundaries
    to `rows`.

    No row is longer than `longest`.
    """

    bucket: int
    rows: int
    longest: int
    padding_row: int


def shapes_of(*, token_budget: int, longest: int, gen_length: int, copies: int = 1) -> Shapes:
    """The shapes of batches within `token_budget` of rows of more than `gen_length` and at most
    `longest` tokens.

    `copies`: how often each row goes through the network, 2 under guidance. A row longer than the
    budget runs alone, so the sizes reach to the longer of the two.
    """
    longest = _up(longest, LONGEST_STEP)
    bucket = _up(-(-max(token_budget, longest) * copies // SIZES), SIZE_STEP)
    most_rows = copies * max(1, token_budget // gen_length)
    padding_row = max(gen_length, LONGEST_STEP)
    most_padding = -(-bucket // padding_row)
    return Shapes(bucket, most_rows + most_padding, longest, padding_row)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
