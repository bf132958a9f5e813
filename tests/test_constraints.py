"""setup.py and the two files of exact versions agree: everything asked for is pinned, within its
bounds, together."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
FILES = ["constraints.txt", "constraints-device.txt"]
PYTHONS = ["3.11.7", "3.12.1", "3.13.0"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Extra -> its requirements, "" for those of every install: what setup.py hands to
    setuptools."""
    said: dict[str, Any] = {}
    fake = SimpleNamespace(setup=lambda **words: said.update(words), find_packages=lambda **_: [])
    monkeypatch.setitem(sys.modules, "setuptools", fake)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    return {"": said["install_requires"]} | said["extras_require"]


def pins(file: str, python: str) -> dict[str, Version]:
    """Package -> its one version on Linux with that Python."""
    environment = {
        "python_full_version": python,
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    found: dict[str, Version] = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and requirement.name not in found, line
        found[requirement.name] = Version(specifier.version)
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("file", FILES)
def test_what_setup_asks_for_is_pinned(file: str, python: str, asked: dict[str, list[str]]) -> None:
    pinned = pins(file, python)
    requirements = [Requirement(text) for texts in asked.values() for text in texts]
    assert len(requirements) > 20
    for requirement in requirements:
        assert pinned[requirement.name.lower()] in requirement.specifier, requirement
    assert not any(version.is_prerelease for version in pinned.values())


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("file", FILES)
def test_numba_stands_its_numpy(file: str, python: str) -> None:
    """numba 0.64 declares numpy below 2.5, which took `numpy.row_stack` away; older ones declare
    nothing and break."""
    pinned = pins(file, python)
    assert pinned["numba"] >= Version("0.64")
    assert pinned["numpy"] < Version("2.5") or pinned["numba"] >= Version("0.65")
    if pinned["triton"] < Version("3.7"):  # its interpreter makes integers of arrays with one axis
        assert pinned["numpy"] < Version("2.4")


def test_the_device_set_is_the_devices() -> None:
    pinned = pins("constraints-device.txt", "3.12.1")
    expected = {"torch": "2.11.0", "triton": "3.6.0", "transformers": "5.17.0"}
    assert {name: str(pinned[name]) for name in expected} == expected


def test_the_gpu_extra_is_its_two_halves_and_each_can_be_had_alone(
    asked: dict[str, list[str]],
) -> None:
    assert set(asked["gpu"]) == set(asked["faiss-gpu"]) | set(asked["cuml"])
    names = {extra: {Requirement(text).name for text in texts} for extra, texts in asked.items()}
    assert "cuml-cu13" not in names["faiss-gpu"] and "faiss-gpu" not in names["cuml"]
    assert "openTSNE" in names["cuml"]  # what stands in for cuML must be there
    assert not any(
        {"faiss-cpu", "faiss-gpu"} <= names[extra] for extra in names
    )  # both write the folder faiss
