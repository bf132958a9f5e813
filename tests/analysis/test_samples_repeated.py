"""A run whose problems have N samples that are all alike says what the run with one of each says:
the same values, and the same uncertainty, for every quantity of the registries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sampled_runs import POSITIONS, STEPS, repeated, run_of, telling_columns

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.names import quantity_names
from diffengine.analysis.registry import FINDINGS
from diffengine.analysis.results import Analysis
from diffengine.analysis.samples import finding as samples

PROBLEMS, TIMES = 130, 3
ORDERS = {
    "beside each other": np.repeat(np.arange(PROBLEMS), TIMES),
    "one round after the other": np.tile(np.arange(PROBLEMS), TIMES),
}


@pytest.fixture(scope="module")
def pairs() -> dict[str, Analysis]:
    return {}


@pytest.fixture
def both(
    pairs: dict[str, Analysis], make_columns: Callable[..., Any], fake_run: type
) -> Callable[[str], tuple[Analysis, Analysis]]:
    """Analyses of the run with one sample each and of the one in this order, each made once."""

    def of(order: str) -> tuple[Analysis, Analysis]:
        names = [f"p{row:03d}" for row in range(PROBLEMS)]
        if not pairs:
            columns = telling_columns(make_columns(PROBLEMS, STEPS, POSITIONS))
            run = run_of(fake_run, columns, names, [0] * PROBLEMS)
            pairs["once"] = analyze_run(run, mutual_information=True)
        if order not in pairs:
            columns = telling_columns(make_columns(PROBLEMS, STEPS, POSITIONS))
            rows = ORDERS[order]
            numbers = [int((rows[:place] == row).sum()) for place, row in enumerate(rows)]
            run = run_of(fake_run, repeated(columns, rows), [names[row] for row in rows], numbers)
            pairs[order] = analyze_run(run, mutual_information=True)
        return pairs["once"], pairs[order]

    return of


def _sometimes() -> set[str]:
    """The quantities that an analysis does not always hold."""
    findings = [FINDINGS.load(name) for name in FINDINGS]
    return {
        name
        for finding in findings
        if finding.asked is not None or finding.there is not None
        for name in finding.names
    }


OF_SAMPLES = set(samples.NAMES)
SOMETIMES = _sometimes()
COMPARED = [name for name in quantity_names() if name not in SOMETIMES]


@pytest.mark.parametrize("order", sorted(ORDERS))
@pytest.mark.parametrize("name", COMPARED)
def test_every_quantity_is_the_same(
    name: str, order: str, both: Callable[[str], tuple[Analysis, Analysis]]
) -> None:
    once, repeat = (analysis[name] for analysis in both(order))
    assert repeat.status == once.status
    np.testing.assert_array_equal(repeat.n, once.n)
    close = {"rtol": 1e-6, "atol": 1e-9, "equal_nan": True}
    np.testing.assert_allclose(repeat.values, once.values, **close)
    for part in ("stderr", "interval"):
        before, after = getattr(once, part), getattr(repeat, part)
        assert (before is None) == (after is None)
        if before is not None:
            np.testing.assert_allclose(after, before, **close)


def test_most_quantities_have_a_value(both: Callable[[str], tuple[Analysis, Analysis]]) -> None:
    once, _ = both("beside each other")
    with_value = [name for name in COMPARED if np.isfinite(once[name].values).any()]
    assert len(with_value) >= len(COMPARED) - 4


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_spikes_shape_and_signs_are_the_same(
    order: str, both: Callable[[str], tuple[Analysis, Analysis]]
) -> None:
    once, repeat = both(order)
    for rule, spikes in once.spikes.items():
        assert [spike.step for spike in repeat.spikes[rule]] == [spike.step for spike in spikes]
        for before, after in zip(spikes, repeat.spikes[rule], strict=True):
            np.testing.assert_allclose(after[1:4], before[1:4], rtol=1e-6, equal_nan=True)
    assert once.s_curve.verdict == "s-curve" and repeat.s_curve.verdict == once.s_curve.verdict
    for field in ("midpoint", "midpoint_stderr", "amplitude_stderr", "gate_p"):
        # The fit is searched for, to a tolerance of its own.
        expected = pytest.approx(getattr(once.s_curve, field), rel=1e-4)
        assert getattr(repeat.s_curve, field) == expected
    for before, after in zip(once.patterns, repeat.patterns, strict=True):
        assert (after.verdict, after.evidence) == (before.verdict, before.evidence)
    for key in ("n_problems", "block_length", "scope", "unfinished"):
        assert repeat.info[key] == once.info[key]
    assert repeat.info["accuracy_interval"] == pytest.approx(once.info["accuracy_interval"])
    assert repeat.info["n_samples"] == PROBLEMS * TIMES and "n_samples" not in once.info


def test_alike_samples_agree(both: Callable[[str], tuple[Analysis, Analysis]]) -> None:
    once, repeat = both("beside each other")
    curve = repeat[samples.PASS]
    np.testing.assert_allclose(curve.values, [float(once["accuracy"].values)] * TIMES)
    for k in range(TIMES):
        np.testing.assert_allclose(curve.interval[:, k], once["accuracy"].interval)
    assert float(repeat[samples.MAJORITY].values) == pytest.approx(float(once["accuracy"].values))
    assert float(repeat[samples.ENTROPY].values) == 0 == float(repeat[samples.MILLER_MADOW].values)
    assert float(repeat[samples.AUROC].values) == pytest.approx(0.5)
    assert not OF_SAMPLES & set(once.quantities)
