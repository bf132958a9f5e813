"""Every estimator against a slow twin written from its formula, on 200 points, to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import slow_twins as slow
from information_tasks import binary, normal, pairs, saturated, ten_classes

from diffengine.analysis.information import estimate
from diffengine.analysis.information.binning import cells, plug_in_many, plug_in_nats
from diffengine.analysis.information.decoding import decode
from diffengine.analysis.information.gao import gao_nats
from diffengine.analysis.information.gaussian_copula import labelled_many, labelled_nats
from diffengine.analysis.information.ksg1 import ksg1_nats
from diffengine.analysis.information.ksg2 import ksg2_nats
from diffengine.analysis.information.ross import ross_nats
from diffengine.analysis.information.sample import normal_scores
from diffengine.analysis.information.significance import ross_many

NATS = np.log(2)


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def columns(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_ksg(k: int, d: int) -> None:
    x, y = (columns(part) for part in (normal(200, rng()) if d == 1 else pairs(200, rng(), d=d)))
    assert ksg1_nats(x, y, k) == pytest.approx(slow.ksg1(x, y, k), abs=1e-12)
    assert ksg2_nats(x, y, k) == pytest.approx(slow.ksg2(x, y, k), abs=1e-12)


@pytest.mark.parametrize("backend", ["kdtree", "torch", "faiss"])
def test_backends(backend: str) -> None:
    x, y = pairs(200, rng(), d=3)
    codes = binary(200, rng())[1]
    assert ksg1_nats(x, y, 3, backend) == pytest.approx(slow.ksg1(x, y, 3), abs=1e-12)
    assert ksg2_nats(x, y, 3, backend) == pytest.approx(slow.ksg2(x, y, 3), abs=1e-12)
    assert ross_nats(x, codes, 3, backend) == pytest.approx(slow.ross(x, codes, 3), abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_ross(k: int) -> None:
    for x, codes in (
        binary(200, rng()),
        binary(200, rng(), noise=3),
        ten_classes(200, rng()),
        binary(200, rng(), share=0.05),
    ):
        assert ross_nats(columns(x), codes, k) == pytest.approx(
            slow.ross(columns(x), codes, k), abs=1e-12
        )


def test_gao() -> None:
    x, y = normal(200, rng())
    assert gao_nats(columns(x), columns(y), 3) == pytest.approx(slow.gao(x, y, 3), abs=1e-12)
    x, codes = saturated(200, rng())
    y = 1e3 * codes
    assert gao_nats(columns(x), columns(y), 3) == pytest.approx(slow.gao(x, y, 3), abs=1e-12)
    x = np.round(x * 4)
    assert gao_nats(columns(x), columns(y), 5) == pytest.approx(slow.gao(x, y, 5), abs=1e-12)


def test_binning() -> None:
    x, y = binary(200, rng())
    cell = cells(columns(x), 10, "equal_frequency")
    assert np.bincount(cell).tolist() == [20] * 10
    plain, corrected = (
        estimate("binning", x, y, correction=one).bits * NATS for one in ("none", "miller_madow")
    )
    assert plain == pytest.approx(slow.plug_in(cell, y), abs=1e-12)
    assert corrected == pytest.approx(slow.miller_madow(cell, y), abs=1e-12)
    shuffled = np.mean([slow.plug_in(cell, rng().permutation(y)) for _ in range(1)])
    assert plain - estimate("binning", x, y).bits * NATS == pytest.approx(shuffled, abs=0.02)


def test_the_seeds_binning() -> None:
    """Ten bins of equal width for each feature, joint cells over all four, plug-in."""
    x, y = rng().normal(size=(200, 4)), rng().integers(0, 2, 200)
    codes = np.stack([np.digitize(c, np.linspace(c.min(), c.max(), 11)[1:-1]) for c in x.T], axis=1)
    joint = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
    found = estimate("binning", x, y, n_bins=10, edges="equal_width", correction="none")
    assert found.bits * NATS == pytest.approx(slow.plug_in(joint, y), abs=1e-12)
    assert found.bits > 0.8 and "mostly bias" in found.warnings[0]


def test_gcmi() -> None:
    x, y = pairs(200, rng(), d=2)
    twin = slow.gaussian(normal_scores(x), normal_scores(y))
    assert estimate("gcmi", x, y).bits * NATS == pytest.approx(twin, abs=1e-6)


def test_decoder_against_scikit_learn() -> None:
    """The same rows and penalties give the same held-out probabilities; as accurate as used, the
    same value."""
    from sklearn.linear_model import LogisticRegression

    from diffengine.analysis.information.ridge import axes_of, log_probabilities, logistic

    for x, y in (binary(200, rng(), noise=5), ten_classes(200, rng())):
        train, test = np.arange(150), np.arange(150, 200)
        axes = axes_of(x[train])
        penalties = np.array([0.1, 1.0, 30.0])
        given = axes.of(x[train]), y[train], int(y.max()) + 1, axes.variance, penalties
        found = log_probabilities(axes.of(x[test]), logistic(*given, close=1e-12, rounds=5000))
        as_used = log_probabilities(axes.of(x[test]), logistic(*given))
        own = np.arange(50), y[test]
        assert (
            max(
                abs(one[own].mean() - other[own].mean())
                for one, other in zip(found, as_used, strict=True)
            )
            < 5e-3
        )
        scaled = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        for penalty, ours in zip(penalties, found, strict=True):
            peer = LogisticRegression(C=1 / penalty, max_iter=5000, tol=1e-10).fit(
                scaled[train], y[train]
            )
            np.testing.assert_allclose(np.exp(ours), peer.predict_proba(scaled[test]), atol=1e-4)


def test_the_decoder_has_not_seen_its_row() -> None:
    """Another label at one row changes what the others are given, never what that row itself is
    given."""
    x, y = binary(200, rng(), noise=2)
    first = decode(x, y, folds=200 // 2)
    assert np.isfinite(first.gain(y)).all()
    np.testing.assert_allclose(np.exp(first.log_q).sum(axis=1), 1, atol=1e-12)
    assert first.gain(y).mean() == pytest.approx(decode(x, y, folds=5).gain(y).mean(), abs=0.05)


def test_many_relabellings_are_the_estimator() -> None:
    x = rng().normal(size=(200, 2))
    codes = np.stack(
        [np.random.default_rng(seed).permutation(np.arange(200) % 9 == 0) for seed in range(6)]
    ).astype(int)
    np.testing.assert_allclose(
        ross_many(x, codes), [ross_nats(x, one, 3) for one in codes], atol=1e-12
    )
    np.testing.assert_allclose(
        labelled_many(x, codes), [labelled_nats(x, one) for one in codes], atol=1e-12
    )
    cell = cells(x[:, :1], 10, "equal_frequency")
    np.testing.assert_allclose(
        plug_in_many(cell, codes), [plug_in_nats(cell, one) for one in codes], atol=1e-12
    )


def test_many_relabellings_where_a_neighbour_is_far() -> None:
    """All of one label at the far end: the k-th same label is beyond every list of neighbours."""
    x = np.sort(rng().normal(size=400))[:, None]
    codes = np.zeros((1, 400), int)
    codes[0, [0, 100, 200, 300, 399]] = 1
    assert ross_many(x, codes)[0] == pytest.approx(ross_nats(x, codes[0], 3), abs=1e-12)


def test_pvi_by_hand() -> None:
    x = np.log([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.25, 0.75]])
    y = np.array([0, 0, 1, 0])
    null = np.log([0.5, 0.5])
    assert estimate("pvi", x, y, null=null).bits == pytest.approx(
        np.mean(np.log2([1, 1.8, 1.6, 0.5]))
    )
    observed = x[np.arange(4), y]
    assert estimate("pvi", observed, y, null=np.full(4, np.log(0.5))).bits == pytest.approx(
        estimate("pvi", x, y, null=null).bits
    )
    others = np.array([2.5, 2.5, 0.5, 2.5]) / 4  # (label's other rows + 1/2) / (3 + 1)
    assert estimate("pvi", x, y).bits == pytest.approx(np.mean((observed - np.log(others)) / NATS))
