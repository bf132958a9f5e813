"""A row's values are its own: bit by bit the same alone, among others, in any order, with few or
many let in; and what is kept of them does not change them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from diffengine.engine.config import RunConfig
from diffengine.engine.models.family import Blocks
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies import POLICIES, options_class
from diffengine.engine.prompts.prompt import Prompt

from .watched import config_of, of_blocks, prompt_of, watched

LENGTHS = [1, 3, 4, 7, 9, 9, 16, 30]
DYNAMIC = {"remasking_strategy": "low_confidence_dynamic", "confidence_threshold": 0.35}
CASES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "of 1": (1, 5, {}),
    "of 4": (4, 14, DYNAMIC),
    "of 4, warm": (4, 14, {"temperature": 0.8, "top_k": 20, **DYNAMIC}),
    "of 8, hidden": (8, 13, {"save_logits": "hidden"}),
    "of 32": (32, 40, {"denoising_steps": 4}),
}
"""Block length, generated tokens, settings."""


def prompts() -> list[Prompt]:
    return [prompt_of(n, number=k) for k, n in enumerate(LENGTHS)]


def assert_same(ours: dict[str, Any], theirs: dict[str, Any], *, but: tuple[str, ...] = ()) -> None:
    """Every stored value, bit by bit; how long a row took is its own affair."""
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"seconds", *but}:
        a, b = ours[name], theirs[name]
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and a.shape == b.shape, name
            assert a.tobytes() == b.tobytes(), name
        else:
            assert a == b, name


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("case", sorted(CASES))
def test_alone_as_in_a_batch(sdar: MaskedDiffusionModel, case: str, keeps: bool) -> None:
    length, gen_length, settings = CASES[case]
    config = config_of(length, gen_length, **settings)
    together = watched(sdar, config, prompts(), keeps=keeps)
    assert len(together.decoder.canvas.rows) == 0
    for prompt in prompts():
        alone = watched(sdar, config, [prompt], keeps=keeps).columns
        assert_same(alone[prompt.problem.id], together.columns[prompt.problem.id])


@pytest.mark.parametrize("kind", ["causal", "from the prompt's end, short last", "read before"])
def test_other_kinds_of_blocks_alone_as_in_a_batch(sdar: MaskedDiffusionModel, kind: str) -> None:
    blocks = Blocks(
        length=4,
        causal_context=kind == "causal",
        from_prompt_end="prompt" in kind,
        whole_last="short" not in kind,
    )
    model = of_blocks(sdar, blocks, read_offset=-1 if kind == "read before" else 0)
    config = config_of(4, 14, remasking_strategy="sequential")
    together = watched(model, config, prompts()).columns
    for prompt in prompts():
        alone = watched(model, config, [prompt]).columns
        assert_same(alone[prompt.problem.id], together[prompt.problem.id])


@pytest.mark.parametrize("keeps", [True, False])
def test_whatever_the_order_the_room_and_the_refill(
    sdar: MaskedDiffusionModel, keeps: bool
) -> None:
    config = config_of(4, 14, **DYNAMIC)
    expected = watched(sdar, config, prompts(), keeps=keeps)
    order = prompts()
    forwards = {expected.phases.forwards}
    for (reverse, budget), refill in itertools.product(
        [(False, 48), (True, 90), (True, 1 << 20)], [True, False]
    ):
        found = watched(
            sdar,
            config,
            order[::-1] if reverse else order,
            keeps=keeps,
            budget=budget,
            refill=refill,
        )
        forwards.add(found.phases.forwards)
        for name, columns in expected.columns.items():
            assert_same(found.columns[name], columns)
    assert len(forwards) > 3  # or all went the same way


@pytest.mark.parametrize("record", ["masked", "answers"])
def test_what_is_recorded_does_not_change_what_is_decoded(
    sdar: MaskedDiffusionModel, record: str
) -> None:
    config = config_of(4, 14, **DYNAMIC)
    whole = watched(sdar, config, prompts()).columns
    part = watched(sdar, config.changed(record=record), prompts()).columns
    for name, columns in whole.items():
        if record == "answers":
            assert part[name]["final_token"].tolist() == columns["token"][-1].tolist()
            assert part[name]["n_forwards"] == columns["n_forwards"]
            assert "entropy" not in part[name] and "cka" not in part[name]
            continue
        assert_masked_alone(part[name], columns, config, sdar.token_ids.mask)


def assert_masked_alone(
    part: dict[str, Any], whole: dict[str, Any], config: RunConfig, mask: int
) -> None:
    """Statistics of masked positions are those of a run that keeps all; of others there are none."""
    before = np.vstack([np.full((1, config.gen_length), mask), whole["token"][:-1]])
    places = np.arange(config.gen_length)
    start, end = whole["open_start"][:, None], whole["open_end"][:, None]
    masked = (before == mask) & (places >= start) & (places < end)
    assert 0 < masked.sum() < masked.size / 2
    for name in ("entropy", "logprob", "margin", "logsumexp", "logit_mean", "logit_std"):
        np.testing.assert_array_equal(part[name][masked], whole[name][masked])
        assert np.isnan(part[name][~masked]).all()
    assert (part["prediction"][~masked] == -1).all()
    kept = ("token", "committed", "n_masked", "n_forwards", "cka", "state_masked", "generated_text")
    assert_same({name: part[name] for name in kept}, {name: whole[name] for name in kept})


@pytest.mark.parametrize("save_logits", ["none", "hidden", "full"])
def test_what_is_saved_does_not_change_the_rest(
    sdar: MaskedDiffusionModel, save_logits: str
) -> None:
    config = config_of(4, 14, **DYNAMIC)
    whole = watched(sdar, config, prompts()).columns
    other = watched(sdar, config.changed(save_logits=save_logits), prompts()).columns
    for name, columns in whole.items():
        shared = sorted(other[name].keys() & columns.keys())
        assert {"entropy", "kl", "cka", "token"} <= set(shared)
        assert_same({n: other[name][n] for n in shared}, {n: columns[n] for n in shared})
        has_topk = "topk_logit" in other[name]
        assert has_topk == (save_logits != "none")


def test_the_step_before_is_the_same_with_and_without_its_logits_kept(
    sdar: MaskedDiffusionModel,
) -> None:
    config = config_of(4, 14, **DYNAMIC)
    kept = watched(sdar, config, prompts())
    again = watched(sdar, config, prompts(), ring=False)
    assert kept.decoder.head.ring is not None
    for name, columns in kept.columns.items():
        assert_same(again.columns[name], columns, but=("kl",))
        np.testing.assert_allclose(again.columns[name]["kl"], columns["kl"], atol=1e-5)
        first = np.diff(columns["open_start"], prepend=-1) != 0
        assert np.isnan(columns["kl"][first & (columns["performed"] == 1)]).all()
        assert np.isfinite(columns["kl"]).any()


OF_BLOCKS = sorted(name for name in POLICIES if options_class(name)().of_blocks)
OTHERS: dict[str, dict[str, Any]] = {
    "fast_dllm_v2": {"sub_block_length": 2},
    "llada2": {"editing_threshold": 0.3, "threshold": 0.3},
    "nemotron": {"threshold": 0.3},
}
"""Options of policies with which they do what they are for, on this random model."""


@pytest.mark.parametrize("name", OF_BLOCKS)
def test_every_policy_decodes_a_row_alone_as_in_a_batch_with_a_cache_as_without(
    sdar: MaskedDiffusionModel, name: str
) -> None:
    model, settings = sdar, OTHERS.get(name, {})
    if name == "fast_dllm_v2":
        model = of_blocks(sdar, Blocks(length=4), read_offset=-1)
    config = RunConfig.of(model="test", policy=name, block_length=4, gen_length=14, **settings)
    kept = watched(model, config, prompts(), budget=120).columns
    whole = watched(model, config, prompts(), keeps=False).columns
    masked = watched(model, config.changed(record="masked"), prompts()).columns
    for prompt in prompts():
        alone = watched(model, config, [prompt]).columns[prompt.problem.id]
        assert_same(alone, kept[prompt.problem.id])
        for column in ("token", "committed", "n_forwards", "open_start", "open_end"):
            for others in (whole, masked):
                assert np.array_equal(others[prompt.problem.id][column], alone[column]), column
    if config.revises:
        assert any(columns["revised"].any() for columns in kept.values())
