"""The mistakes that tools in this field make, one by one: what each does to the value, and that
ours is right."""

from __future__ import annotations

import numpy as np
import pytest
import slow_twins as slow
from information_tasks import TASKS, bfloat16, binary, normal, saturated, zero
from scipy.special import digamma

from diffengine.analysis.information import estimate
from diffengine.analysis.information.ksg1 import ksg1_nats
from diffengine.analysis.information.neighbors import distances_to, nearest
from diffengine.analysis.information.sample import normal_scores, prepared

NATS = np.log(2)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([5, seed])


def nats(name: str, x: np.ndarray, y: np.ndarray, **options: object) -> float:
    return estimate(name, x, y, **options).bits * NATS  # type: ignore[arg-type]


def mean(name: str, task: str, samples: int = 6, **options: object) -> float:
    return float(
        np.mean([nats(name, *TASKS[task](1000, rng(seed)), **options) for seed in range(samples)])
    )


def test_closed_balls() -> None:
    x, y = (part[:300, None] for part in normal(300, rng()))
    open_ball, closed = slow.ksg1(x, y, 3), slow.ksg1(x, y, 3, closed=True)
    assert closed < open_ball - 0.01
    assert ksg1_nats(x, y, 3) == pytest.approx(open_ball, abs=1e-12)


def test_one_radius_in_the_second_algorithm() -> None:
    x, y = zero(300, rng())
    assert slow.ksg2(x, y, 3, one_radius=True) < -0.25
    assert nats("ksg2", x, y) == pytest.approx(0, abs=0.12)
    assert mean("ksg2", "zero-1v1") == pytest.approx(0, abs=0.03)


def test_an_absolute_epsilon_depends_on_the_scale() -> None:
    """eps - 1e-15 is eps once eps is large: a closed ball. Ours is the same at every scale."""
    x, y = normal(500, rng())
    values = [nats("ksg1", x * scale, y * scale) for scale in (1e-6, 1.0, 1e4, 1e12)]
    assert np.ptp(values) < 1e-6


def test_edges_that_rounding_moves() -> None:
    """searchsorted at x + eps lets the neighbour that defines eps in again."""
    x, y = (prepared(part[:, None], rng()) for part in normal(500, rng()))
    eps = distances_to(np.concatenate([x, y], axis=1), nearest(np.concatenate([x, y], axis=1), 3))[
        :, -1
    ]
    ordered, reach = np.sort(x[:, 0]), np.nextafter(eps, 0)
    naive = (
        np.searchsorted(ordered, x[:, 0] + reach, "right")
        - np.searchsorted(ordered, x[:, 0] - reach, "left")
        - 1
    )
    exact = np.array(
        [(np.abs(x[:, 0] - one[0]) < e).sum() - 1 for one, e in zip(x, eps, strict=True)]
    )
    assert (naive != exact).any()
    from diffengine.analysis.information.range_counts import count_within

    assert (count_within(x, eps) == exact).all()


def test_radii_of_one_precision_and_counts_of_another() -> None:
    x, y = (prepared(part[:, None], rng()) for part in normal(500, rng()))
    found = [ksg1_nats(x, y, 3, backend) for backend in ("kdtree", "torch", "faiss")]
    assert np.ptp(found) < 1e-12


def test_no_standardisation() -> None:
    x, y = normal(1000, rng())
    assert nats("ksg1", x, 1000 * y, scale="none") < 0.2
    assert nats("ksg1", x, 1000 * y) == pytest.approx(nats("ksg1", x, y), abs=1e-6)


def test_ties_without_jitter() -> None:
    x, y = saturated(1000, rng())
    assert abs(nats("ross", x, y, jitter=0.0) - 0.0863) > 0.5
    assert mean("ross", "mix-atom-bin") == pytest.approx(0.0863, abs=0.03)


def test_gao_takes_a_grid_for_atoms() -> None:
    x, y = bfloat16(1000, rng())
    assert nats("gao", x, y) > 0.6
    assert "taken for atoms" in estimate("gao", x, y).warnings[0]
    assert mean("ksg1", "bf16-1v1-normal-.75") == pytest.approx(0.4133, abs=0.04)


def test_gao_as_the_paper_prints_it() -> None:
    x, y = normal(300, rng())
    printed, ours = slow.gao(x, y, 3, paper=True), slow.gao(x, y, 3)
    assert printed < ours - 0.05


def test_jitter_that_an_offset_swallows() -> None:
    x, y = saturated(1000, rng())
    shift = float(1 << 20)  # exact in float64 to 2e-10
    moved = estimate("ross", x.astype(np.float32) + np.float32(1.0), y)
    assert moved.bits * NATS == pytest.approx(0.0863, abs=0.06)
    constant = estimate("ross", np.full(1000, 1e6), y)
    assert constant.bits == 0.0 and constant.warnings == ("x constant: 0 bits",)
    whole = np.round(x * 64)
    assert nats("ross", whole + shift, y) == pytest.approx(nats("ross", whole, y), abs=1e-9)


def test_ties_are_averaged_over_draws() -> None:
    x, y = bfloat16(1000, rng())
    single = [nats("ksg1", x, y, draws=1, seed=seed) for seed in range(12)]
    several = [nats("ksg1", x, y, seed=seed) for seed in range(12)]
    assert np.std(several) < 0.75 * np.std(single)
    assert "mean over 5 draws" in estimate("ksg1", x, y).warnings[0]


def test_ranks_before_jitter() -> None:
    x, y = saturated(1000, rng())
    recreated = normal_scores(x[:, None])
    assert abs(nats("ross", recreated, y, scale="none", jitter=0.0) - 0.0863) > 0.5
    assert nats("ross", x, y, scale="rank") == pytest.approx(0.0863, abs=0.06)


def test_values_below_zero_stay() -> None:
    found = [nats("ross", *TASKS["cd-zero-bin-d1"](300, rng(seed))) for seed in range(40)]
    assert min(found) < -0.01
    assert np.mean(found) == pytest.approx(0, abs=0.01)


def test_information_without_end_has_a_ceiling() -> None:
    x = rng().normal(size=1000)
    found = estimate("ksg1", x, x, jitter=0.0)
    assert found.ceiling_bits == pytest.approx((digamma(1000) - digamma(3)) / NATS)
    assert found.bits == pytest.approx(found.ceiling_bits)
    assert found.bits - 1 < estimate("ksg1", x, x).bits < found.ceiling_bits
    labels = np.arange(1000) // 100
    apart = estimate("ross", labels + 0.1 * rng().random(1000), labels)
    assert apart.bits == pytest.approx(apart.ceiling_bits) and apart.ceiling_bits == pytest.approx(
        np.log2(10), abs=0.05
    )


def test_confidence_times_labels_is_no_information() -> None:
    """The original suite's first trajectory: mean confidence times log2(labels + 1), for a confidence that
    tells nothing."""
    confidence, y = rng().random(1000), rng(1).integers(0, 2, 1000)
    assert confidence.mean() * np.log2(3) > 0.7
    assert estimate("ross", confidence, y).bits == pytest.approx(0, abs=0.06)
    assert estimate("decoder", confidence, y).bits == pytest.approx(0, abs=0.01)


def test_labels_as_many_as_half_the_rows() -> None:
    x, y = TASKS["cd-zero-500class-d1"](1000, rng())
    assert nats("binning", x, y, correction="none") > 0.25
    assert nats("binning", x, y, correction="miller_madow") > 0.15
    assert nats("binning", x, y) == pytest.approx(0, abs=0.02)
    assert mean("ross", "cd-zero-500class-d1", 12) == pytest.approx(0, abs=0.03)


def test_fifty_columns() -> None:
    x, y = binary(1000, rng(), noise=49)
    assert nats("ross", x, y) < 0.15
    assert nats("decoder", x, y) > 0.25 and nats("ross_oof", x, y) > 0.25


def test_an_informative_axis_of_low_variance() -> None:
    """Principal components would lose it; a ridge on standardised columns does not."""
    x, y = binary(1000, rng(), noise=199)
    x[:, 0] *= 0.05
    assert nats("decoder", x, y) > 0.15 and nats("ross_oof", x, y) > 0.15


@pytest.mark.parametrize("noise", [0, 49, 499])
def test_the_decoder_on_permuted_labels(noise: int) -> None:
    """With a fixed penalty it would fall far below zero in 500 columns; a penalty chosen inside
    does not."""
    x, y = binary(600, rng(), noise=noise)
    assert -0.012 < nats("decoder", x, rng(1).permutation(y)) < 0.01


def test_duplicates_of_a_bootstrap() -> None:
    x, y = zero(1000, rng())
    rows = rng().integers(0, 1000, 1000)
    assert nats("ksg1", x[rows], y[rows]) > 0.5
    from diffengine.analysis.information.uncertainty import subsampled_stderr

    stderr = subsampled_stderr(lambda part: nats("ksg1", x[part], y[part]), 1000)
    assert 0.008 < stderr < 0.05
