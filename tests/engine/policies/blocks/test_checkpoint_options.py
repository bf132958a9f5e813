"""Which settings of a checkpoint a policy of block diffusion takes: those of its own sampler, and the
length of its blocks; not those of the autoregressive model that it began as."""

from __future__ import annotations

from typing import Any

import pytest

from diffengine.engine.config import RunConfig, resolve

ANCESTORS = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "do_sample": True}
"""As published with SDAR and Fast-dLLM v2, whose own samplers do not read it."""


def sampler(checkpoint: dict[str, Any], **given: Any) -> Any:
    config: RunConfig = resolve(
        {"policy": "sdar", "gen_length": 16, **given},
        checkpoint=checkpoint,
        model="test",
        dtype="float32",
    )
    return config.sampler


def test_an_ancestors_settings_are_none_and_the_length_of_blocks_is() -> None:
    options = sampler({**ANCESTORS, "block_length": 8})
    assert (options.temperature, options.top_p, options.top_k) == (0.0, 1.0, 0)
    assert options.block_length == 8
    assert sampler(ANCESTORS).block_length == 4
    given = sampler({**ANCESTORS, "block_length": 8}, temperature=0.3, block_length=2)
    assert (given.temperature, given.top_k, given.block_length) == (0.3, 0, 2)


@pytest.mark.parametrize(
    "own",
    [{"denoising_steps": 4}, {"remasking_strategy": "sequential"}, {"confidence_threshold": 0.7}],
    ids=str,
)
def test_with_a_setting_of_its_own_sampler_all_are(own: dict[str, Any]) -> None:
    options = sampler({**ANCESTORS, **own, "block_length": 8})
    assert (options.temperature, options.top_p, options.top_k) == (0.6, 0.95, 20)
    assert options.block_length == 8
    (name,) = own
    assert getattr(options, name) == own[name]


def test_of_a_model_that_attends_fully_a_length_of_blocks_is_its_samplers_own() -> None:
    checkpoint = {"temperature": 0.6, "block_length": 8}
    given = {"policy": "llada", "gen_length": 16}
    config = resolve(given, checkpoint=checkpoint, model="test", dtype="float32")
    assert config.sampler.temperature == 0.6 and config.sampler.block_length == 8
