"""setup.py against what the packages import: nothing is imported that no requirement brings."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("engine", "kernels", "analysis", "bench")
DISTRIBUTIONS = {
    "sklearn": {"scikit-learn"},
    "faiss": {"faiss-cpu", "faiss-gpu"},
    "cuml": {"cuml-cu13", "cuml-cu12"},
    "math_verify": {"math-verify"},
}
"""Where a module's name is not its distribution's."""
PEERS = {"diffusers", "infomeasure", "liger_kernel"}
"""Compared with where they happen to be installed; in bench only."""


def imports(path: Path) -> dict[str, bool]:
    """Third-party modules of a file, and whether the file cannot be imported without them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_once = set(tree.body)
    found: dict[str, bool] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [str(node.module)]
        else:
            continue
        for name in (name.split(".")[0] for name in names):
            if name not in sys.stdlib_module_names and name != "diffengine":
                found[name] = found.get(name, False) or node in at_once
    return found


def requirements() -> tuple[set[str], set[str]]:
    """Distributions that setup.py always installs, and those of its extras for users."""
    given: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("setuptools.setup", lambda **words: given.update(words))
        runpy.run_path("setup.py")
    always = {name_of(entry) for entry in given["install_requires"]}
    extras = {name: entries for name, entries in given["extras_require"].items() if name != "test"}
    return always, {name_of(entry) for entries in extras.values() for entry in entries}


def name_of(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[]", requirement)[0]


def test_every_import_is_declared() -> None:
    always, optional = requirements()
    undeclared = []
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            for name, at_once in imports(path).items():
                if name in PEERS and part == "bench" and not at_once:
                    continue
                declared = always if at_once else always | optional
                if not DISTRIBUTIONS.get(name, {name}) & declared:
                    undeclared.append(f"{path.relative_to(ROOT)}: {name}")
    assert undeclared == []


def test_the_check_sees_what_it_should(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    inside = "def f():\n    from tqdm.auto import tqdm\n    import scipy.stats\n"
    path.write_text(f"import os, numpy as np\nfrom . import y\n{inside}")
    assert imports(path) == {"numpy": True, "tqdm": False, "scipy": False}
    assert {"tqdm", "tokenizers", "triton", "torch"} <= requirements()[0]
