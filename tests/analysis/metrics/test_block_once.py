"""What metrics share is computed once a block, however many of them ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any

import pytest

from diffengine.analysis.metrics import trajectories
from diffengine.analysis.metrics.block import Block
from diffengine.analysis.metrics.trajectories import read_trajectories

SHARED = [name for name, part in vars(Block).items() if isinstance(part, cached_property)]


def test_what_is_shared() -> None:
    assert {"guess", "extracted", "slot", "slot_status", "masked", "gold_length"} <= set(SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_each_part_is_computed_at_most_once_a_block(
    name: str, make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[int] = Counter()
    blocks = []  # kept, so that no two of them can have one identity
    part = vars(Block)[name]
    original = part.func

    def counting(block: Block) -> object:
        calls[id(block)] += 1
        blocks.append(block)
        return original(block)

    monkeypatch.setattr(part, "func", counting)
    monkeypatch.setattr(trajectories, "BLOCK_BYTES", 1)  # one problem a block
    read_trajectories(make_run(5))
    assert len(calls) == 5
    assert set(calls.values()) == {1}
