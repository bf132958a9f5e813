"""Where predictions stand one position before their token, a block's first one has its own in the
block's first step alone: there it commits, and it is never revised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.family import Blocks
from diffengine.engine.models.loading import MaskedDiffusionModel

from ...decoding.blocks.watched import of_blocks
from .rows import config_of, prompt_of

SETTINGS: list[dict[str, Any]] = [
    {"policy": "sdar", "remasking_strategy": "low_confidence_static"},
    {"policy": "sdar", "remasking_strategy": "entropy_bounded"},
    {"policy": "llada2", "threshold": 0.3},
    {"policy": "llada2", "threshold": 0.3, "editing_threshold": 0.2, "max_post_steps": 3},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_kept_is_not_kept(tiny: MaskedDiffusionModel, settings: dict[str, Any]) -> None:
    """With a cache the state before the block is not there any more in later steps; without one it
    is, and both have to go the same way."""
    model = of_blocks(tiny, Blocks(length=4), read_offset=-1)
    config = config_of(**settings, block_length=4, gen_length=9, eos_early_stop=False)
    prompts = [prompt_of(n) for n in range(1, 6)]
    columns = []
    for keeps in (True, False):
        decoder = Setup(model, config, keeps=keeps).decoder(prompts, budget=1000)
        columns.append({f.problem.id: f.columns for f in decoder.decode(iter(prompts))})
    kept, whole = columns
    for prompt in prompts:
        ours, theirs = kept[prompt.problem.id], whole[prompt.problem.id]
        for name in ("token", "committed", "revised"):
            if name in ours:
                np.testing.assert_array_equal(ours[name], theirs[name])
        assert ours["token"][-1].min() >= 0 and model.token_ids.mask not in ours["token"][-1]
        first = -len(prompt.token_ids) % 4
        opens = [step for step, start in enumerate(ours["open_start"]) if start == first]
        assert ours["committed"][opens[0], first]
