"""What a shard gets of a row that was decoded block by block, against the dense twin's passes laid
out over all steps and positions by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.prompts.prompt import Prompt

from .test_exact import KINDS, rule_of
from .twin import Pass, Twin, statistics
from .watched import config_of, of_blocks, prompt_of, watched

LENGTH, GEN_LENGTH = 8, 19
SETTINGS: dict[str, dict[str, Any]] = {
    "": {"remasking_strategy": "low_confidence_dynamic", "confidence_threshold": 0.4},
    "read before": {"remasking_strategy": "sequential", "denoising_steps": 4},
}


def first_of(one: Pass, prompt: Prompt) -> int:
    """The generated position at the block's first place; negative in a prompt's tail."""
    return one.start - len(prompt.token_ids)


def kept(one: Pass, prompt: Prompt) -> range:
    """The generated positions that were open and are kept."""
    first = first_of(one, prompt)
    return range(max(first, 0), min(first + len(one.before), GEN_LENGTH))


def unbiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Debiased CKA of rows of logits, by Song et al. 2012, equation 5."""
    k, l = ((m @ m.T) * (1 - np.eye(len(m))) for m in (x - x.mean(0), y - y.mean(0)))
    n = len(k)

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        total = a.sum() * b.sum() / ((n - 1) * (n - 2))
        return float((a * b).sum() + total - 2 / (n - 2) * (a.sum(0) @ b.sum(0)))

    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l)) if n > 3 else math.nan


@pytest.mark.parametrize("save_logits", ["full", "hidden", "topk"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_stored_value_is_the_dense_ones(
    sdar: MaskedDiffusionModel, kind: str, save_logits: str
) -> None:
    blocks, read_offset = KINDS[kind]
    model = of_blocks(sdar, blocks, read_offset=read_offset)
    settings = SETTINGS["read before" if read_offset else ""]
    config = config_of(LENGTH, GEN_LENGTH, save_logits=save_logits, **settings)
    prompts = [prompt_of(n) for n in (1, 8, 12)]
    columns = watched(model, config, prompts).columns
    twin, rule = Twin(model.network, attention="eager"), rule_of(model, config)
    for prompt in prompts:
        passes = twin.decode(prompt.token_ids, rule)
        found = columns[prompt.problem.id]
        assert_steps(found, passes, prompt, rule.mask_id)
        assert_cells(found, passes, prompt, rule.mask_id, save_logits)
        assert_similarity(found, passes, prompt)
        assert_states(found, passes, prompt, rule.mask_id)


def assert_steps(found: dict[str, Any], passes: list[Pass], prompt: Prompt, mask: int) -> None:
    """Which steps there were, what was open, and the whole canvas after each."""
    steps = len(found["token"])
    n = len(passes)
    assert steps > n  # there are steps that no row made
    assert found["n_forwards"] == n
    assert found["performed"].tolist() == [1] * n + [0] * (steps - n)
    rest = [-1] * (steps - n)
    ranges = [kept(one, prompt) for one in passes]
    assert found["open_start"].tolist() == [r.start for r in ranges] + rest
    assert found["open_end"].tolist() == [r.stop for r in ranges] + rest
    canvas = np.full(GEN_LENGTH, mask)
    for step in range(steps):
        if step < n:
            one, open_here = passes[step], ranges[step]
            inside = slice(open_here.start - first_of(one, prompt), None)
            before, after = (x[inside][: len(open_here)].numpy() for x in (one.before, one.after))
            assert found["n_masked"][step] == (before == mask).sum()
            canvas[open_here.start : open_here.stop] = after
            committed = found["committed"][step]
            assert (committed[open_here.start : open_here.stop] == (before != after)).all()
            assert committed.sum() == (before != after).sum()
        else:
            assert found["n_masked"][step] == -1
            assert not found["committed"][step].any()
        assert found["token"][step].tolist() == canvas.tolist()


def assert_cells(
    found: dict[str, Any], passes: list[Pass], prompt: Prompt, mask: int, save_logits: str
) -> None:
    """Every statistic at every step and position: the twin's, or missing."""
    shape = found["token"].shape
    names = {"hidden"} if save_logits == "hidden" else set()
    compared = 0
    tables: dict[str, np.ndarray] = {}
    for step, one in enumerate(passes):
        of_pass = statistics(one, prompt.answer_ids, mask)
        if save_logits == "full":
            of_pass["logits"] = one.logits
        for name, values in of_pass.items():
            empty = math.nan if values.is_floating_point() else -1
            missing = one.states[:, 0].isnan().view(-1, *[1] * (values.ndim - 1))
            values = values.masked_fill(missing, empty).numpy()
            table = tables.setdefault(name, np.full((*shape, *values.shape[1:]), empty))
            for position in kept(one, prompt):
                table[step, position] = values[position - first_of(one, prompt)]
    assert names <= found.keys() and ("logits" in found) == (save_logits == "full")
    for name, table in tables.items():
        if name not in found:
            assert name == "hidden"
            continue
        if table.dtype.kind in "iu" or name in ("prediction", "topk_id"):
            assert found[name].tolist() == table.tolist(), name
        else:
            np.testing.assert_allclose(found[name], table, atol=2e-4, rtol=1e-4, err_msg=name)
        compared += 1
    assert compared >= 11


def assert_similarity(found: dict[str, Any], passes: list[Pass], prompt: Prompt) -> None:
    """CKA between two steps of one block, over positions that both read; of others none."""
    steps = len(found["token"])
    expected = np.full((steps, steps), math.nan)
    for s, one in enumerate(passes):
        for t, other in enumerate(passes):
            if one.block == other.block:
                of_block = [p for p in passes if p.block == one.block]
                read = ~torch.stack([p.states[:, 0].isnan() for p in of_block]).any(0)
                first = first_of(one, prompt)
                places = [p - first for p in kept(one, prompt) if read[p - first]]
                expected[s, t] = unbiased_cka(
                    *(x.logits[places].double().numpy() for x in (one, other))
                )
    np.testing.assert_allclose(found["cka"], expected, atol=1e-4)
    assert np.isfinite(expected).sum() > len(passes)


def assert_states(found: dict[str, Any], passes: list[Pass], prompt: Prompt, mask: int) -> None:
    """States averaged over the open masks; CKA to the step before over what was masked at both, or
    at neither."""
    for step, one in enumerate(passes):
        places = [p - first_of(one, prompt) for p in kept(one, prompt)]
        masked = [p for p in places if one.before[p] == mask]
        mean = one.states[masked].mean(0) if masked else torch.full_like(one.states[0], math.nan)
        np.testing.assert_allclose(found["state_masked"][step], mean, atol=1e-4)
        same_block = step > 0 and passes[step - 1].block == one.block
        for name, want in (("cka_masked", True), ("cka_committed", False)):
            truth = math.nan
            if same_block:
                past = passes[step - 1]
                both = [
                    p for p in places if (past.before[p] == mask) == want == (one.before[p] == mask)
                ]
                both = [p for p in both if not one.states[p].isnan().any()]
                if len(both) > 3:
                    truth = unbiased_cka(*(x.logits[both].double().numpy() for x in (one, past)))
            np.testing.assert_allclose(found[name][step], truth, atol=1e-4, err_msg=name)
