"""What can be said of one recorded variable, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

BASE_VERSION = "1.0"
"""Variables that came with a later minor version may be missing in the older shards of a run."""

Dtype = Literal["int32", "int8", "uint8", "float32", "str", "model", "logits"]
"""`model` is the dtype the model ran in, `logits` the one its logits were taken in: float32, or
bfloat16 handed over as its uint16 bits."""

ITEM_BYTES = {"int32": 4, "float32": 4, "uint8": 1, "int8": 1, "str": 16}
"""Bytes of one value; a text's are a guess. Of `model` and `logits` the run decides."""

TYPICAL_SHARE = 0.78
"""Stored bytes per raw byte where a row says nothing else, measured on float32 runs of the bundled
model."""

ROUNDING = 1e-4
"""Absolute slack in nats and bits for float32 arithmetic over a vocabulary."""


class Settings(Protocol):
    """The settings of a run that decide what is stored (`RunConfig` has them)."""

    @property
    def save_logits(self) -> str:
        """none, topk, hidden or full."""

    @property
    def mean_hidden(self) -> bool:
        """Whether sums of hidden states over problems are kept."""

    @property
    def record(self) -> str:
        """all, masked or answers."""

    @property
    def of_blocks(self) -> bool:
        """Whether rows are decoded block by block."""

    @property
    def revises(self) -> bool:
        """Whether a token may change after its commit."""


class Bounds(NamedTuple):
    """What every value lies between, but for `slack`; a missing one lies anywhere."""

    lowest: float = -math.inf
    highest: float = math.inf
    slack: float = ROUNDING


@dataclass(frozen=True)
class Variable:
    """One row of the schema.

    What it is: `dims` without the leading `problem`, `dtype`, `units`, `long_name`, what the
    numbers of a flag mean (`flags`).

    How it comes about: `made` at every "step", in memory of the device while its problem is on the
    canvas; at the "end" of the problem; or by the "shard", one for all its problems. `statistic` is
    the column of `LogitStats` that it is, if it is one. `always_in_flight`: held in that memory
    also where it is not stored, because others are made of it.

    When it is stored: `stored_if` the settings say so, None: always; `since` the schema version. A
    run that two versions made may lack it in older shards.

    What must hold: `bounds`, and a value wherever a forward pass ran (`promised`).

    What it costs: `stored_share` bytes on the disk for each raw byte; `is_noise` where looking for
    repeats finds none, so that bytes are coded by their frequency alone.
    """

    name: str
    dims: tuple[str, ...]
    dtype: Dtype
    units: str
    long_name: str
    flags: tuple[str, ...] = ()
    made: Literal["step", "end", "shard"] = "end"
    statistic: str | None = None
    always_in_flight: bool = False
    stored_if: Callable[[Settings], bool] | None = None
    since: str = BASE_VERSION
    bounds: Bounds | None = None
    promised: bool = False
    stored_share: float = TYPICAL_SHARE
    is_noise: bool = False

    @property
    def per_shard(self) -> bool:
        """Whether it has one value for the shard instead of one for each problem."""
        return self.made == "shard"

    @property
    def of_trajectory(self) -> bool:
        """Whether it has values step by step of each problem, which a run of answers alone does not
        keep."""
        return "step" in self.dims and not self.per_shard

    @property
    def optional(self) -> bool:
        """Whether a shard may lack it."""
        return self.stored_if is not None or self.since != BASE_VERSION or self.of_trajectory

    @property
    def is_token_id(self) -> bool:
        """Whether its values are token ids, whose texts tokens.json has to have."""
        return self.units == "id"

    @property
    def is_vector(self) -> bool:
        """Whether each of its cells is a whole vector: too large for rules that look at values."""
        return "feature" in self.dims or "vocabulary" in self.dims

    def is_stored(self, settings: Settings) -> bool:
        """Whether a run with these settings keeps it."""
        if self.of_trajectory and settings.record == "answers":
            return False
        return self.stored_if is None or self.stored_if(settings)

    def is_in_flight(self, settings: Settings) -> bool:
        """Whether the device holds it while its problem is on the canvas."""
        return self.made == "step" and (self.always_in_flight or self.is_stored(settings))

    def size(self, sizes: Mapping[str, int]) -> int:
        """How many values it has, given the length of each of its dimensions."""
        return math.prod(sizes[dim] for dim in self.dims)
