"""Exact decoding of masked diffusion language models, measured at every step.

`run`, `branch`, `sweep`, `open_run`, `load_model` and `read_problems` load on first use, so that
`import diffengine` costs nothing and torch comes with `run`, `branch`, `sweep` and `load_model`
only. `engine`, `kernels`, `analysis` and `bench` beside this file are links to the folders at the
root of the checkout.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine.branching.branch import branch
    from .engine.models import load_model
    from .engine.problems.read import read_problems
    from .engine.runs.run import run
    from .engine.runs.sweep import sweep
    from .engine.store import open_run

__version__ = "0.5.0"
__all__ = ["branch", "load_model", "open_run", "read_problems", "run", "sweep"]

_HOMES = {
    "branch": "engine.branching.branch",
    "load_model": "engine.models",
    "open_run": "engine.store",
    "read_problems": "engine.problems.read",
    "run": "engine.runs.run",
    "sweep": "engine.runs.sweep",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(
            f"diffengine has no attribute {name!r}; it offers {', '.join(__all__)}"
        )
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
