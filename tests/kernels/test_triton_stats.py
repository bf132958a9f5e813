"""The Triton statistics against the specification in float64: ordinary and adversarial rows, every
shape of launch."""

from __future__ import annotations

import math

import pytest
import torch

from diffengine.kernels import reference
from diffengine.kernels.previous import Previous
from diffengine.kernels.reference import STATUS_EMPTY, STATUS_NOT_FINITE, LogitStats
from diffengine.kernels.triton_rows.launch import Tiles, logit_stats

FEW = Tiles(lanes=128)
WIDE = Tiles(lanes=16384)
pytestmark = [
    pytest.mark.usefixtures("poisoned"),
    pytest.mark.filterwarnings(
        "ignore:.*encountered in.*:RuntimeWarning"
    ),  # numpy, inside the interpreter
]


def rows(vocabulary: int, n: int, *, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(n, vocabulary, generator=generator)
    x[torch.arange(n), torch.randint(vocabulary, (n,), generator=generator)] += 15
    return x.to(dtype)


def truth(logits: torch.Tensor, *arguments: torch.Tensor, **options: object) -> LogitStats:
    """The specification in float64, on the CPU."""
    before = options.get("previous")
    if isinstance(before, torch.Tensor):
        options["previous"] = before.double().cpu()
    return reference.logit_stats(logits.double().cpu(), *(a.cpu() for a in arguments), **options)  # type: ignore[arg-type]


def assert_close(found: LogitStats, expected: LogitStats, *, loose: float = 1.0) -> None:
    """The tolerances of docs/kernels.md; ids, top-k values, margins of exact logits and status
    exactly."""
    for name in (
        "lse",
        "entropy",
        "kl",
        "top1_prob",
        "mean",
        "std",
        "target_logprob",
    ):
        atol = loose * {"top1_prob": 1e-6}.get(name, 4e-6)
        rtol = {"kl": 1e-6}.get(name, 4e-7)
        ours, wanted = getattr(found, name).double().cpu(), getattr(expected, name).double()
        said = {"equal_nan": True, "msg": lambda m, n=name: f"{n}: {m}"}
        torch.testing.assert_close(ours, wanted, atol=atol, rtol=rtol, **said)  # type: ignore[arg-type]
    for name in ("top1_id", "top1_logit", "topk_logit", "status"):
        ours, wanted = getattr(found, name).double().cpu(), getattr(expected, name).double()
        torch.testing.assert_close(
            ours, wanted, atol=0, rtol=0, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}"
        )
    torch.testing.assert_close(
        found.margin.double().cpu(), expected.margin, atol=1e-5, rtol=0, equal_nan=True
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("vocabulary", "tiles"),
    [
        (1, FEW),
        (2, FEW),
        (7, FEW),
        (511, FEW),
        (5003, Tiles(256, 4, 3)),
        (126464, WIDE),
        (152064, Tiles(8192, 4, 2)),
    ],
)
def test_every_statistic(
    device: torch.device, vocabulary: int, tiles: Tiles, dtype: torch.dtype
) -> None:
    n = 3
    x, y = (rows(vocabulary, n, dtype=dtype, seed=s).to(device) for s in (0, 1))
    targets = torch.tensor([[0, vocabulary - 1, -1]] * n, device=device)
    options = (
        {"topk": 5, "exclude_id": 1, "n_candidates": max(1, vocabulary - 115)}
        if vocabulary > 2
        else {"topk": 5}
    )
    found = logit_stats(x, targets, previous=y, tiles=tiles, **options)  # type: ignore[arg-type]
    assert_close(found, truth(x, targets, previous=y, **options))
    options["topk"] = 0
    alone = logit_stats(
        x, targets, tiles=tiles, **options
    )  # another loop: four logits a turn, not two pairs
    assert_close(alone, truth(x, targets, **options))
    assert found.topk_logit.dtype == dtype
    assert torch.equal(x.gather(1, found.topk_id), found.topk_logit)
    assert all(len(set(ids)) == len(ids) for ids in found.topk_id.tolist())


def adversarial(vocabulary: int = 1500) -> dict[str, torch.Tensor]:
    x = rows(vocabulary, 1, dtype=torch.float32)[0]
    many = {
        "negative": -x.abs() - 100,
        "offset": x.round() + 1e4,
        "ramp": torch.linspace(-1e4, 1e4, vocabulary).round(),
        "constant": torch.full_like(x, 7.0),
        "one finite": torch.full_like(x, -math.inf).index_fill(
            0, torch.tensor([vocabulary - 2]), 3.0
        ),
        "half infinite": torch.where(torch.arange(vocabulary) % 2 == 0, -math.inf, x),
        "first tile infinite": torch.where(torch.arange(vocabulary) < 1024, -math.inf, x),
        "one hot": torch.zeros_like(x).index_fill(0, torch.tensor([700]), 80.0),
        "ties": torch.zeros_like(x).index_fill(
            0, torch.tensor([130, 258, 900, vocabulary - 1]), 5.0
        ),
        "tie in the last column": torch.zeros_like(x).index_fill(
            0, torch.tensor([3, vocabulary - 1]), 5.0
        ),
        "masked with large numbers": torch.where(torch.arange(vocabulary) % 3 > 0, x, -1e10),
        "masked with the smallest number": torch.where(
            torch.arange(vocabulary) % 5 > 1, x, torch.finfo(x.dtype).min
        ),
        "large": x * 1e30,
        "nan": x.index_fill(0, torch.tensor([900]), math.nan),
        "plus infinity": x.index_fill(0, torch.tensor([5]), math.inf),
        "empty": torch.full_like(x, -math.inf),
    }
    return {name: row.float() for name, row in many.items()}


@pytest.mark.parametrize("parts", [1, 3])
def test_adversarial_rows(device: torch.device, parts: int) -> None:
    cases = adversarial()
    x = torch.stack([*cases.values()]).to(device)
    targets = torch.tensor([[0, 3, 1499]] * len(x), device=device)
    found = logit_stats(x, targets, tiles=Tiles(128, 4, parts), exclude_id=4)
    expected = truth(x, targets, exclude_id=4)
    names = list(cases)
    # sums of numbers of 1e4: the mean of a ramp around 0 has an ulp of those
    for some, loose in ((slice(0, 1), 2.0), (slice(3, None), 1.0), (slice(1, 3), 300.0)):
        some_found, some_expected = (LogitStats(*(c[some] for c in s)) for s in (found, expected))
        assert_close(some_found, some_expected, loose=loose)
    assert found.margin[names.index("ties")] == 0
    assert found.top1_id[names.index("ties")] == 130
    assert found.status[-4:].tolist() == [STATUS_NOT_FINITE] * 3 + [STATUS_EMPTY]
    assert found.top1_id[-4:].tolist() == [-1] * 4


@pytest.mark.parametrize("tiles", [FEW, Tiles(128, 4, 3)])
def test_equal_logits_among_the_largest_come_by_id(device: torch.device, tiles: Tiles) -> None:
    x = torch.linspace(0, 1, 1500).repeat(2, 1)
    x[0, [1400, 5, 130, 133]] = 5.0  # 5 and 133 share a lane of 128
    x[1, [7, 900]], x[1, 450] = 5.0, 6.0
    found = logit_stats(x.to(device), topk=4, tiles=tiles).topk_id
    assert found.tolist() == [[5, 130, 133, 1400], [450, 7, 900, 1499]]


def test_kl_zero_infinite_and_undefined(device: torch.device) -> None:
    x = rows(300, 4, dtype=torch.float32).to(device)
    same = logit_stats(x, previous=x, tiles=FEW)
    assert (same.kl == 0).all()
    hole = x.clone()
    hole[:, 4] = -math.inf
    assert (logit_stats(x, previous=hole, tiles=FEW).kl == math.inf).all()
    onto = logit_stats(hole, previous=x, tiles=FEW)
    assert onto.kl.isfinite().all()
    both = logit_stats(hole, previous=hole * 1.01, tiles=FEW)
    torch.testing.assert_close(
        both.kl.double().cpu(), truth(hole, previous=hole * 1.01).kl, atol=4e-6, rtol=1e-6
    )
    missing = torch.full_like(x, math.nan)
    assert logit_stats(x, previous=missing, tiles=FEW).kl.isnan().all()
    assert logit_stats(x, tiles=FEW).kl.isnan().all()
    nothing = torch.full_like(x, -math.inf)  # no distribution, so none to compare with
    for undefined in (logit_stats(x, previous=nothing, tiles=FEW),
                      logit_stats(nothing, previous=x, tiles=FEW)):  # fmt: skip
        assert undefined.kl.isnan().all()
    assert (logit_stats(x, previous=x.flip(0), tiles=FEW).kl > 0).all()


def test_tile_shapes_agree_and_repeat_to_the_bit(device: torch.device) -> None:
    x, y = (rows(1100, 5, dtype=torch.bfloat16, seed=s).to(device) for s in (0, 1))
    first = logit_stats(x, previous=y, topk=4, tiles=FEW)
    again = logit_stats(x, previous=y, topk=4, tiles=FEW)
    assert all(
        torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in zip(first, again, strict=True)
    )
    order = torch.tensor([3, 1, 4, 0, 2], device=device)
    moved = logit_stats(x[order], previous=y[order], topk=4, tiles=FEW)
    assert all(
        torch.equal(a[order].nan_to_num(-1), b.nan_to_num(-1))
        for a, b in zip(first, moved, strict=True)
    )
    other = logit_stats(x, previous=y, topk=4, tiles=Tiles(512, 4, 3))
    assert_close(
        other, LogitStats(*(c.double().cpu() if c.is_floating_point() else c.cpu() for c in first))
    )


@pytest.mark.parametrize("vocabulary", [7, 703])
def test_rows_may_be_strided_and_offset(device: torch.device, vocabulary: int) -> None:
    wide = rows(vocabulary + 29, 9, dtype=torch.float32).to(device)
    view = wide[1::2, 13 : 13 + vocabulary]
    tight = logit_stats(view.contiguous(), previous=view.contiguous(), topk=3, tiles=FEW)
    loose = logit_stats(view, previous=view, topk=3, tiles=FEW)
    assert all(
        torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in zip(tight, loose, strict=True)
    )
    with pytest.raises(ValueError, match="contiguous"):
        logit_stats(wide.T)


def test_no_rows(device: torch.device) -> None:
    x = torch.zeros(0, 50, device=device)
    stats = logit_stats(x, torch.zeros(0, 2, dtype=torch.int64, device=device), previous=x, topk=4)
    assert all(len(column) == 0 for column in stats)
    assert stats.target_logprob.shape == (0, 2) and stats.topk_id.shape == (0, 4)


def test_logits_are_left_where_the_previous_were_read(device: torch.device) -> None:
    x, y = (rows(1500, 3, dtype=torch.bfloat16, seed=s).to(device) for s in (0, 1))
    x[1, 7] = -math.inf
    kept = torch.full((8, 1500), 9.0, dtype=torch.bfloat16, device=device)
    place = torch.tensor([6, 2, 0], device=device)
    kept[place] = y
    known = reference.logit_stats(y)
    lse = torch.full((8,), math.nan, device=device).index_copy_(0, place, known.lse.float())
    before = Previous(kept, lse, place)
    options = {"exclude_id": 900, "n_candidates": 1402, "tiles": Tiles(128, 4, 2)}
    found = logit_stats(x, previous=before, keep=True, **options)  # type: ignore[arg-type]
    torch.testing.assert_close(
        found.kl.double().cpu(), truth(x, previous=y).kl, atol=1e-5, rtol=2e-6
    )
    assert torch.equal(kept[place], x)
    assert (kept[[1, 3, 4, 5, 7]] == 9).all()
    logit_stats(x, previous=y, keep=True, tiles=FEW)
    assert not torch.equal(x, y)  # only a `Previous` gives its place away


def test_offsets_of_rows_do_not_overflow(device: torch.device) -> None:
    vocabulary, stride = 64, (1 << 31) // 3 + 5
    storage = torch.UntypedStorage(2 * (4 * stride + vocabulary), device=device)
    # Six gigabytes of addresses, of which a machine without a GPU touches only the rows.
    lazy = torch.tensor([], dtype=torch.bfloat16, device=device).set_(
        storage, 0, (5, vocabulary), (stride, 1)
    )  # type: ignore[call-overload]
    values = rows(vocabulary, 5, dtype=torch.bfloat16)
    lazy.copy_(values)
    assert 4 * stride > 2**31
    assert torch.equal(logit_stats(lazy, tiles=FEW).top1_id.cpu(), values.argmax(-1))


@pytest.mark.gpu
def test_more_rows_than_int32_offsets_reach() -> None:
    x = torch.randn(17000, 126464, dtype=torch.bfloat16, device="cuda")
    assert x.numel() > 2**31
    found = logit_stats(x, topk=4)
    some = torch.tensor([0, 16980, 16981, 16999], device="cuda")
    few = logit_stats(x[some], topk=4, tiles=Tiles(parts=1))
    for whole, part in zip(found, few, strict=True):
        assert torch.equal(whole[some].nan_to_num(-1), part.nan_to_num(-1))
