"""The tests of the kernels would notice: each line that is easy to get wrong is got wrong, and a
comparison must fail.

A mutant is the kernel's own source with one expression replaced, decorated again, and run as the
tests run the kernels.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from diffengine.kernels import reference
from diffengine.kernels.triton_rows import launch

SWEEP = "sweep"
LANES = "lanes"
FINISH = "finish"
MUTATIONS = {
    "rescaling of T without d S": (LANES, "scale * tl.fma(d, lane.s, lane.t))", "scale * lane.t)"),
    "maximum starts at 0": (SWEEP, "Lane(floor, floor * LOG2E,", "Lane(zero, floor * LOG2E,"),
    "ties go to the last": (LANES, "tl.where(m > lane.m, start", "tl.where(m >= lane.m, start"),
    "second maximum forgets ties": (
        SWEEP,
        "axis=0) > 1, peak, second)",
        "axis=0) > 99, peak, second)",
    ),
    "the excluded column is lost": (SWEEP, "tl.where(excluded >= 0, -1, 0)", "0"),
    "what is no candidate is lost": (
        SWEEP,
        "n_tail = tl.where(tail < V",
        "n_tail = tl.where(V < 0",
    ),
    "S is not rescaled": (LANES, "s = tl.fma(scale, lane.s, e[0])", "s = lane.s + e[0]"),
    "comparison is not rescaled": (LANES, "scale * compared.sum_xy", "compared.sum_xy"),
    "parts merge without d S": (
        FINISH,
        "tl.fma(d, part_s, _field",
        "tl.fma(d, 0.0 * part_s, _field",
    ),
    "parts take the last of equals": (FINISH, "candidate > best", "candidate >= best"),
    "means of parts are not weighted": (FINISH, "mean += apart * share", "mean += apart"),
}


def mutants(module: str, old: str, new: str, folder: Path) -> None:
    """Writes a package `mutated_rows` with the kernels' files into `folder`, `old` replaced in one
    of them."""
    package = folder / "mutated_rows"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in (SWEEP, LANES, FINISH, "parts"):
        source = (Path(launch.__file__).parent / f"{name}.py").read_text()
        if name == module:
            assert source.count(old) == 1, f"{old!r} must name one place of {name}.py"
            source = source.replace(old, new)
        (package / f"{name}.py").write_text(source)


def disagreements(rows: torch.Tensor, before: torch.Tensor) -> Iterator[str]:
    options = {"exclude_id": 300, "n_candidates": 850}
    targets = torch.tensor([[0, 899]] * len(rows), device=rows.device)
    for tiles in (launch.Tiles(64, 4, 3), launch.Tiles(64, 4, 1)):
        for previous in (None, before):
            found = launch.logit_stats(rows, targets, previous=previous, tiles=tiles, **options)  # type: ignore[arg-type]
            truth = reference.logit_stats(
                rows.double(), targets, previous=None if previous is None else previous.double(), **options,
            )  # fmt: skip
            for name, ours, wanted in zip(found._fields, found, truth, strict=True):
                close = torch.allclose(
                    ours.double(), wanted.double(), atol=2e-5, rtol=1e-6, equal_nan=True
                )
                if not close:
                    yield name


def hard_rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(3, 900, generator=generator)
    x[0] = x[0].sort().values  # the maximum grows all the way
    x[1, [10, 331, 600]] = 12.0  # ties, across tiles and parts
    x[2] = x[2].abs().neg() - 50  # all negative
    x[:, 300] += 6  # the excluded column matters
    x[2, 880] = -45.0  # and so does one beyond the candidates
    x[1] += 1000.0
    return (x * 64).round() / 64


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutant_is_noticed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    mutants(*MUTATIONS[name], tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for loaded in [module for module in sys.modules if module.startswith("mutated_rows")]:
        monkeypatch.delitem(sys.modules, loaded)
    importlib.invalidate_caches()
    for kernel in (SWEEP, FINISH):
        mutated = importlib.import_module(f"mutated_rows.{kernel}")
        monkeypatch.setattr(launch, kernel, getattr(mutated, kernel))
    x = hard_rows().to(device)
    assert next(disagreements(x, x.flip(0)), None) is not None


def test_the_kernels_themselves_pass_that_comparison(device: torch.device) -> None:
    x = hard_rows().to(device)
    assert list(disagreements(x, x.flip(0))) == []
