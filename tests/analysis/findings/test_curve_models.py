"""Fits recover what made the curve; AICc picks it."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.findings import curve_models
from diffengine.analysis.findings.curve_models import aicc, fit_all

X = np.linspace(0, 1, 64)
TRUTHS = {
    "constant": np.full(64, 0.4),
    "line": 0.2 + 0.5 * X,
    "quadratic": 0.2 + 1.2 * (X - 0.4) ** 2,
    "step": 0.2 + 0.5 * (X >= 0.41),
    "saturating": 0.1 + 0.7 * -np.expm1(-X / 0.15),
    "logistic": 0.1 + 0.7 / (1 + np.exp(-(X - 0.5) / 0.06)),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_exact_curves_are_fitted_exactly(name: str) -> None:
    fits = fit_all(X, TRUTHS[name])
    np.testing.assert_allclose(fits[name].curve, TRUTHS[name], atol=1e-5)
    assert fits[name].rss <= min(fit.rss for fit in fits.values()) + 1e-8


@pytest.mark.parametrize("name", TRUTHS)
def test_noise_free_curves_are_picked(name: str) -> None:
    fits = fit_all(X, TRUTHS[name])
    assert min(fits, key=lambda each: aicc(fits[each], TRUTHS[name])) == name


def test_parameters() -> None:
    logistic = fit_all(X, TRUTHS["logistic"])["logistic"].parameters
    assert (
        logistic["level"],
        logistic["rise"],
        logistic["midpoint"],
        logistic["width"],
    ) == pytest.approx((0.1, 0.7, 0.5, 0.06), rel=1e-3)
    saturating = fit_all(X, TRUTHS["saturating"])["saturating"].parameters
    assert (saturating["level"], saturating["rise"], saturating["scale"]) == pytest.approx(
        (0.1, 0.7, 0.15), rel=1e-3
    )
    assert fit_all(X, TRUTHS["step"])["step"].parameters["place"] == X[np.argmax(X >= 0.41)]


def test_a_falling_logistic_has_a_negative_rise() -> None:
    fit = curve_models.logistic(X, TRUTHS["logistic"][::-1].copy())
    assert fit.parameters["rise"] == pytest.approx(-0.7, rel=1e-3) and fit.parameters[
        "midpoint"
    ] == pytest.approx(0.5, abs=1e-3)


def test_step_against_all_places() -> None:
    y = np.random.default_rng(0).normal(size=20)
    x = np.linspace(0, 1, 20)
    rss = [
        ((y[:k] - y[:k].mean()) ** 2).sum() + ((y[k:] - y[k:].mean()) ** 2).sum()
        for k in range(1, 20)
    ]
    assert curve_models.step(x, y).rss == pytest.approx(min(rss))


def test_aicc_by_hand() -> None:
    y = np.random.default_rng(1).normal(size=30)
    fit = curve_models.constant(np.linspace(0, 1, 30), y)
    expected = 30 * np.log(y.var()) + 2 * 2 + 2 * 2 * 3 / (30 - 2 - 1)
    assert aicc(fit, y) == pytest.approx(expected)


@pytest.mark.parametrize("y", [np.zeros(12), np.full(12, 1e-9), np.r_[np.zeros(11), 1.0]])
def test_degenerate_curves_stay_finite(y: np.ndarray) -> None:
    x = np.linspace(0, 1, 12)
    assert all(np.isfinite(aicc(fit, y)) for fit in fit_all(x, y).values())
