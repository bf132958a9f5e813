"""The tests of the kernels would notice: each line that is easy to get wrong is got wrong, and a
comparison must fail.

A mutant is the kernel's own source with one expression replaced, decorated again, and run as the
tests run the kernels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from diffengine.kernels import reference
from diffengine.kernels.triton_rows import launch

SWEEP, FINISH = "sweep", "finish"
MUTATIONS = {
    "rescaling of T without d S": (SWEEP, "scale * tl.fma(d, s, t))", "scale * t)"),
    "maximum starts at 0": (SWEEP, "m = zero + FLOOR", "m = zero"),
    "ties go to the last": (
        SWEEP,
        "tl.where(m_new > m, start, at)",
        "tl.where(m_new >= m, start, at)",
    ),
    "second maximum forgets ties": (
        SWEEP,
        "axis=0) > 1, peak, second)",
        "axis=0) > 99, peak, second)",
    ),
    "the excluded column is lost": (SWEEP, "tl.where(inside, -1, 0)", "0"),
    "what is no candidate is lost": (SWEEP, "(part == parts - 1) & (candidates < V)", "part < 0"),
    "S is not rescaled": (SWEEP, "s = tl.fma(scale, s, e0)", "s = s + e0"),
    "comparison is not rescaled": (SWEEP, "e0, scale * xy, hole)", "e0, xy, hole)"),
    "parts merge without d S": (
        FINISH,
        "tl.fma(d, sum_e, tl.load",
        "tl.fma(d, 0.0 * sum_e, tl.load",
    ),
    "parts take the last of equals": (FINISH, "candidate > best", "candidate >= best"),
    "means of parts are not weighted": (FINISH, "mean += apart * share", "mean += apart"),
}


def mutant(module: str, old: str, new: str, folder: Path) -> ModuleType:
    source = (Path(launch.__file__).parent / f"{module}.py").read_text()
    assert source.count(old) == 1, (
        f"{old!r} is found {source.count(old)} times; the mutation must name one place"
    )
    path = folder / f"{module}.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location(
        f"diffengine.kernels.triton_rows.mutant_{module}", path
    )
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


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
    module, old, new = MUTATIONS[name]
    made = mutant(module, old, new, tmp_path)
    entry = "sweep" if module == SWEEP else "finish"
    monkeypatch.setattr(launch, entry, getattr(made, entry))
    x = hard_rows().to(device)
    assert next(disagreements(x, x.flip(0)), None) is not None


def test_the_kernels_themselves_pass_that_comparison(device: torch.device) -> None:
    x = hard_rows().to(device)
    assert list(disagreements(x, x.flip(0))) == []
