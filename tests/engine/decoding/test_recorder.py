"""What is recorded of a trajectory, against the dense logits it came from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.store.format.schema import VARIABLES, stored_variables

BASE = RunConfig.of(model="test", steps=16, gen_length=16, block_length=8)


@pytest.mark.parametrize(
    "numerics", ["default", "reference"]
)  # only the first knows on the host what is masked
def test_masked_recording_agrees_where_it_records(
    bundled_model: MaskedDiffusionModel, packed, prompts_of, numerics: str
) -> None:
    base = BASE.changed(numerics=numerics)
    everything = packed(bundled_model, base, prompts_of(bundled_model, 16))
    masked = packed(bundled_model, base.changed(record="masked"), prompts_of(bundled_model, 16))
    for key, columns in everything.items():
        kept = masked[key]
        assert np.array_equal(columns["token"], kept["token"])
        seen = np.concatenate(
            [np.full((1, 16), True), columns["token"][:-1] == bundled_model.token_ids.mask]
        )
        for name in ("entropy", "logprob", "margin"):
            assert np.isnan(kept[name][~seen]).all()
            np.testing.assert_allclose(kept[name][seen], columns[name][seen], atol=1e-5, rtol=1e-5)


def test_recorded_statistics_are_those_of_the_dense_logits(
    bundled_model: MaskedDiffusionModel, packed, prompts_of
) -> None:
    config = BASE.changed(save_logits="full")
    prompts = prompts_of(bundled_model, 16)
    for columns in packed(bundled_model, config, prompts).values():
        logits = torch.from_numpy(columns["logits"]).double()
        logp = logits.log_softmax(-1)
        p = logp.exp()
        close = {"rtol": 1e-4, "atol": 2e-5}
        np.testing.assert_allclose(columns["logsumexp"], logits.logsumexp(-1), **close)
        np.testing.assert_allclose(columns["entropy"], -(p * logp).sum(-1) / np.log(2), **close)
        kl = (p[1:] * (logp[1:] - logp[:-1])).sum(-1) / np.log(2)
        np.testing.assert_allclose(columns["kl"][1:], kl, **close)
        assert np.isnan(columns["kl"][0]).all()
        np.testing.assert_allclose(columns["logit_mean"], logits.mean(-1), **close)
        np.testing.assert_allclose(columns["logit_std"], logits.std(-1, correction=0), **close)
        ids = torch.from_numpy(columns["answer_token_id"]).long()
        for place, token in enumerate(ids.tolist()):
            expected = (
                logp[:, :, token] if token >= 0 else torch.full_like(logp[:, :, 0], torch.nan)
            )
            np.testing.assert_allclose(columns["answer_logprob"][:, :, place], expected, **close)
        allowed = logits.clone()
        allowed[:, :, bundled_model.token_ids.mask] = -torch.inf
        assert np.array_equal(columns["prediction"], allowed.argmax(-1))
        assert np.array_equal(columns["topk_logit"][..., 0], logits.amax(-1).float())


def test_skipped_steps_are_marked_and_carry_the_canvas(
    bundled_model: MaskedDiffusionModel, packed, prompts_of
) -> None:
    config = BASE.changed(steps=40)  # 20 steps for each block of 8: twelve commit nothing
    for columns in packed(bundled_model, config, prompts_of(bundled_model, 16)).values():
        assert columns["performed"].tolist() == ([1] * 8 + [0] * 12) * 2
        assert int(columns["n_forwards"]) == 16
        assert np.isnan(columns["entropy"][8:20]).all()
        assert (columns["token"][8:20] == columns["token"][7]).all()


@pytest.mark.parametrize("save_logits", ["none", "topk", "hidden", "full"])
def test_what_the_schema_says_is_stored_is_what_a_problem_brings(
    bundled_model: MaskedDiffusionModel, packed, prompts_of, save_logits: str
) -> None:
    config = BASE.changed(save_logits=save_logits)
    expected = {row.name for row in stored_variables(config) if not row.per_shard}
    for columns in packed(bundled_model, config, prompts_of(bundled_model, 16)[:2]).values():
        assert set(columns) == expected
        for name, column in columns.items():
            row = VARIABLES[name]
            assert np.ndim(column) == len(row.dims)
            if row.dtype not in ("str", "model", "logits"):
                assert np.asarray(column).dtype == row.dtype
