"""What decoding takes of a device's memory: weights, trajectories, activations, logits, each by its
arithmetic.

One account for two uses: the token budget that free memory allows, and the factors of an estimate.
Knows shapes alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...kernels.ring import LIMIT_BYTES
from ..config import RunConfig
from ..decoding.loop import ROWS_AHEAD
from ..decoding.trajectory import steps_at_once
from ..models.loading import MaskedDiffusionModel

SHARE_OF_FREE_MEMORY = 0.8
CHUNK_ROWS = 1024
"""Rows of logits that the head works on at a time, in about six copies."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of decoding by what they grow with. `width` features, `mlp` inner features; `item`
    bytes a value, `logit_item` a logit."""

    steps: int
    gen_length: int
    width: int
    mlp: int
    vocabulary: int
    item: int
    logit_item: int
    kept: int
    guided: bool = False
    mean_hidden: bool = True
    save_logits: str = "topk"

    @property
    def cell(self) -> int:
        """Of one step of one position of a row: its hidden state, top-k logits, and twelve
        numbers."""
        return self.width * self.item + self.kept * (4 + self.logit_item) + 4 * 12

    @property
    def row(self) -> int:
        """Of one row's trajectory."""
        return self.steps * self.gen_length * self.cell

    @property
    def token(self) -> int:
        """Activations of one packed token of the budget; guidance sends it through the network
        twice."""
        return (8 * self.width + 3 * self.mlp) * self.item * (2 if self.guided else 1)

    @property
    def ring_row(self) -> int:
        """One row's logits of the step before."""
        return self.gen_length * self.vocabulary * self.logit_item

    @property
    def hidden_sum(self) -> int:
        """The sum of finished problems' hidden states, in float32, whatever the model's dtype; 0
        where none is kept."""
        return self.steps * self.gen_length * self.width * 4 if self.mean_hidden else 0

    @property
    def finish(self) -> int:
        """What a problem that leaves takes while its trajectory is reduced
        (`engine/decoding/trajectory.py`).

        Gram matrices of all steps in float32 and once more, hollow, in float64; the larger of two
        working sets, of rows on the way to a Gram matrix (as they come, in float32, centred, times
        G) or of pairs of Gram matrices (nine in float64 at most); copies of its columns that go to
        the host, and of those begun before it was graded; of all logits, if they are kept, a part.
        """
        cells = self.steps * self.gen_length
        grams = cells * self.gen_length
        rows = self._at_once(self.width) * (self.item + 3 * 4)
        pairs = self._at_once(self.gen_length) * 9 * 8
        copies = cells * (self.cell - self.width * self.item)
        if self.save_logits == "hidden":
            copies += cells * self.width * self.item
        logits = self._at_once(self.vocabulary) * self.item if self.save_logits == "full" else 0
        return grams * (4 + 8) + max(rows, pairs) + (1 + ROWS_AHEAD) * copies + logits

    def _at_once(self, width: int) -> int:
        """The most elements of `width` for each position that are worked on together."""
        parts = steps_at_once(self.steps, positions=self.gen_length, width=width)
        longest = max(part.stop - part.start for part in parts)
        return longest * self.gen_length * width

    def chunk(self, rows: int) -> int:
        """Logits being worked on, where `rows` rows of the head are read in a step."""
        return min(CHUNK_ROWS, rows) * self.vocabulary * (4 * 4 + 2 * self.logit_item)

    def ring(self, capacity: int) -> int:
        """The logits of the step before of all rows; 0 where they would be too many to be kept."""
        need = capacity * self.ring_row
        return need if need <= LIMIT_BYTES else 0


def footprint(config: RunConfig, model: MaskedDiffusionModel) -> Footprint:
    """The footprint of decoding with `model` as `config` says."""
    vocabulary, width = model.head_weight.shape
    return Footprint(
        config.steps,
        config.gen_length,
        width,
        model.network.config.intermediate_size,
        vocabulary,
        model.dtype.itemsize,
        model.logits_dtype(config.logits_dtype).itemsize,
        min(config.topk, vocabulary) if config.save_logits != "none" else 0,
        config.guided,
        config.mean_hidden,
        config.save_logits,
    )


def budget_that_fits(free: float, need: Footprint, *, shortest: int) -> int:
    """Packed tokens that may be in flight with `free` bytes, a fifth of which stays free; at least
    one row's worth.

    `shortest` is the shortest row in tokens: every row keeps a whole trajectory and its last
    logits, so short rows cost most per token. Where all rows' logits are too many to be kept, the
    room goes to more rows. Problems leave one at a time, between two steps.
    """
    room = SHARE_OF_FREE_MEMORY * free - need.chunk(CHUNK_ROWS) - need.finish - need.hidden_sum
    per_token = need.row / shortest + need.token
    with_ring = int(room / (per_token + need.ring_row / shortest))
    ring_fits = with_ring // shortest * need.ring_row <= LIMIT_BYTES
    return max(shortest, with_ring if ring_fits else int(room / per_token))
