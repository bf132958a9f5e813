"""The original suite's averaged form against dense logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.states import averaged
from diffengine.analysis.states.averaged import averaged_trajectory, consecutive_cka, consecutive_kl
from diffengine.engine.store import DamagedRun, NotStored
from diffengine.engine.store.format.output_head import write_head

rng = np.random.default_rng(0)
HIDDEN = rng.normal(size=(4, 6, 5))
HEAD = rng.normal(size=(50, 5)).astype(np.float32)


def test_kl_against_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    log_p = torch.log_softmax(torch.tensor(HIDDEN @ HEAD.T), dim=-1)
    expected = [
        torch.nn.functional.kl_div(log_p[t + 1], log_p[t], log_target=True, reduction="sum") / 6
        for t in range(3)
    ]
    for limit in (1, averaged.LOGITS_BYTES):
        monkeypatch.setattr(averaged, "LOGITS_BYTES", limit)
        np.testing.assert_allclose(consecutive_kl(HIDDEN, HEAD), [np.nan, *expected], rtol=1e-9)


def test_cka_against_features() -> None:
    """Kornblith's feature form on the dense, centred logits."""
    logits = HIDDEN @ HEAD.T.astype(float)
    logits -= logits.mean(axis=1, keepdims=True)
    norm = [np.linalg.norm(x.T @ x) for x in logits]
    expected = [
        np.linalg.norm(logits[t].T @ logits[t + 1]) ** 2 / (norm[t] * norm[t + 1]) for t in range(3)
    ]
    np.testing.assert_allclose(consecutive_cka(HIDDEN, HEAD), [np.nan, *expected], rtol=1e-5)


def test_from_a_run(make_columns: Callable[..., Any], fake_run: type, tmp_path: Path) -> None:
    columns = make_columns(3, 4, 6)
    hidden = rng.normal(size=(3, 4, 6, 5)).astype(np.float32)
    columns["hidden_sum"] = hidden.sum(axis=0)
    columns["performed"][1, 2] = 0
    with h5py.File(tmp_path / "head.h5", "w") as file:
        file["weight"] = HEAD
    found = analyze_run(fake_run(columns, path=tmp_path), averaged=True)
    mean = hidden.astype(float).mean(axis=0)
    kl = consecutive_kl(mean, HEAD)
    np.testing.assert_allclose(
        found["kl_averaged"].values, [np.nan, kl[1], np.nan, np.nan], rtol=1e-5
    )
    assert found["kl_averaged"].units == "nats" and found["cka_averaged"].n == 3
    assert np.isnan(found["cka_averaged"].values).tolist() == [True, False, True, True]


def test_steps_in_common_that_are_no_neighbours_give_no_pair(
    make_columns: Callable[..., Any], fake_run: type, tmp_path: Path
) -> None:
    columns = make_columns(3, 4, 6)
    columns["hidden_sum"] = rng.normal(size=(4, 6, 5)).astype(np.float32)
    columns["performed"][0, 1] = 0
    columns["performed"][1, 3] = 0
    write_head(tmp_path, HEAD)
    made = averaged_trajectory(fake_run(columns, path=tmp_path))
    for quantity in made.values():
        assert quantity.status.startswith("undefined: no two steps behind each other")
    columns["performed"][0, 1] = 1
    assert averaged_trajectory(fake_run(columns, path=tmp_path))["kl_averaged"].ok


def test_a_head_with_one_flipped_bit_is_refused(
    make_columns: Callable[..., Any], fake_run: type, tmp_path: Path
) -> None:
    columns = make_columns(3, 4, 6)
    columns["hidden_sum"] = rng.normal(size=(4, 6, 5)).astype(np.float32)
    path = write_head(tmp_path, HEAD)
    run = fake_run(columns, path=tmp_path)
    assert averaged_trajectory(run)["kl_averaged"].ok
    content = bytearray(path.read_bytes())
    content[bytes(content).index(HEAD.tobytes()) + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedRun, match="head.h5"):
        averaged_trajectory(run)


def test_not_recorded(make_run: Callable[..., Any]) -> None:
    with pytest.raises(NotStored, match="no averaged logits.*--save-logits hidden"):
        averaged_trajectory(make_run())


def test_one_step() -> None:
    assert np.isnan(consecutive_kl(HIDDEN[:1], HEAD)).all() and consecutive_cka(
        HIDDEN[:1], HEAD
    ).shape == (1,)
