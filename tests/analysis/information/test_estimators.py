"""The table of estimators: one object each, whosever it is; what a stranger's may do wrong costs its
own curve and a sentence."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.information import Curve, Estimate, Estimator, Point, estimate
from diffengine.analysis.information.estimators import (
    ESTIMATORS,
    curve_table,
    load_estimator,
    off_dashboard,
    quantity_names,
)
from diffengine.analysis.information.over_steps import MutualInformation, mutual_information
from diffengine.analysis.information.step_sample import CurveSettings, StepSample
from diffengine.analysis.names import finding_names
from diffengine.bench.information import made_up_run
from diffengine.engine.registry import PluginError

DOCS = Path(__file__).resolve().parents[3] / "docs" / "analysis.md"
STEPS = 3

STRANGER = '''
import numpy as np
from diffengine.analysis.information import Curve, Estimate, Estimator, Point

def correlation(x, y, *, seed=0):
    """I(x; y) of a Gaussian with the same correlation, first column alone."""
    rho = np.corrcoef(x[:, 0], y)[0, 1]
    return Estimate(-0.5 * np.log2(1 - rho**2), len(x), 0, 1, np.inf)

def declared(function, *curves, targets=("labels",)):
    return Estimator(function, method="Gaussian", source="nobody", caution="everything",
                     targets=targets, curves=curves)

LABEL = "I(correct; belief), Gaussian"
CORRELATION = declared(correlation, Curve("correlation", LABEL, features="belief"))
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`install("source", name="strange:OBJECT")`: a package "somebody 1.2" with a module `strange`
    and these entry points."""

    def install(source: str, **points: str) -> None:
        (tmp_path / "strange.py").write_text(STRANGER + source, encoding="utf-8")
        folder = tmp_path / "somebody-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.2\n")
        lines = ["[diffengine.estimators]", *(f"{name} = {row}" for name, row in points.items())]
        (folder / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "strange", raising=False)
        monkeypatch.setattr(ESTIMATORS, "_all", None)
        importlib.invalidate_caches()

    return install


@pytest.fixture(scope="module")
def ours() -> MutualInformation:
    return mutual_information(made_up_run(120, STEPS, 6), permutations=19)


def with_strangers(**options: Any) -> MutualInformation:
    return mutual_information(made_up_run(120, STEPS, 6), permutations=19, **options)


def check_ours_are_untouched(result: MutualInformation, ours: MutualInformation) -> None:
    for name, quantity in ours.quantities.items():
        np.testing.assert_array_equal(result.quantities[name].values, quantity.values)
        assert result.quantities[name].status == quantity.status


@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_says_what_a_reader_must_know(name: str) -> None:
    estimator = load_estimator(name)
    assert estimator.function.__doc__
    row = f"| `{name}` | {estimator.method} | {estimator.source} | {estimator.caution} |"
    assert row in DOCS.read_text(encoding="utf-8").splitlines()


def test_the_curves_are_those_of_the_table(ours: MutualInformation) -> None:
    assert list(ours.quantities) == quantity_names()
    assert set(quantity_names()) <= set(finding_names())
    assert off_dashboard() == {"mi_size/ksg1"}
    assert ours.plugins == [] and "plugins" not in ours.info


def test_an_installed_estimator_is_a_curve_of_every_analysis(
    install: Callable[..., None], ours: MutualInformation
) -> None:
    install("", gauss="strange:CORRELATION")
    assert "gauss" in ESTIMATORS and "mi_p/correlation" in finding_names()
    result = with_strangers()
    check_ours_are_untouched(result, ours)
    bits = result.quantities["mi/correlation"]
    assert bits.ok and bits.label == "I(correct; belief), Gaussian" and bits.n.tolist() == [120] * 3
    assert (bits.values >= 0).all() and (bits.stderr > 0).all()
    assert bits.values[-1] > 0.05 and result.quantities["mi_p/correlation"].values[-1] == 1 / 20
    assert list(result.quantities)[-2:] == ["mi/correlation", "mi_p/correlation"]
    assert result.plugins == [
        {
            "kind": "estimator",
            "name": "gauss",
            "target": "strange:CORRELATION",
            "package": "somebody",
            "version": "1.2",
        }
    ]


def test_one_named_outright(install: Callable[..., None]) -> None:
    install("")
    x = np.random.default_rng(0).normal(size=(50, 1))
    y = (x[:, 0] > 0).astype(int)
    assert estimate("strange:CORRELATION", x, y).bits > 0.3
    with pytest.raises(ValueError, match="strange:CORRELATION has no option k; it has none"):
        estimate("strange:CORRELATION", x, y, k=3)
    result = with_strangers(estimators=["strange:CORRELATION", "strange:CORRELATION"])
    assert result.quantities["mi/correlation"].ok
    assert [plugin["name"] for plugin in result.plugins] == ["strange:CORRELATION"]


def test_one_that_raises_ends_its_own_curve(
    install: Callable[..., None], ours: MutualInformation
) -> None:
    install(
        """
def late(sample):
    if sample.scores[0, 0] != FIRST:
        raise RuntimeError("no more")
    return Point(0.1, 0.1, np.zeros(len(sample.permuted)), False)

LATE = declared(correlation, Curve("late", LABEL, features="belief", point=late))
""",
        late="strange:LATE",
    )
    first = _first_score()
    importlib.import_module("strange").FIRST = first  # type: ignore[attr-defined]
    result = with_strangers()
    check_ours_are_untouched(result, ours)
    sentence = "estimator 'late' (of somebody 1.2) failed at step 1: RuntimeError: no more"
    for name in ("mi/late", "mi_p/late"):
        assert result.quantities[name].status == f"insufficient: {sentence}"
        assert np.isnan(result.quantities[name].values).all()
    assert f"mi/late: {sentence}" in result.warnings


def _first_score() -> float:
    """What tells step 0 of the made-up run from the others."""
    from diffengine.analysis.information.features import narrow_features

    run = made_up_run(120, STEPS, 6)
    x = narrow_features(run)["belief"][:, 0]
    y = run["verdict"].astype(int)
    sample = StepSample(x, y, y[None], np.arange(120), CurveSettings())
    return float(sample.scores[0, 0])


@pytest.mark.parametrize(
    "source, sentence",
    [
        (
            "BAD = declared(lambda x, y, seed=0: 0.5, Curve('bad', LABEL, features='belief'))",
            "TypeError: got a float; expected an Estimate",
        ),
        (
            "BAD = declared(correlation, Curve('bad', LABEL, 'belief', point=lambda sample: 0.5))",
            "TypeError: got a float; expected a Point",
        ),
        (
            "BAD = declared(correlation, Curve('bad', LABEL, 'belief',"
            " point=lambda sample: Point(0.5, 0.1, np.zeros(3), False)))",
            "ValueError: null has shape (3,); expected (20,), one value for each permutation",
        ),
    ],
)
def test_one_that_returns_something_else(
    install: Callable[..., None], source: str, sentence: str
) -> None:
    install(source, bad="strange:BAD")
    status = with_strangers().quantities["mi/bad"].status
    assert status.startswith("insufficient: estimator 'bad'") and status.endswith(sentence)


@pytest.mark.parametrize(
    "source, sentence",
    [
        ("BAD = correlation", "is function, expected an Estimator; declare it as"),
        ("", "module 'strange' has no 'BAD'"),
        ("raise OSError('no library')", "cannot be imported (OSError: no library)"),
        (
            "BAD = declared(correlation, Curve('ross', LABEL, features='belief'))",
            "adds a curve 'mi/ross', whose name estimator 'ross' has taken; rename it",
        ),
    ],
)
def test_one_that_cannot_be_used_is_refused_aloud(
    install: Callable[..., None], ours: MutualInformation, source: str, sentence: str
) -> None:
    install(source, bad="strange:BAD")
    result = with_strangers()
    check_ours_are_untouched(result, ours)
    assert list(result.quantities) == list(ours.quantities)
    (warning,) = [text for text in result.warnings if "its curves are left out" in text]
    assert sentence in warning
    for name in ("bad", "strange:BAD"):
        with pytest.raises(PluginError) as error:
            curve_table([name])
        assert sentence in str(error.value)


def test_a_curve_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="a curve is called 'a/b'; expected a letter"):
        Curve("a/b", "", features="belief")
    with pytest.raises(
        ValueError, match="no features are called 'canvas'; there are: belief, slot"
    ):
        Curve("a", "", features="canvas")
    with pytest.raises(ValueError, match="no target is called 'answer'; there are: correct, size"):
        Curve("a", "", features="belief", target="answer")
    with pytest.raises(
        ValueError, match="its target 'size' is continuous; the estimator takes lab"
    ):
        Estimator(
            estimate,
            method="",
            source="",
            caution="",
            targets=("labels",),
            curves=(Curve("a", "", features="belief", target="size"),),
        )


def test_a_curve_without_a_point_of_its_own_calls_the_estimator() -> None:
    """Value, null and the values of the subsamples by hand."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 1))
    y = np.repeat([0, 1], 30)
    permuted = np.stack([y, rng.permutation(y), rng.permutation(y)])
    sizes = []

    def mean_gap(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> Estimate:
        sizes.append(len(x))
        gap = x[y == 1].mean() - x[y == 0].mean()
        return Estimate(float(gap), len(x), 0, 1, np.inf)

    estimator = Estimator(mean_gap, method="", source="", caution="", targets=("labels",))
    sample = StepSample(x, y, permuted, np.arange(60), CurveSettings())
    point = estimator.point(Curve("gap", "", features="slot"), sample)
    assert isinstance(point, Point) and not point.limited and point.stderr > 0
    for labels, value in zip(permuted, point.null, strict=True):
        expected = (x[labels == 1].mean() - x[labels == 0].mean()) * np.log(2)
        assert value == pytest.approx(expected)
    assert point.nats == point.null[0]
    assert {30, 20, 15, 12} < set(sizes)
