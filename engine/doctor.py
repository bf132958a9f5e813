"""What a machine offers to a run: packages, GPUs, memory and disk, each with what it means. Changes nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import NamedTuple

from .store.sizes import size_text

NEEDED = {
    "torch": "the model runs on it",
    "transformers": "model classes and tokenizers",
    "numpy": "",
    "h5py": "the store",
    "scipy": "S-curve fits",
    "matplotlib": "the dashboard",
    "click": "the command line",
    "safetensors": "checkpoints",
    "ray": "several devices or machines",
    "tqdm": "the progress bar",
}
OPTIONAL = {
    "triton": "fused kernels on a GPU",
    "xarray": "open_run(...).to_xarray()",
    "faiss": "neighbours for mutual information",
    "cuml": "t-SNE on a GPU",
    "openTSNE": "t-SNE on a CPU",
    "pyarrow": "problems from parquet files",
}


class Condition(NamedTuple):
    """One line of the doctor's report; `state` is ok, missing or note."""

    state: str
    what: str
    detail: str


def diagnose() -> list[Condition]:
    """Everything worth knowing before a run, most important first."""
    found = [Condition("ok", "python", platform.python_version())]
    found += [_package(name, why, "missing") for name, why in NEEDED.items()]
    found += [_package(name, why, "note") for name, why in OPTIONAL.items()]
    return [*found, *_gpus(), *_machine()]


def _package(name: str, why: str, absent: str) -> Condition:
    if importlib.util.find_spec(name) is None:
        return Condition(absent, name, f"not installed ({why})")
    owners = importlib.metadata.packages_distributions().get(name, [name])
    return Condition("ok", name, importlib.metadata.version(owners[0]))


def _gpus() -> list[Condition]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    if not torch.cuda.is_available():
        built = (
            "this torch is a CPU build"
            if torch.version.cuda is None
            else f"torch was built for CUDA {torch.version.cuda}"
        )
        return [Condition("note", "gpu", f"none usable; {built}")]
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [Condition("ok", f"gpu {i}", f"{d.name}, {size_text(d.total_memory)}") for i, d in enumerate(devices)]


def _machine() -> list[Condition]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = shutil.disk_usage(".").free
    checkpoint = Path("llada-8b")
    here = f"{checkpoint} is here" if checkpoint.is_dir() else "no ./llada-8b here: runs use the bundled model"
    return [
        Condition("ok", "cpu", f"{os.cpu_count()} cores, {size_text(memory)} memory"),
        Condition("ok" if free > 5e9 else "note", "disk", f"{size_text(free)} free in the working directory"),
        Condition("ok" if checkpoint.is_dir() else "note", "model", here),
    ]
