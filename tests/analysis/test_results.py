"""The results file: exact round trip, labelled, atomic, and clear about what it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.results import Analysis, load_analysis, save_analysis


def same(one: Any, other: Any) -> None:
    """Equal in type, dtype, shape and every bit that matters (NaN equals NaN)."""
    assert type(one) is type(other), (type(one), type(other))
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other) or set(one) == set(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)
    else:
        assert one == other or (one != one and other != other)


@pytest.mark.parametrize("problems", [0, 1, 12, 40])
def test_round_trip_is_exact(problems: int, make_run: Callable[..., Any], tmp_path: Path) -> None:
    analysis = analyze_run(make_run(problems, 12, 8))
    save_analysis(analysis, tmp_path / "analysis.h5")
    again = load_analysis(tmp_path / "analysis.h5")
    for name in ("quantities", "spikes", "s_curve", "patterns", "problems", "info"):
        same(getattr(analysis, name), getattr(again, name))
    assert list(again.quantities) == list(analysis.quantities)


def test_labelled_for_plain_readers(make_run: Callable[..., Any], tmp_path: Path) -> None:
    save_analysis(analyze_run(make_run(12, 12, 8)), tmp_path / "analysis.h5")
    with h5py.File(tmp_path / "analysis.h5", "r") as file:
        values = file["quantities/cka.matrix/values"]
        assert [dim.label or dim[0].name for dim in values.dims] == ["/step", "/other_step"]
        assert file["quantities/entropy.all/stderr"].attrs["units"] == "bits"
        assert file["quantities/entropy.all/n"].attrs["units"] == "problems"


def test_text_columns_survive(make_run: Callable[..., Any], tmp_path: Path) -> None:
    analysis = analyze_run(make_run(2))
    analysis.problems["id"] = np.array(["ünïcode 数", ""], dtype=object)
    save_analysis(analysis, tmp_path / "a.h5")
    assert load_analysis(tmp_path / "a.h5").problems["id"].tolist() == ["ünïcode 数", ""]


def test_access_by_name(make_run: Callable[..., Any]) -> None:
    analysis: Analysis = analyze_run(make_run())
    assert "entropy/all" in analysis and analysis["entropy/all"].ok
    with pytest.raises(KeyError, match="no quantity 'entropy'.*entropy/all"):
        analysis["entropy"]


def test_clear_errors(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    with pytest.raises(FileNotFoundError, match="diffengine analyze"):
        load_analysis(tmp_path / "analysis.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match="analysis_schema_version None"):
        load_analysis(tmp_path / "other.h5")
    analysis = analyze_run(make_run())
    analysis.quantities["bad"] = analysis["entropy/all"]._replace(
        values=np.zeros(3), stderr=None, n=1
    )
    with pytest.raises(ValueError, match="dimension 'step' has length 3"):
        save_analysis(analysis, tmp_path / "bad.h5")
    assert not (tmp_path / "bad.h5").exists()
