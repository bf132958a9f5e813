"""The joint map: clusters stay apart, PCA is what it says, neighbours are counted right, absence is explained."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.analysis import embedding


def test_pca_both_ways_agree_and_keep_distances() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 20)) * np.linspace(3, 1, 20)
    wide = np.concatenate([rows, np.zeros((30, 40))], axis=1)
    narrow, other = embedding.pca(rows, 50), embedding.pca(wide, 20)
    np.testing.assert_allclose(narrow, other, atol=1e-8)
    lengths = [np.linalg.norm(part[0] - part[1:], axis=1) for part in (narrow, rows)]
    np.testing.assert_allclose(*lengths)
    assert (np.diff(narrow.var(axis=0)) < 0).all()


def test_neighbours_kept_by_hand() -> None:
    line = np.arange(12.0)[:, None]
    assert embedding.neighbours_kept(line, 3 * line + 1, k=2) == 1
    rng = np.random.default_rng(0)
    assert embedding.neighbours_kept(rng.normal(size=(500, 3)), rng.normal(size=(500, 2)), k=10) < 0.05
    twice = np.repeat(line, 2, axis=0)  # duplicates: a row is never its own neighbour
    assert embedding.neighbours_kept(twice, twice, k=1) == 1


def test_without_a_tool_it_says_what_to_install(make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_has", lambda module: False)
    found = embedding.embed_run(make_run(40, 8, 8), steps=8)
    assert "pip install openTSNE" in found.status and found.centroid.shape == (8, 2)


def test_few_rows_are_insufficient(make_run: Callable[..., Any]) -> None:
    assert embedding.embed_run(make_run(3, 8, 8), steps=8).status == (
        "insufficient: 24 rows with a recorded state (at least 100; 76 more would suffice)")  # fmt: skip


def test_rows_are_problems_and_steps(make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_fitter", lambda: (lambda rows, perplexity, seed: rows[:, :2], "first two"))
    run = make_run(40, 8, 8)
    run["state_answer"][:, 3] = np.nan
    found = embedding.embed_run(run, steps=8, max_rows=160)
    assert len(found.points) == 20 * 7 and set(found.step) == {0, 1, 2, 4, 5, 6, 7}
    assert np.isnan(found.centroid[3]).all()
    np.testing.assert_allclose(found.centroid[5], found.points[found.step == 5].mean(axis=0))
    run["state_answer"][:] = np.nan
    assert embedding.embed_run(run, steps=8, max_rows=160).state == "state_masked"


def test_the_map_separates_what_is_separate_and_repeats_itself() -> None:
    """Needs openTSNE (extra `cpu`); where it is missing the reason is checked above."""
    if importlib.util.find_spec("openTSNE") is None:
        return
    rng = np.random.default_rng(0)
    step = np.repeat(np.arange(3), 60)
    rows = rng.normal(size=(180, 10)) + 20 * step[:, None]
    found = embedding.embed(rows, step, np.tile(np.arange(60), 3), steps=3)
    own = np.linalg.norm(found.points - found.centroid[step], axis=1)
    apart = np.linalg.norm(found.centroid[[0, 0, 1]] - found.centroid[[1, 2, 2]], axis=1)
    assert apart.min() > 2 * own.mean() and found.kept > 5 * found.chance
    again = embedding.embed(rows, step, np.tile(np.arange(60), 3), steps=3)
    np.testing.assert_array_equal(found.points, again.points)
