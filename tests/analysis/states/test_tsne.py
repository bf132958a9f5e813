"""The joint map: clusters stay apart, PCA is what it says, neighbours are counted right, absence is
explained."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.states import tsne as embedding
from diffengine.engine.optional_parts import Part


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
    assert (
        embedding.neighbours_kept(rng.normal(size=(500, 3)), rng.normal(size=(500, 2)), k=10) < 0.05
    )
    twice = np.repeat(line, 2, axis=0)  # duplicates: a row is never its own neighbour
    assert embedding.neighbours_kept(twice, twice, k=1) == 1


def test_without_a_tool_it_says_what_to_install(
    make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        embedding, "optional_part", lambda *_, **__: Part(None, False, "is not installed")
    )
    monkeypatch.setattr(embedding, "_cuda", lambda: True)
    found = embedding.embed_run(make_run(40, 8, 8), steps=8)
    assert "pip install openTSNE" in found.status and found.centroid.shape == (8, 2)


def test_few_rows_are_insufficient(make_run: Callable[..., Any]) -> None:
    assert embedding.embed_run(make_run(3, 8, 8), steps=8).status == (
        "insufficient: 24 rows with a recorded state (at least 100; 76 more would suffice)")  # fmt: skip


def test_rows_are_problems_and_steps(
    make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = (lambda rows, perplexity, seed: rows[:, :2], "")
    first_two = embedding.Tool("first two", "", lambda tsne: tsne, "")
    monkeypatch.setattr(embedding, "_tools", lambda: iter([first_two]))
    monkeypatch.setattr(embedding, "_load", lambda tool: fit)
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
    rows_of_map = embedding.Rows(rows, step, np.tile(np.arange(60), 3))
    found = embedding.embed(rows_of_map, steps=3)
    own = np.linalg.norm(found.points - found.centroid[step], axis=1)
    apart = np.linalg.norm(found.centroid[[0, 0, 1]] - found.centroid[[1, 2, 2]], axis=1)
    assert apart.min() > 2 * own.mean() and found.kept > 5 * found.chance
    again = embedding.embed(rows_of_map, steps=3)
    np.testing.assert_array_equal(found.points, again.points)


WORKING = """
import numpy
class TSNE:
    def __init__(self, **options):
        pass
    def fit(self, rows):
        return rows[:, :2]
    fit_transform = fit
"""
FAILING = """
class TSNE:
    def __init__(self, **options):
        pass
    def fit(self, rows):
        raise RuntimeError('cudaErrorInsufficientDriver')
    fit_transform = fit
"""
BROKEN = {
    "attribute": "raise AttributeError(\"module 'numpy' has no attribute 'row_stack'\")",
    "import": "raise ImportError('libcuml++.so: cannot open shared object file')",
    "os": "raise OSError('libnvrtc.so.13: cannot open shared object file')",
    "runtime": "raise RuntimeError('no CUDA-capable device is detected')",
    "no class": "",
    "fails at work": FAILING,
    "gives NaN": WORKING.replace("rows[:, :2]", "rows[:, :2] * numpy.nan"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_cuml_gives_way_to_open_tsne(
    how: str,
    planted: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    planted(cuml="", **{"cuml.manifold": BROKEN[how]}, openTSNE=WORKING)
    monkeypatch.setattr(embedding, "_cuda", lambda: True)
    values = np.random.default_rng(0).normal(size=(120, 4))
    rows = embedding.Rows(values, np.zeros(120, int), np.arange(120))
    found = embedding.embed(rows, steps=1)
    assert (found.tool, found.status) == ("openTSNE", "ok") and np.isfinite(found.points).all()
    (warning,) = found.warnings
    assert warning.lower().startswith("cuml") and "openTSNE draws the map on the CPU" in warning
    if how in ("attribute", "import", "os", "runtime"):
        assert "cuml.manifold is installed but does not import" in caplog.text


@pytest.mark.parametrize("how", BROKEN)
def test_without_any_tool_that_works_there_is_no_map(
    how: str, planted: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(openTSNE=BROKEN[how])
    monkeypatch.setattr(embedding, "_cuda", lambda: False)
    values = np.random.default_rng(0).normal(size=(120, 4))
    rows = embedding.Rows(values, np.zeros(120, int), np.arange(120))
    found = embedding.embed(rows, steps=2)
    assert (
        found.status.startswith("insufficient: openTSNE")
        and "there is no t-SNE map" in found.status
    )
    assert found.warnings == (
        found.status.removeprefix("insufficient: "),
    ) and found.centroid.shape == (2, 2)
