"""Answer information as a finding of an analysis: there where a run has branches, nowhere else."""

from __future__ import annotations

from ..findings.finding import Finding, Material
from ..quantity import Quantity
from .answers import NAMES


def _make(material: Material) -> dict[str, Quantity]:
    branches = material.branches
    assert branches is not None and branches.shown is not None
    return branches.shown.quantities


def _is_there(material: Material) -> bool:
    return material.branches is not None and material.branches.shown is not None


FINDING = Finding(NAMES, _make, there=_is_there)
