"""The one door: what it takes, what it refuses and how it says so; invariances; agreement with
scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from information_tasks import TASKS, binary, normal, pairs, saturated, ten_classes

from diffengine.analysis.information import Estimate, estimate
from diffengine.analysis.information.estimators import ESTIMATORS, load_estimator

NATS = np.log(2)


def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def sample(name: str, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    if name == "pvi":
        x, y = binary(n, rng())
        p = 1 / (1 + np.exp(-2 * x[:, 0]))
        return np.log(np.stack([1 - p, p], axis=1)), y
    return normal(n, rng()) if name in ("ksg1", "ksg2") else binary(n, rng())


def test_the_names_that_calls_of_others_rely_on() -> None:
    assert set(ESTIMATORS) >= {
        "ksg1",
        "ksg2",
        "ross",
        "gao",
        "binning",
        "gcmi",
        "decoder",
        "ross_oof",
        "pvi",
    }


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator(name: str) -> None:
    x, y = sample(name)
    kept = x.copy(), y.copy()
    found = estimate(name, x, y, seed=1)
    assert isinstance(found, Estimate) and load_estimator(name).function.__doc__
    assert (
        found.n == 400 and 0.1 < found.bits < found.ceiling_bits and isinstance(found.bits, float)
    )
    assert found == estimate(name, x, y, seed=1)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])


TAKEN = [
    (name, target)
    for name in ESTIMATORS
    for target in load_estimator(name).targets
    if name != "pvi"  # its x are beliefs, not values
]


@pytest.mark.parametrize(("name", "target"), TAKEN)
def test_independent_variables_share_nothing(name: str, target: str) -> None:
    """Mean of 40 samples, whose error is below .01 bits."""
    draw = rng()
    bits = []
    for _ in range(40):
        x = draw.normal(size=(400, 1))
        y = draw.integers(0, 2, 400) if target == "labels" else draw.normal(size=400)
        bits.append(estimate(name, x, y, seed=1).bits)
    assert np.mean(bits) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_order_of_rows_is_nothing(name: str) -> None:
    """To the error of the folds, shuffles and jitter, which follow the rows' order."""
    x, y = sample(name)
    order = rng().permutation(len(y))
    bits = estimate(name, x, y).bits, estimate(name, x[order], y[order]).bits
    assert bits[0] == pytest.approx(
        bits[1], abs=0.03 if name in ("decoder", "ross_oof", "binning") else 1e-6
    )


@pytest.mark.parametrize(
    "name", ["ksg1", "ksg2", "ross", "gao", "binning", "gcmi", "decoder", "ross_oof"]
)
def test_units_of_x_are_nothing(name: str) -> None:
    x, y = sample(name)
    for scale, shift in ((1e-8, 0.0), (1e6, 0.0), (1.0, 1000.0), (-3.0, 5.0)):
        moved = estimate(name, scale * x + shift, y).bits
        assert moved == pytest.approx(estimate(name, x, y).bits, abs=5e-3 if scale < 0 else 1e-5)


@pytest.mark.parametrize("name, options", [("gcmi", {}), ("binning", {}), ("ross", {"scale": "rank"}),
                                           ("ksg1", {"scale": "rank"}), ("ksg2", {"scale": "rank"})])  # fmt: skip
def test_a_monotone_transform_is_nothing(name: str, options: dict[str, str]) -> None:
    x, y = sample(name)
    for change in (np.exp, np.arctan, lambda v: v**3):
        assert estimate(name, change(x), y, **options).bits == pytest.approx(
            estimate(name, x, y, **options).bits
        )


def test_x_and_y_change_places() -> None:
    x, y = pairs(400, rng(), d=2)
    for name in ("ksg1", "ksg2", "gao", "gcmi"):
        assert estimate(name, x, y).bits == pytest.approx(estimate(name, y, x).bits, abs=1e-6)


@pytest.mark.parametrize("label", [
    lambda y: y.astype(bool), lambda y: np.where(y == 1, "right", "wrong"), lambda y: y * 7 - 3, lambda y: y[:, None],
    lambda y: y.astype(float),
])  # fmt: skip
def test_labels_in_any_form(label: Callable[[np.ndarray], np.ndarray]) -> None:
    x, y = binary(300, rng())
    assert estimate("ross", x, label(y)) == estimate("ross", x, y)


@pytest.mark.parametrize("x, y, message", [
    (np.zeros((5, 2, 2)), np.zeros(5), "x has shape .5, 2, 2.; expected .n. or .n, d."),
    (np.zeros(0), np.zeros(0), "at least one row"),
    (np.zeros(5), np.zeros(4), "x has 5 rows and y 4; they must be pairs"),
    (np.array([1.0, np.nan, 2, 3]), np.zeros(4), "x has NaN or infinity in 1 of 4 rows"),
    (np.zeros(4), np.array([1.0, np.inf, 2, 3]), "y has NaN or infinity in 1 of 4 rows"),
    (np.array(["a"] * 4), np.zeros(4), "x has dtype"),
    (np.arange(3.0), np.arange(3.0), "k is 3; with n = 3 rows it must be between 1 and 2"),
])  # fmt: skip
def test_what_is_refused(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate("ksg1", x, y)


def test_names_and_options() -> None:
    x, y = normal(50, rng())
    with pytest.raises(
        ValueError, match="no estimator is called 'kgs1'; there are: ross.* Did you mean 'ksg1'."
    ):
        estimate("kgs1", x, y)
    with pytest.raises(
        ValueError, match="estimator ksg1 has no option bins; it has k, scale, jitter"
    ):
        estimate("ksg1", x, y, bins=3)
    with pytest.raises(ValueError, match="unknown scale 'zscore'; known: std, rank, none"):
        estimate("ksg1", x, y, scale="zscore")
    with pytest.raises(ValueError, match="needs labels"):
        estimate("ross", x, y)
    with pytest.raises(ValueError, match="binning takes one column of x, got 2"):
        estimate("binning", np.zeros((5, 2)), np.arange(5))
    with pytest.raises(ValueError, match="cannot give a covariance of 3 columns"):
        estimate("gcmi", rng().normal(size=(20, 3)), np.arange(20) < 3)
    with pytest.raises(ValueError, match="needs null"):
        estimate("pvi", -np.ones(4), np.zeros(4, int))
    with pytest.raises(ValueError, match="log-probabilities are at most 0"):
        estimate("pvi", np.ones((4, 2)), np.zeros(4, int))
    with pytest.raises(ValueError, match="y holds 0 to 2; x has columns 0 to 1"):
        estimate("pvi", -np.ones((4, 2)), np.array([0, 1, 2, 0]))


def test_labels_that_occur_once_are_dropped_and_reported() -> None:
    x, y = binary(300, rng())
    y = y.copy()
    y[:6] = np.arange(6) + 10
    found = estimate("ross", x, y)
    assert found.n == 294 and found.warnings == (
        "6 of 300 rows dropped, of a label that occurs once",
    )
    assert found.bits == estimate("ross", x[6:], y[6:]).bits
    y[:30] = np.arange(30) + 10
    assert any("not estimable as classes" in one for one in estimate("ross", x, y).warnings)


def test_a_constant_holds_nothing() -> None:
    y = binary(200, rng())[1]
    for name in ("ksg1", "ksg2", "ross", "gcmi", "binning"):
        target = rng().normal(size=200) if name.startswith("ksg") else y
        assert estimate(name, np.full(200, 1e6), target).bits == pytest.approx(0, abs=1e-12)


def test_a_constant_column_beside_another_changes_nothing() -> None:
    x, y = binary(300, rng())
    wide = np.concatenate([x, np.full((300, 1), 7.0)], axis=1)
    for name in ("ross", "decoder"):
        assert estimate(name, wide, y).bits == pytest.approx(estimate(name, x, y).bits, abs=1e-6)


def test_gcmi_leaves_out_a_monotone_function_of_another_column() -> None:
    x, y = binary(300, rng(), noise=1)
    wide = np.concatenate([x, -np.exp(-x[:, :1])], axis=1)
    assert estimate("gcmi", wide, y).bits == pytest.approx(estimate("gcmi", x, y).bits)


def test_ceilings() -> None:
    x, y = ten_classes(500, rng())
    entropy = -sum(p * np.log2(p) for p in np.bincount(y) / 500)
    assert estimate("decoder", x, y).ceiling_bits == pytest.approx(entropy)
    assert estimate("ross", x, y).ceiling_bits == pytest.approx(entropy, abs=0.05)
    assert estimate("binning", x[:, 0], x[:, 1]).ceiling_bits == pytest.approx(
        np.log2(10), abs=1e-3
    )
    assert estimate("gcmi", x, x[:, :1]).ceiling_bits == np.inf


@pytest.mark.parametrize(
    "task", ["1v1-normal-0.75", "1v1-normal-0.99", "half_cube-1v1", "1v1-additive-0.1"]
)
def test_scikit_learn_on_continuous_values(task: str) -> None:
    from sklearn.feature_selection import mutual_info_regression

    x, y = TASKS[task](800, rng())
    peer = mutual_info_regression(x[:, None], y, n_neighbors=3, random_state=0)[0]
    assert estimate("ksg1", x, y).bits * NATS == pytest.approx(peer, abs=1e-6)


@pytest.mark.parametrize("task", ["cd-bin-d1", "cd-rare5%-d1", "cd-unif-m5"])
def test_scikit_learn_on_labels(task: str) -> None:
    from sklearn.feature_selection import mutual_info_classif

    x, y = TASKS[task](800, rng())
    peer = mutual_info_classif(x.reshape(-1, 1), y, n_neighbors=3, random_state=0)[0]
    assert estimate("ross", x, y).bits * NATS == pytest.approx(peer, abs=1e-6)


def test_gcmi_by_groups_of_ranks_only() -> None:
    x, y = saturated(600, rng())
    assert estimate("gcmi", x, y).bits == pytest.approx(0.057 / NATS, abs=0.06)
