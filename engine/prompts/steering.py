"""What acts on a row beyond its canvas, from the step on at which it begins: tokens that it must or
must not commit, and states of a layer that come from another forward pass. Shapes: G generated
positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Constraints:
    """`forced`: the token that a position commits to, whenever it commits. `forbidden`: the tokens
    that it never commits to. Both by position."""

    forced: Mapping[int, int] = field(default_factory=dict)
    forbidden: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.forced or self.forbidden)


@dataclass(frozen=True)
class Patch:
    """The states behind decoder layer `layer` (from 0) at `positions` are those that the donor has
    there, in one forward pass: that of the step at which the row begins.

    The donor is the canvas `token` [G] behind the tokens of `prompt`; None: behind the row's own.
    """

    layer: int
    positions: tuple[int, ...]
    token: tuple[int, ...]
    prompt: tuple[int, ...] | None = None


UNCONSTRAINED = Constraints()
