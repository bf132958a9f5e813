"""`diffengine doctor`: what this machine offers to a run, and what each thing is good for.

Packages, GPUs, memory, disk. Changes nothing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click

from ..store.counts import count_text
from ..store.sizes import size_text
from .arguments import JSON
from .doctor_imports import import_failures


class Package(NamedTuple):
    """What a package is for, and the module of it that we use: an `__init__` alone may load nothing
    that breaks."""

    why: str
    module: str


NEEDED = {
    "torch": Package("the model runs on it", "torch"),
    "transformers": Package(
        "model classes and tokenizers", "transformers.models.llama.modeling_llama"
    ),
    "numpy": Package("", "numpy"),
    "h5py": Package("the store", "h5py"),
    "scipy": Package("S-curve fits", "scipy.optimize"),
    "matplotlib": Package("the dashboard", "matplotlib.figure"),
    "click": Package("the command line", "click"),
    "safetensors": Package("checkpoints", "safetensors.torch"),
    "ray": Package("several devices or machines", "ray"),
    "tqdm": Package("the progress bar", "tqdm.auto"),
}
OPTIONAL = {
    "triton": Package("fused kernels on a GPU", "triton.language"),
    "xarray": Package("open_run(...).to_xarray()", "xarray"),
    "faiss": Package("neighbours for mutual information", "faiss"),
    "cuml": Package("t-SNE on a GPU", "cuml.manifold"),
    "openTSNE": Package("t-SNE on a CPU", "openTSNE"),
    "pyarrow": Package("problems from parquet files", "pyarrow.parquet"),
    "math_verify": Package("equality of symbolic answers", "math_verify"),
    "threadpoolctl": Package("one BLAS thread per step of mutual information", "threadpoolctl"),
}
REMEDIES = {
    "cuml": "t-SNE falls back to openTSNE; cuML needs numba 0.64 or newer and a numpy below 2.5: "
    "install the extra `cuml` under constraints.txt",
    "faiss": "neighbours are found without it; faiss-gpu needs CUDA 12 libraries beside torch's "
    "CUDA 13",
    "openTSNE": "there is no t-SNE map on a CPU",
}


ENOUGH_DISK_BYTES = 5e9


class Condition(NamedTuple):
    """One line of the doctor's report; `state` is ok, missing, broken (there, but does not import)
    or note."""

    state: str
    what: str
    detail: str


@click.command()
@JSON
def doctor(as_json: bool) -> None:
    """Say what this machine offers: versions, GPUs, memory, disk, and what each missing part would
    add."""
    conditions = diagnose()
    if as_json:
        click.echo(json.dumps([condition._asdict() for condition in conditions]))
        return
    for condition in conditions:
        click.echo(f"{condition.state:8} {condition.what:14} {condition.detail}")


def diagnose() -> list[Condition]:
    """Everything worth knowing before a run, most important first. Imports in a process of its own
    what it calls ok."""
    owners = importlib.metadata.packages_distributions()
    python = Condition("ok", "python", platform.python_version())
    return [python, *_packages(owners), *_clashes(owners), *_gpus(), *_machine()]


def _packages(owners: Mapping[str, list[str]]) -> list[Condition]:
    packages = NEEDED | OPTIONAL
    installed = [name for name in packages if importlib.util.find_spec(name) is not None]
    failures = import_failures([packages[name].module for name in installed])
    conditions = []
    for name, package in packages.items():
        if name not in installed:
            state = "missing" if name in NEEDED else "note"
            detail = f"not installed ({package.why})"
        elif package.module in failures:
            state = "broken"
            detail = f"{_versions(name, owners)} does not import: {failures[package.module]}"
            if name in REMEDIES:
                detail += f"; {REMEDIES[name]}"
        else:
            state = "ok"
            detail = _versions(name, owners)
        conditions.append(Condition(state, name, detail))
    return conditions


def _versions(name: str, owners: Mapping[str, list[str]]) -> str:
    """The version; where the distribution is called otherwise (faiss-gpu, cuml-cu13), its name as
    well."""
    distributions = sorted(set(owners.get(name, [])))
    if len(distributions) == 1 and distributions[0].lower().replace("-", "_") == name.lower():
        return importlib.metadata.version(distributions[0])
    named = [f"{owner} {importlib.metadata.version(owner)}" for owner in distributions]
    return ", ".join(named) or "of unknown version"


def _clashes(owners: Mapping[str, list[str]]) -> list[Condition]:
    """What is installed and does not go together, though each imports."""
    clashes = []
    faiss = sorted(set(owners.get("faiss", [])))
    if len(faiss) > 1:
        detail = f"{' and '.join(faiss)} write the same folder; uninstall both, then install one"
        clashes.append(Condition("note", "faiss", detail))
    if _release("triton") < (3, 7) and _release("numpy") >= (2, 4):
        detail = (
            "Triton below 3.7 interprets kernels (tests without a GPU) with numpy below 2.4; a GPU "
            "does not mind"
        )
        clashes.append(Condition("note", "triton, numpy", detail))
    return clashes


def _release(name: str) -> tuple[int, ...]:
    """Major and minor version; one above any where the package is not installed."""
    try:
        return tuple(int(part) for part in importlib.metadata.version(name).split(".")[:2])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return (999,) if name == "triton" else (0,)


def _gpus() -> list[Condition]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    if not torch.cuda.is_available():
        built = f"torch was built for CUDA {torch.version.cuda}"
        if torch.version.cuda is None:
            built = "this torch is a CPU build"
        return [Condition("note", "gpu", f"none usable; {built}")]
    conditions = []
    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        detail = f"{device.name}, {size_text(device.total_memory)}"
        conditions.append(Condition("ok", f"gpu {number}", detail))
    return conditions


def _machine() -> list[Condition]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpu = Condition(
        "ok", "cpu", f"{count_text(os.cpu_count() or 1, 'core')}, {size_text(memory)} memory"
    )

    free = shutil.disk_usage(".").free
    room = "ok" if free > ENOUGH_DISK_BYTES else "note"
    disk = Condition(room, "disk", f"{size_text(free)} free in the working directory")

    checkpoint = Path("llada-8b")
    model = Condition("note", "model", "no ./llada-8b here: runs use the bundled model")
    if checkpoint.is_dir():
        model = Condition("ok", "model", f"{checkpoint} is here")
    return [cpu, disk, model]
