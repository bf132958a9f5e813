"""The kernels as compiled for sm_90, run on a model of the GPU's instructions, against the
specification in float64.

The interpreter runs the source with numpy's arithmetic; here the machine's own instructions run,
with what the compiler fused, reordered and flushed. Rows and tolerances are those of
test_triton_stats.py.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import ptx_arithmetic as arithmetic
import pytest
import torch
from ptx_launch import Simulator
from test_triton_stats import adversarial, assert_close, rows, truth

from diffengine.kernels import reference
from diffengine.kernels.reference import LogitStats
from diffengine.kernels.triton_rows.launch import Tiles, logit_stats

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU runs the kernels themselves"),
    pytest.mark.filterwarnings("ignore:.*encountered in.*:RuntimeWarning"),
]
FEW = Tiles(lanes=128)
LARGE = 152064
WHOLE = {"exclude_id": 1, "n_candidates": LARGE - 115}
TARGETS = torch.tensor([[0, 3, -1]])
ADVERSARIAL = adversarial()
ADVERSE = torch.stack([*ADVERSARIAL.values()])
FORMS = [(0, False), (2, False), (2, True)]
"""(ulps that approximations are off, products fused into sums as ptxas may)."""


def large(dtype: torch.dtype, seed: int) -> torch.Tensor:
    return rows(LARGE, 1, dtype=dtype, seed=seed)


def plain(dtype: torch.dtype) -> LogitStats:
    return logit_stats(
        large(dtype, 0), TARGETS, tiles=Tiles(1024 if dtype.itemsize == 2 else 512, 4, 1), **WHOLE
    )


def compared(dtype: torch.dtype) -> LogitStats:
    tiles = Tiles(1024 if dtype.itemsize == 2 else 512, 4, 1)
    return logit_stats(
        large(dtype, 0),
        TARGETS,
        previous=large(dtype, 1),
        moments=False,
        tiles=tiles,
        **WHOLE,
    )


def adverse(parts: int) -> LogitStats:
    targets = torch.tensor([[0, 3, 1499]] * len(ADVERSE))
    return logit_stats(ADVERSE, targets, tiles=Tiles(128, 4, parts), exclude_id=4)


def between(x: torch.Tensor, y: torch.Tensor) -> LogitStats:
    return logit_stats(x, previous=y, tiles=FEW)


def simple_rows() -> torch.Tensor:
    return rows(300, 4, dtype=torch.float32)


CALLS: dict[str, Callable[[], LogitStats]] = {
    **{f"plain {d}": functools.partial(plain, d) for d in (torch.float32, torch.bfloat16)},
    **{f"compared {d}": functools.partial(compared, d) for d in (torch.float32, torch.bfloat16)},
    **{f"adverse {parts}": functools.partial(adverse, parts) for parts in (1, 3)},
    "between": lambda: between(simple_rows(), simple_rows()),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """All kernels of this file, compiled in one child process."""
    simulator = Simulator(tmp_path_factory.mktemp("ptx"))
    with pytest.MonkeyPatch.context() as patch:
        simulator.install(patch)
        simulator.prepare([*CALLS.values()])
    yield simulator


@pytest.fixture
def simulator(compiled: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """The compiled kernels in the place of the interpreted ones."""
    compiled.install(monkeypatch)
    compiled.ulps, compiled.contract = 2, False
    return compiled


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_tiles(dtype: torch.dtype) -> None:
    assert_close(plain(dtype), truth(large(dtype, 0), TARGETS, **WHOLE))
    wanted = truth(
        large(dtype, 0),
        TARGETS,
        previous=large(dtype, 1),
        moments=False,
        **WHOLE,
    )
    assert_close(compared(dtype), wanted)


@pytest.mark.parametrize(("ulps", "contract"), FORMS)
@pytest.mark.parametrize("parts", [1, 3])
def test_adversarial_rows(simulator: Simulator, parts: int, ulps: int, contract: bool) -> None:
    simulator.ulps, simulator.contract = ulps, contract
    found = adverse(parts)
    expected = truth(ADVERSE, torch.tensor([[0, 3, 1499]] * len(ADVERSE)), exclude_id=4)
    wrong = []
    for row, name in enumerate(ADVERSARIAL):
        loose = {"negative": 2.0, "offset": 300.0, "ramp": 300.0}.get(name, 1.0)
        ours, wanted = (
            LogitStats(*(column[row : row + 1] for column in s)) for s in (found, expected)
        )
        try:
            assert_close(ours, wanted, loose=loose)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("ulps", "contract"), FORMS)
def test_kl_zero_infinite_and_undefined(simulator: Simulator, ulps: int, contract: bool) -> None:
    simulator.ulps, simulator.contract = ulps, contract
    x = simple_rows()
    hole = x.clone()
    hole[:, 4] = -math.inf
    assert (between(x, x).kl == 0).all()
    assert (between(x, hole).kl == math.inf).all()
    assert between(hole, x).kl.isfinite().all()
    both = between(hole, hole * 1.01).kl
    torch.testing.assert_close(
        both.double(), truth(hole, previous=hole * 1.01).kl, atol=4e-6, rtol=1e-6
    )
    one_nan = x.index_fill(1, torch.tensor([7]), math.nan)
    nothing = torch.full_like(x, -math.inf)
    missing = torch.full_like(x, math.nan)
    for now, before in ((x, missing), (x, nothing), (nothing, x), (one_nan, x), (x, one_nan)):
        assert between(now, before).kl.isnan().all()


@pytest.mark.parametrize("compiled_code", [True, False], ids=["compiled", "interpreted"])
@pytest.mark.parametrize("depth", [80.0, 90.0, 95.0, 110.0, 300.0])
def test_a_probability_below_the_smallest_normal_number_counts(
    request: pytest.FixtureRequest, depth: float, compiled_code: bool
) -> None:
    if compiled_code:
        request.getfixturevalue("simulator")
    x = torch.zeros(4, 300)
    x[:, 4] = -depth
    hole = x.index_fill(1, torch.tensor([4]), -math.inf)
    # Infinite as far as float32 has the probability.
    wanted = reference.logit_stats(x, previous=hole).kl
    assert wanted.isinf().all() == (depth < 98)
    torch.testing.assert_close(between(x, hole).kl, wanted, atol=4e-6, rtol=0)


STRUCTURE = {"ld", "st", "bar", "bra", "ret", "mov", "shfl", "redux"}
SWEEP_FLOATS = {
    "add.f32", "sub.f32", "mul.f32", "fma.rn.f32", "max.f32", "max.NaN.f32", "min.f32", "neg.f32", "abs.f32",
    "abs.bf16x2", "cvt.f32.bf16", "cvt.rn.f32.s32", "div.full.f32", "ex2.approx.ftz.f32", "selp.f32",
}  # fmt: skip
FINISH_FLOATS = (SWEEP_FLOATS - {"max.NaN.f32", "abs.bf16x2"}) | {
    "fma.rn.ftz.f32",
    "sqrt.approx.ftz.f32",
}


def test_which_instructions_touch_the_values(compiled: Simulator) -> None:
    for key, wanted in compiled.wanted.items():
        code = compiled.programs[key].code
        names = {one.name for one in code if one.name.split(".")[0] not in STRUCTURE}
        unknown = names - arithmetic.TABLE.keys()
        assert not unknown, unknown
        floats = names & arithmetic.FLOAT.keys()
        assert floats <= (SWEEP_FLOATS if wanted["function"] == "sweep" else FINISH_FLOATS), floats
        assert {"fma.rn.f32", "max.f32", "ex2.approx.ftz.f32"} <= floats
        text = (Path(compiled.folder) / f"{key}.ptx").read_text()
        assert "lg2.approx" not in text  # log2 is libdevice's polynomial, in fma.rn.ftz
        if wanted["function"] == "sweep":
            # a NaN logit must live on: each logit passes max.NaN against FLOOR, and none any other
            # maximum before
            assert "max.NaN.f32" in floats
            # l - m log2 e fused: the carried maximum as it was rounded is lost
            assert not re.findall(r"fma\.rn\.f32\s+%\w+, %\w+, 0fBFB8AA3B, %\w+", text)
        else:
            assert {"setp.nan.f32", "setp.num.f32"} & names  # s != s


def test_the_models_own_arithmetic() -> None:
    f = np.float32
    nan, inf = f(np.nan), f(np.inf)
    pair = lambda a, b: (np.array([a], f), np.array([b], f))  # noqa: E731
    assert arithmetic.maximum(*pair(nan, 2))[0] == 2 and arithmetic.minimum(*pair(2, nan))[0] == 2
    assert arithmetic.maximum(*pair(nan, nan)).view(np.uint32)[0] == 0x7FFFFFFF
    assert np.isnan(arithmetic.maximum_nan(*pair(nan, 2))[0])
    assert (
        not np.signbit(arithmetic.maximum(*pair(-0.0, 0.0)))[0]
        and np.signbit(arithmetic.minimum(*pair(0.0, -0.0)))[0]
    )
    operands = np.array([-inf, -0.0, 1e-40, inf, nan, -125.9, -126.5, -149.0], f)
    powers = arithmetic.exponential(operands, ulps=2)
    np.testing.assert_array_equal(powers[:5], np.array([0, 1, 1, inf, nan], f))
    assert powers[5] > 0 and (powers[6:] == 0).all()
    for name, of_nan in {
        "lt": False,
        "ltu": True,
        "ne": False,
        "neu": True,
        "nan": True,
        "num": False,
    }.items():
        assert arithmetic.COMPARISONS[f"setp.{name}.f32"][1](*pair(nan, 1))[0] == of_nan
    generator = np.random.default_rng(0)
    a, b, c = (generator.standard_normal(4000).astype(f) for _ in range(3))
    c = np.where(np.arange(4000) % 2, -(a * b), c * f(2.0**-12)).astype(
        f
    )  # cancellation, and addends far below
    exact = [
        Fraction(float(u)) * Fraction(float(v)) + Fraction(float(w))
        for u, v, w in zip(a, b, c, strict=True)
    ]
    ours = arithmetic.fused(a, b, c)
    for truth_, mine in zip(exact, ours, strict=True):
        error = abs(Fraction(float(mine)) - truth_)
        step = Fraction(float(np.spacing(np.abs(mine))))
        assert error <= step / 2, (mine, float(truth_))
