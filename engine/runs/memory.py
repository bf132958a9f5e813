"""What decoding takes of a device's memory: weights, trajectories, activations, logits, each by its
arithmetic.

One account for two uses: the token budget that free memory allows, and the factors of an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...kernels.ring import LIMIT_BYTES
from ..config import RunConfig
from ..decoding.loop import ROWS_AHEAD
from ..decoding.slots import SEEN_MASKED_BYTES
from ..decoding.trajectory import steps_at_once
from ..models.cache import token_bytes
from ..models.experts import inner_features
from ..models.loading import MaskedDiffusionModel
from ..store.counts import count_text
from ..store.format.schema import CELL, variables_in_flight
from ..store.format.variable import ITEM_BYTES
from .factors import Factor

SHARE_OF_FREE_MEMORY = 0.8
ANSWER_TOKENS = 2
"""Of a gold answer, where nobody has looked at the answers: most are short numbers."""
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
    record: str = "all"
    of_blocks: bool = False
    revises: bool = False
    answer_tokens: int = ANSWER_TOKENS
    block_length: int = 0
    cache_token: int = 0

    @property
    def open(self) -> int:
        """Generated positions of a row that the device holds of each step: all of them, or those of
        the open block."""
        return self.block_length or self.gen_length

    @property
    def cell(self) -> int:
        """Of one step of one position of a row: what the recorder's slots hold of it."""
        sizes = {
            "step": 1,
            "position": 1,
            "answer_token": self.answer_tokens,
            "k": self.kept,
            "feature": self.width,
        }
        items = ITEM_BYTES | {"model": self.item, "logits": self.logit_item}
        numbers = SEEN_MASKED_BYTES
        others = 0
        for row in variables_in_flight(self):
            size = items[row.dtype] * row.size(sizes)
            if row.dims == CELL:
                numbers += size
            else:
                others += size
        return _whole_words(numbers) + others

    @property
    def row(self) -> int:
        """Of one row's trajectory."""
        return self.steps * self.open * self.cell

    @property
    def token(self) -> int:
        """Activations of one packed token of the budget; guidance sends it through the network
        twice."""
        return (8 * self.width + 3 * self.mlp) * self.item * (2 if self.guided else 1)

    @property
    def ring_row(self) -> int:
        """One row's logits of the step before."""
        return self.open * self.vocabulary * self.logit_item

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
        grams = self.steps * self.open**2 * (4 + 8)
        rows = self._at_once(self.open, self.width) * (self.item + 3 * 4)
        pairs = self._at_once(self.open, self.open) * 9 * 8

        cells = self.steps * self.gen_length
        hidden = cells * self.width * self.item
        copies = cells * (self.cell - self.width * self.item)
        if self.save_logits == "hidden":
            copies += hidden

        logits = 0
        if self.save_logits == "full":
            logits = self._at_once(self.gen_length, self.vocabulary) * self.item
        return (
            grams + max(rows, pairs) + (1 + ROWS_AHEAD) * copies + logits + self._unfolding(copies)
        )

    def _unfolding(self, copies: int) -> int:
        """What open blocks take beside that, given the `copies` of one problem: columns laid out
        over all positions before they are copied, the states of which all logits are made, states
        without what nobody read and the mask of it, Gram matrices without it, twice."""
        if not self.of_blocks:
            return 0
        read = self.steps * self.open * (self.width * (self.item + 1) + 2 * self.open * 8)
        states = self.steps * self.gen_length * self.width * self.item
        return copies + read + (states if self.save_logits == "full" else 0)

    def _at_once(self, positions: int, width: int) -> int:
        """The most elements of `width` for each position that are worked on together."""
        parts = steps_at_once(self.steps, positions=positions, width=width)
        longest = max(int(part.stop - part.start) for part in parts)
        return longest * positions * width

    def chunk(self, rows: int) -> int:
        """Logits being worked on, where `rows` rows of the head are read in a step."""
        return min(CHUNK_ROWS, rows) * self.vocabulary * (4 * 4 + 2 * self.logit_item)

    def ring(self, capacity: int) -> int:
        """The logits of the step before of all rows; 0 where they would be too many to be kept."""
        need = capacity * self.ring_row
        return need if need <= LIMIT_BYTES else 0


def _whole_words(size: int) -> int:
    return -(-size // 4) * 4


def footprint(config: RunConfig, model: MaskedDiffusionModel, *, keeps: bool = True) -> Footprint:
    """The footprint of decoding with `model` as `config` says; `keeps`: with a cache, if it is of a
    model that can have one."""
    vocabulary, width = model.head_weight.shape
    return Footprint(
        steps=config.steps,
        gen_length=config.gen_length,
        width=width,
        mlp=inner_features(model.network.config),
        vocabulary=vocabulary,
        item=model.dtype.itemsize,
        logit_item=model.logits_dtype(config.logits_dtype).itemsize,
        kept=min(config.topk, vocabulary) if config.save_logits != "none" else 0,
        guided=config.guided,
        mean_hidden=config.mean_hidden,
        save_logits=config.save_logits,
        record=config.record,
        of_blocks=config.of_blocks,
        revises=config.revises,
        block_length=config.positions_at_once if config.of_blocks else 0,
        cache_token=_cache_token(model) if config.of_blocks and keeps else 0,
    )


def _cache_token(model: MaskedDiffusionModel) -> int:
    return token_bytes(model.network.config, model.dtype.itemsize)


def budget_that_fits(free: float, need: Footprint, *, shortest: int) -> int:
    """Packed tokens that may be in flight with `free` bytes, a fifth of which stays free; at least
    one row's worth.

    `shortest` is the shortest row in tokens: every row keeps a whole trajectory and its last
    logits, so short rows cost most per token. Where all rows' logits are too many to be kept, the
    room goes to more rows. Problems leave one at a time, between two steps.
    """
    room = SHARE_OF_FREE_MEMORY * free - need.chunk(CHUNK_ROWS) - need.finish - need.hidden_sum
    per_token = need.row / shortest + need.token + need.cache_token
    with_ring = int(room / (per_token + need.ring_row / shortest))
    ring_fits = with_ring // shortest * need.ring_row <= LIMIT_BYTES
    return max(shortest, with_ring if ring_fits else int(room / per_token))


def memory_need(
    config: RunConfig,
    model: MaskedDiffusionModel,
    *,
    capacity: int,
    tokens: int,
    keeps: bool = True,
) -> list[Factor]:
    """Bytes on the device for `capacity` rows and `tokens` packed tokens in flight."""
    need = footprint(config, model, keeps=keeps)
    rows = capacity * need.open
    return [
        _weights(model),
        Factor(
            "trajectories",
            capacity * need.row,
            f"{count_text(capacity, 'row')} x {count_text(config.steps, 'step')} x "
            f"{count_text(need.open, 'position')} x {need.cell} bytes",
        ),
        *_cache(need, tokens),
        Factor(
            "activations",
            tokens * need.token,
            f"{count_text(tokens, 'packed token')} x {need.token} bytes",
        ),
        Factor(
            "logits",
            need.chunk(rows),
            f"{count_text(min(CHUNK_ROWS, rows), 'row')} x {need.vocabulary} vocabulary, six "
            "working copies",
        ),
        _step_before(need, capacity),
        Factor(
            "a problem that leaves",
            need.finish,
            "its Gram matrices, working copies and columns on their way out",
        ),
        Factor(
            "sum of hidden states",
            need.hidden_sum,
            f"{count_text(need.steps, 'step')} x {count_text(need.gen_length, 'position')} x "
            f"{count_text(need.width, 'feature')} x 4 bytes",
        ),
    ]


def _weights(model: MaskedDiffusionModel) -> Factor:
    item = model.dtype.itemsize
    size = sum(weight.numel() * weight.element_size() for weight in model.network.parameters())
    return Factor("weights", size, f"{size / item / 1e6:.1f} million parameters x {item} bytes")


def _cache(need: Footprint, tokens: int) -> list[Factor]:
    """Keys and values of what does not change any more, where they are kept."""
    if not need.cache_token:
        return []
    how = f"{count_text(tokens, 'token')} of rows x {need.cache_token} bytes"
    return [Factor("keys and values", tokens * need.cache_token, how)]


def _step_before(need: Footprint, capacity: int) -> Factor:
    rows = capacity * need.open
    size = need.ring(capacity)
    positions = count_text(rows, "position")
    how = f"{positions} x {need.vocabulary} vocabulary x {need.logit_item} bytes"
    return Factor("step before", size, how if size else f"{how}: too many to be kept")
