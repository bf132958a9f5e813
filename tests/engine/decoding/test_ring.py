"""The ring of the step before changes no variable: the same problems with it and with hidden states
projected again.

Without the ring is how it was before there was one; then only KL is computed differently, and may
round differently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.prompts.prompt import Prompt

KL, KL_GUIDED = 5e-6, 3e-5
"""Bits: the ring has the step before's logsumexp, the projection sums it again; both are right to 2
ulp of it. Under guidance the ring holds mixed logits, and what is projected again is the mixed
hidden state, which rounds otherwise."""
UNLIKE = {"kl", "seconds"}
SETTINGS: dict[str, dict[str, Any]] = {
    "one block": {"block_length": 12},
    "blocks": {"block_length": 4},
    "steps that commit nothing": {"block_length": 4, "steps": 24},
    "noise": {"block_length": 4, "temperature": 0.8, "remasking": "random"},
    "guidance": {"block_length": 4, "cfg_scale": 1.0},
    "masked positions only": {"block_length": 4, "record": "masked"},
    "no end of text": {"block_length": 4, "logits_eos_inf": True},
}


def decoded(
    model: MaskedDiffusionModel, config: RunConfig, prompts: list[Prompt], *, ring: bool
) -> dict[str, Any]:
    decoder = Setup(model, config).decoder(
        prompts, budget=150
    )  # two or three of six rows at a time: they enter, leave and move
    assert decoder.head.ring is not None and len(prompts) > 3
    if not ring:
        decoder.head.ring = None
    return {one.problem.id: one.columns for one in decoder.decode(iter(prompts))}


@pytest.mark.parametrize("numerics", ["default", "reference"])
@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_is_as_without_it(
    random_model: MaskedDiffusionModel,
    prompts_of: Callable[..., list[Prompt]],
    name: str,
    numerics: str,
) -> None:
    settings = {"steps": 12, "gen_length": 12, "save_logits": "hidden"} | SETTINGS[name]
    config = RunConfig.of(model="m", numerics=numerics, **settings)
    prompts = prompts_of(random_model, 12)
    with_ring, without = (
        decoded(random_model, config, prompts, ring=ring) for ring in (True, False)
    )
    assert set(with_ring) == set(without) == {p.problem.id for p in prompts}
    for problem, columns in without.items():
        ours = with_ring[problem]
        assert np.isfinite(columns["kl"]).sum() > 3
        atol = KL_GUIDED if config.guided else KL
        np.testing.assert_allclose(ours["kl"], columns["kl"], atol=atol, rtol=1e-6)
        for variable in columns.keys() - UNLIKE:
            one, two = np.asarray(ours[variable]), np.asarray(columns[variable])
            same = (
                one.tobytes() == two.tobytes()
                if one.dtype.kind == "f"
                else np.array_equal(one, two)
            )
            assert one.dtype == two.dtype and same, variable
