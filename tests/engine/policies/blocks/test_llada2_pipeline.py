"""Whole generations of `llada2` against a second implementation of sampler and loop: diffusers'
LLaDA2 pipeline, over the bundled block model."""

from __future__ import annotations

import pytest

from diffengine.bench.block_peers import diffusers_pipeline
from diffengine.bench.blocks import config_of, ours
from diffengine.engine.models.bundled import BUNDLED_BLOCK
from diffengine.engine.models.loading import load_model
from diffengine.engine.problems.read import read_problems
from diffengine.engine.runs.plan import prompts_of


@pytest.mark.parametrize("threshold", [0.3, 0.95])
def test_every_token_of_a_generation_is_the_same(threshold: float) -> None:
    model = load_model(BUNDLED_BLOCK, device="cpu")
    config = config_of(model, "bundled-block", policy="llada2", gen_length=24, threshold=threshold)
    problems = list(enumerate(read_problems("generated:6").problems))
    prompts = prompts_of(problems, model, config).prompts
    expected, token_forwards = diffusers_pipeline(model, config, prompts)
    decoded = ours(model, config, prompts, keeps=True)
    assert decoded.tokens == expected
    assert len(expected) == 6
    assert decoded.token_forwards < token_forwards
