"""What decoding takes of a device's memory: weights, trajectories, activations, logits, each by its arithmetic.

One account for two uses: the token budget that free memory allows, and the factors of an estimate. Knows shapes alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..kernels.ring import LIMIT_BYTES
from .config import RunConfig
from .models.loading import MaskedDiffusionModel

SHARE_OF_FREE_MEMORY = 0.8
CHUNK_ROWS = 1024
"""Rows of logits that the head works on at a time, in about six copies."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of decoding by what they grow with. `width` features, `mlp` inner features; `item` bytes a value,
    `logit_item` a logit."""

    steps: int
    gen_length: int
    width: int
    mlp: int
    vocabulary: int
    item: int
    logit_item: int
    kept: int
    guided: bool = False

    @property
    def cell(self) -> int:
        """Of one step of one position of a row: its hidden state, top-k logits, and twelve numbers."""
        return self.width * self.item + self.kept * (4 + self.logit_item) + 4 * 12

    @property
    def row(self) -> int:
        """Of one row's trajectory."""
        return self.steps * self.gen_length * self.cell

    @property
    def token(self) -> int:
        """Activations of one packed token of the budget; guidance sends it through the network twice."""
        return (8 * self.width + 3 * self.mlp) * self.item * (2 if self.guided else 1)

    @property
    def ring_row(self) -> int:
        """One row's logits of the step before."""
        return self.gen_length * self.vocabulary * self.logit_item

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
        config.cfg_scale > 0,
    )


def budget_that_fits(free: float, need: Footprint, *, shortest: int) -> int:
    """Packed tokens that may be in flight with `free` bytes, a fifth of which stays free; at least one row's worth.

    `shortest` is the shortest row in tokens: every row keeps a whole trajectory and its last logits, so short rows
    cost most per token. Where all rows' logits are too many to be kept, the room goes to more rows.
    """
    room = SHARE_OF_FREE_MEMORY * free - need.chunk(CHUNK_ROWS)
    per_token = need.row / shortest + need.token
    with_ring = int(room / (per_token + need.ring_row / shortest))
    ring_fits = with_ring // shortest * need.ring_row <= LIMIT_BYTES
    return max(shortest, with_ring if ring_fits else int(room / per_token))
