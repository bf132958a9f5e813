"""What all tests share: one package path for them and their child processes, and no test that needs a missing GPU.

`python -m pytest` puts the root of the checkout on `sys.path`, and with it our folder `kernels` in the place of the
package of that name which transformers imports; so the root comes off again, here and in the environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = str(ROOT / ".src")


def _without_root(entries: list[str]) -> list[str]:
    return [entry for entry in entries if Path(entry or ".").resolve() != ROOT and entry != SOURCE]


sys.path[:] = [SOURCE, *_without_root(sys.path)]
_inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
os.environ["PYTHONPATH"] = os.pathsep.join([SOURCE, *_without_root(_inherited)])
for _name, _value in {"MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
                      "OMP_NUM_THREADS": "1"}.items():
    os.environ.setdefault(_name, _value)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `gpu` on a machine without one; they are counted as deselected, not as passed."""
    needy = [item for item in items if item.get_closest_marker("gpu")]
    if not needy:
        return
    import torch

    if not torch.cuda.is_available():
        config.hook.pytest_deselected(items=needy)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
