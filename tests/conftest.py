"""What all tests share: one package path for them and their child processes, and no test that needs
a missing GPU.

`python -m pytest` puts the root of the checkout on `sys.path`, and with it our folder `kernels` in
the place of the package of that name which transformers imports; so the root comes off again, here
and in the environment.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SOURCE = str(ROOT / ".src")


def _without_root(entries: list[str]) -> list[str]:
    return [entry for entry in entries if Path(entry or ".").resolve() != ROOT and entry != SOURCE]


sys.path[:] = [SOURCE, *_without_root(sys.path)]
_inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
os.environ["PYTHONPATH"] = os.pathsep.join([SOURCE, *_without_root(_inherited)])
for _name, _value in {
    "MPLBACKEND": "Agg",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}.items():
    os.environ.setdefault(_name, _value)


def _round_once(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """A fused multiply-add as a GPU does it. The interpreter's own rounds the product too, which at
    an offset of 1e4 is the fourth digit of every probability."""
    from triton.runtime.interpreter import TensorHandle

    wide = np.asarray(x.data, np.float64) * np.asarray(y.data, np.float64) + np.asarray(
        z.data, np.float64
    )
    return TensorHandle(wide.astype(x.data.dtype), z.dtype.scalar)


def _round_to_nearest(builder: Any, source: Any, kind: Any) -> Any:
    """float32 to bfloat16 as a GPU does it (`cvt.rn.bf16`). The interpreter's own cuts the digits
    off."""
    from triton import language as tl
    from triton.runtime.interpreter import TensorHandle

    if source.dtype.scalar != tl.float32 or kind.scalar != tl.bfloat16:
        return builder.cast_impl(source, kind)
    rounded = torch.from_numpy(np.array(source.data)).to(torch.bfloat16).view(torch.int16).numpy()
    return TensorHandle(rounded.view(np.uint16), kind.scalar)


def _interpret_kernels() -> None:
    """Import the Triton kernels for the interpreter where there is no GPU.

    Whether kernels are interpreted is decided when they are decorated. So the variable is set only
    while they are imported, here, before any test module can import triton; the rest of the suite
    never sees it.
    """
    if torch.cuda.is_available():
        return
    assert "triton" not in sys.modules, (
        "triton was imported before tests/conftest.py could choose how"
    )
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        from triton.runtime.interpreter import InterpreterBuilder

        from diffengine.kernels.triton_rows import gumbel, launch, layers  # noqa: F401

        InterpreterBuilder.create_fma = _round_once
        InterpreterBuilder.create_fp_trunc = _round_to_nearest
        launch.logit_stats(
            torch.zeros(1, 1), tiles=launch.Tiles(lanes=16)
        )  # the first launch imports more of triton
    finally:
        del os.environ["TRITON_INTERPRET"]


_interpret_kernels()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much of the fault and damage tests to run; CONTRIBUTING.md has the command."""
    group = parser.getgroup("diffengine")
    group.addoption(
        "--faults",
        choices=["sample", "all"],
        default="sample",
        help="Every fault, or a seeded sample.",
    )
    group.addoption("--faults-seed", type=int, default=0, help="Seed of the sample.")


LONGEST = "ray"
TOGETHER = {
    "engine/runs/cluster/test_": LONGEST,
    "engine/runs/test_driver.py": LONGEST,
    "engine/runs/test_nth_write.py": "nth write",
    "engine/runs/test_damage.py": "damage",
    "engine/runs/test_faults.py": "faults",
    "engine/likelihood/test_journal.py": "journal",
    "kernels/test_ptx.py": "ptx",
    "analysis/test_provenance.py": "provenance",
    "analysis/show/test_report.py": "report",
    "test_dense_parity.py": "dense parity",
    "test_plugins.py": "plugins",
    "test_tutorial.py": "tutorial",
}
"""Tests that one process of `pytest -n 2 --dist loadgroup` passes, by the beginning of their path:
two Rays at once would starve each other, and the others share what is dear to set up."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `gpu` where there is none (they count as deselected, not as passed),
    and keep together what belongs together, the longest first."""
    if not torch.cuda.is_available():
        needy = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=needy)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
    for item in items:
        if group := _group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))
    if getattr(config.option, "loadgroup", False):  # xdist tells its workers by this
        items.sort(key=lambda item: _group_of(item) != LONGEST)


def _group_of(item: pytest.Item) -> str | None:
    path = item.path.relative_to(ROOT / "tests").as_posix()
    return next((group for start, group in TOGETHER.items() if path.startswith(start)), None)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`planted(faiss="raise OSError('...')")` puts packages of that source before the installed
    ones."""
    from diffengine.engine import optional_parts

    folder = tmp_path / "planted"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(
        sys, "dont_write_bytecode", True
    )  # or a source planted in the same second is not seen

    def plant(**sources: str) -> None:
        for name, source in sources.items():
            package = folder / name.replace(".", "/")
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").write_text(source)
            top = name.partition(".")[0]
            for module in [module for module in sys.modules if module.partition(".")[0] == top]:
                monkeypatch.delitem(sys.modules, module)
        importlib.invalidate_caches()
        optional_parts.forget()

    yield plant
    for module in [name for name, loaded in sys.modules.items() if _lies_in(loaded, folder)]:
        del sys.modules[module]
    optional_parts.forget()


def _lies_in(module: Any, folder: Path) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(str(folder))
