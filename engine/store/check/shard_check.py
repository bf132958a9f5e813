"""The part of a shard's verification that opens it with HDF5: structure, every chunk's checksum,
the truth of values.

Runs in a process of its own (see `child`), because a damaged HDF5 file may hang or crash whoever
opens it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from ..errors import DamagedRun
from ..format.elements import read_block
from ..format.header import Header, read_header, structure_faults
from ..format.output_head import HEAD, head_fault
from ..format.schema import VARIABLES
from .conditions import Conditions, conditions_of
from .rules import value_faults
from .sums import sum_faults, sum_file_faults

_BLOCK_BYTES = 256 << 20


class ShardCheck(NamedTuple):
    """What a shard holds and what is wrong with it. Of a shard that cannot be opened only `faults`
    says something."""

    name: str
    faults: list[str]
    problem_ids: list[str]
    places: list[int]
    run_id: str = ""
    fingerprint: str = ""
    block: list[int] = []
    has_shard_sums: bool = False


def check_shard(path: Path, info: Mapping[str, Any]) -> ShardCheck:
    """Open one shard, read all of it, and judge its values by what run.json (`info`) says of the
    run. Also takes head.h5 and the files in sums/."""
    try:
        if path.name == HEAD:
            fault = head_fault(path, run_id=str(info.get("run_id", "")))
            return ShardCheck(path.name, [fault] if fault else [], [], [])
        if path.parent.name == "sums":
            return ShardCheck(
                path.name, sum_file_faults(path, info.get("sound_shards", ())), [], []
            )
        header = read_header(path)
        with h5py.File(path, "r") as file:
            faults = _content_faults(file, header, info)
            block = [int(value) for value in file["block"][...]]
    except (DamagedRun, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        return ShardCheck(path.name, [f"cannot be read: {error}"], [], [])
    ids = list(header.problem_ids)
    places = list(header.places)
    return ShardCheck(
        path.name,
        faults,
        ids,
        places,
        header.run_id,
        header.fingerprint,
        block,
        "hidden_sum" in header.stored,
    )


def _content_faults(file: h5py.File, header: Header, info: Mapping[str, Any]) -> list[str]:
    faults = [*structure_faults(file, header), *_scale_faults(file, header)]
    if faults:
        return faults
    conditions = conditions_of(info, bfloat16=header.stored.get("topk_logit") == "bfloat16")
    for name in header.stored:
        if VARIABLES[name].is_vector:
            _read_through(file[name])
    return faults + _judge(file, header, conditions) + sum_faults(file, header.stored)


def _judge(file: h5py.File, header: Header, conditions: Conditions) -> list[str]:
    """The rules over blocks of problems, so that a large shard needs little memory."""
    names = [
        name
        for name in header.stored
        if not (VARIABLES[name].is_vector or VARIABLES[name].per_shard)
    ]
    n_problems = len(header.problem_ids)
    row_bytes = sum(8 * int(np.prod(file[name].shape[1:])) for name in names)
    at_once = max(1, _BLOCK_BYTES // max(1, row_bytes))
    faults = []
    for start in range(0, n_problems, at_once):
        count = min(at_once, n_problems - start)
        arrays = {name: _rows(file[name], start, count) for name in names}
        faults += value_faults(arrays, conditions)
    return faults


def _rows(dataset: h5py.Dataset, start: int, count: int) -> np.ndarray:
    tail = dataset.shape[1:]
    return read_block(dataset, (start, *(0 for _ in tail)), (count, *tail))


def _read_through(dataset: h5py.Dataset) -> None:
    """Read every chunk once, so that HDF5 compares its checksum."""
    for start in range(dataset.shape[0]):
        tail = dataset.shape[1:]
        read_block(dataset, (start, *(0 for _ in tail)), (1, *tail), bits=True)


def _scale_faults(file: h5py.File, header: Header) -> list[str]:
    faults = []
    for dim, size in header.sizes.items():
        expected = np.asarray(header.places) if dim == "problem" else np.arange(size)
        if dim not in file or not np.array_equal(file[dim][...], expected):
            faults.append(f"the dimension scale {dim} is missing or wrong")
    return faults


def main() -> None:
    """Check the shards named on standard input (JSON: paths, info) and write one line of JSON for
    each."""
    task = json.load(sys.stdin)
    for path in task["paths"]:
        result = check_shard(Path(path), task["info"])
        sys.stdout.write(json.dumps(result._asdict()) + "\n")
        sys.stdout.flush()
