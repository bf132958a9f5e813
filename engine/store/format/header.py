"""What one shard says about itself without its numbers being read: attributes, sizes, variables,
problem ids.

Also the list of a run's shards checked against its manifests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from ..counts import count_text
from ..errors import DamagedRun, NotARun
from ..write.manifest import Manifests, read_manifests
from ..write.shard import shards_dir
from .columns import dims_of, lacking
from .elements import is_bfloat16, is_string
from .schema import SCHEMA_VERSION, VARIABLES
from .seal import is_sealed, seal_fault
from .variable import BASE_VERSION

MOVED = ("hidden_sum",)
"""Variables that later versions keep in files of their own, see `hidden_sums`."""

VARYING = ("problem", "answer_token")
"""Dimensions in which the shards of a run may differ."""

VERIFY = "run `diffengine verify --repair` on the run, then the same `diffengine run` command again"


class Header(NamedTuple):
    """One shard. `places` are its problems' places in problems.jsonl, from 0.

    `stored` maps each variable to its type on disk: a numpy name, `bfloat16` or `str`.
    """

    path: Path
    run_id: str
    fingerprint: str
    problem_ids: tuple[str, ...]
    places: tuple[int, ...]
    sizes: dict[str, int]
    stored: dict[str, str]


def shard_paths(run_dir: Path) -> list[Path]:
    """The published shards, in name order (a run without any has none)."""
    return sorted(
        path for path in shards_dir(run_dir).glob("*.h5") if not path.name.startswith(".")
    )


def read_header(path: Path) -> Header:
    """The header of a shard; DamagedRun if it cannot be opened, is not complete, or does not fit
    the schema."""
    try:
        if fault := seal_fault(path):  # before HDF5 sees it: a damaged file may hang or crash it
            raise DamagedRun(f"shard {path}: {fault}; {VERIFY}")
        with h5py.File(path, "r") as file:
            return _header(path, file)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, DamagedRun):
            raise
        raise DamagedRun(f"shard {path} cannot be read: {error}; {VERIFY}") from error


def _header(path: Path, file: h5py.File) -> Header:
    """From names, scales and one variable of each dtype that varies: opening all forty would take
    far longer."""
    _check_root(path, file)
    stored = _stored_types(path, file)
    sizes: dict[str, int] = {}
    for name in stored:
        for dim in dims_of(name):
            if dim not in sizes:
                sizes[dim] = len(file[dim])
    ids = tuple(file["problem_id"].asstr()[...])
    if not len(ids) == sizes["problem"] == int(file.attrs["n_problems"]):
        raise DamagedRun(
            f"shard {path} says n_problems {file.attrs['n_problems']} but holds {len(ids)}; "
            f"{VERIFY}"
        )
    return Header(
        path,
        run_id=str(file.attrs["run_id"]),
        fingerprint=str(file.attrs["fingerprint"]),
        problem_ids=ids,
        places=tuple(np.asarray(file["index"][...]).tolist()),
        sizes=sizes,
        stored=stored,
    )


def _stored_types(path: Path, file: h5py.File) -> dict[str, str]:
    """The type of each variable of the shard. DamagedRun if it lacks one that every shard has."""
    names = set(file)
    missing = lacking(names)
    if missing:
        raise DamagedRun(f"shard {path} lacks the variables {', '.join(missing)}; {VERIFY}")
    kinds = {}
    if "state_masked" in names:
        kinds["model"] = stored_type(file["state_masked"])
        kinds["logits"] = kinds["model"]
    if "topk_logit" in names:
        kinds["logits"] = stored_type(file["topk_logit"])
    present = [row for row in VARIABLES.values() if row.name in names]
    return {row.name: kinds.get(row.dtype, row.dtype) for row in present}


def structure_faults(file: h5py.File, header: Header) -> list[str]:
    """Variables whose type or shape is not what the header concluded."""
    faults = []
    for name, kind in header.stored.items():
        shape = tuple(header.sizes[dim] for dim in dims_of(name))
        if file[name].shape != shape or stored_type(file[name]) != kind:
            faults.append(
                f"{name} is {stored_type(file[name])} {file[name].shape}, expected {kind} {shape}"
            )
    return faults


def _check_root(path: Path, file: h5py.File) -> None:
    if not file.attrs.get("complete"):
        raise DamagedRun(
            f"shard {path} was not written to its end (no attribute `complete`); {VERIFY}"
        )
    if file.attrs.get("sealed") and not is_sealed(path):
        raise DamagedRun(
            f"shard {path} has lost its seal: its end was cut off or changed; {VERIFY}"
        )
    version = str(file.attrs["schema_version"])
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise DamagedRun(
            f"shard {path} has schema version {version}, this diffengine reads {SCHEMA_VERSION}; "
            "use a matching version"
        )


def stored_type(dataset: h5py.Dataset) -> str:
    """The type of a dataset: `str`, `bfloat16`, or its numpy name."""
    if is_string(dataset):
        return "str"
    return "bfloat16" if is_bfloat16(dataset) else str(dataset.dtype.name)


def read_headers(run_dir: Path) -> list[Header]:
    """Headers of all shards in name order; DamagedRun on a missing or cut shard, or on shards that
    do not fit."""
    if not run_dir.is_dir():
        raise NotARun(f"no such run directory: {run_dir}")
    # Before the shards: a writer at work publishes a shard before its line.
    manifests = read_manifests(run_dir)
    paths = shard_paths(run_dir)
    check_files(run_dir, paths, manifests)
    headers = [read_header(path) for path in paths]
    for header in headers[1:]:
        _check_alike(headers[0], header)
    return headers


def check_files(run_dir: Path, paths: list[Path], manifests: Manifests) -> None:
    """DamagedRun if a shard that a manifest names is not there, or has another size than the
    manifest says."""
    present = {path.name: path for path in paths}
    missing = [name for name in manifests.entries if name not in present]
    if missing:
        shown = ", ".join(missing[:5])
        if len(missing) > 5:
            shown += f" and {len(missing) - 5} more"
        raise DamagedRun(
            f"{run_dir} lacks {count_text(len(missing), 'shard')} named by its manifest: {shown}; "
            f"copy back what is missing, or {VERIFY}"
        )
    for name, entry in manifests.entries.items():
        size = present[name].stat().st_size
        if size != entry.bytes:
            raise DamagedRun(
                f"shard {present[name]} has {count_text(f'{size:,}', 'byte')}, its manifest "
                f"says {entry.bytes:,}; copy it again, or {VERIFY}"
            )


def check_belongs(header: Header, info: Mapping[str, Any], run_dir: Path) -> None:
    """DamagedRun if a shard is not of the run that run.json (`info`) describes."""
    for name, value in (("fingerprint", header.fingerprint), ("run_id", header.run_id)):
        if info.get(name, value) != value:
            raise DamagedRun(
                f"shard {header.path} is of another run: its {name} is {value}, "
                f"{run_dir / 'run.json'} says {info[name]}; put back the file that belongs here, "
                f"or {VERIFY}"
            )


def _check_alike(first: Header, other: Header) -> None:
    both = f"shards {first.path.name} and {other.path.name}"
    if other.fingerprint != first.fingerprint:
        raise DamagedRun(
            f"{both} come from different configurations ({first.fingerprint} and "
            f"{other.fingerprint}); use one directory for each"
        )
    differing = _differently_stored(first, other)
    if differing:
        raise DamagedRun(f"{both} differ in what they store: {', '.join(differing)}; {VERIFY}")
    wrong = [
        f"{dim} {size} and {other.sizes[dim]}"
        for dim, size in sorted(first.sizes.items())
        if dim not in VARYING and size != other.sizes[dim]
    ]
    if wrong:
        raise DamagedRun(f"{both} differ in size: {', '.join(wrong)}; {VERIFY}")


def _differently_stored(first: Header, other: Header) -> list[str]:
    """Names of variables that only one of them has, or that differ in type, where no version of
    ours may be the reason."""
    names = {name for name, _ in other.stored.items() ^ first.stored.items()}
    base = [name for name in names if VARIABLES[name].since == BASE_VERSION]
    return sorted(name for name in base if name not in MOVED)
