"""Features of problems that have ended: belief and state stay, the summary of a pass does not, and
behind the last end there is nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from diffengine.analysis.information.features import RunFeatures

ENDS = (1, 4, 0, 3)
STEPS = 6


def load(name: str, path: Path):  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FOLDER = Path(__file__).parents[1]
ended = load("ended_runs", FOLDER / "ended_runs.py")
fakes = load("fakes", FOLDER / "conftest.py")


@pytest.fixture
def features() -> RunFeatures:
    columns = fakes.columns_of(4, STEPS, 6)
    rng = np.random.default_rng(1)
    for name in ("logsumexp", "logit_mean", "logit_std"):
        columns[name] = rng.normal(size=(4, STEPS, 6)).astype(np.float32)
    return RunFeatures(fakes.FakeRun(ended.end_at(columns, ENDS)))


def test_belief_stays_and_the_summary_does_not(features: RunFeatures) -> None:
    belief, summary = features.narrow["belief"], features.narrow["summary"]
    for row, end in enumerate(ENDS):
        assert np.isfinite(belief[row, : max(ENDS) + 1]).all()
        assert (belief[row, end : max(ENDS) + 1] == belief[row, end]).all()
        assert np.isfinite(summary[row, : end + 1]).all()
        assert np.isnan(summary[row, end + 1 :]).all()
    assert np.isnan(belief[:, max(ENDS) + 1 :]).all()
    assert features.ends_differ


def test_the_state_stays_and_steps_stop_at_the_last_end(features: RunFeatures) -> None:
    by_step = {step: values for _, step, values in features.of_steps(["state"], STEPS)}
    assert sorted(by_step) == list(range(max(ENDS) + 1))
    for row, end in enumerate(ENDS):
        for step in range(end, max(ENDS) + 1):
            assert np.isfinite(by_step[step][row]).all()
            np.testing.assert_array_equal(by_step[step][row], by_step[end][row])
