"""The sums of hidden states over problems, in files of their own beside the shards:
`sums/<worker>-<number>.h5`.

A sum is as large for one problem as for a thousand (268 MB at LLaDA-8B's shape), so it is shared by
a group of shards that outweighs it, and no shard has to wait for company; a small sum is that of
one shard. Each new shard of a group brings a new file with the sum over the whole group so far: it
is written before its shard gets its name, and its predecessors go later. So, killed anywhere, the
shards that are there have a file that is over them and no others.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from ..disk import fsync_directory, make_directory, replace_content
from ..errors import DamagedRun
from ..format.elements import STRING

SUM_RATIO = 4
"""How many times the bytes of their sum the shards of a full group have."""
SMALL_BYTES = 16 << 20
"""Up to this size each shard has a sum of its own, so that what is lost with a damaged shard is its
own sum alone."""

_REPAIR = "run `diffengine verify --repair` on the run"


class SumFile(NamedTuple):
    """What a sum is over: the names of its shards, in the order of their writing."""

    path: Path
    shards: tuple[str, ...]


class GroupSum:
    """The sum over the shards of the group that one worker is writing. Its number is that of its
    last shard."""

    def __init__(self, run_dir: Path, attrs: Mapping[str, str | int | float], worker: str) -> None:
        self._run_dir = run_dir
        self._attrs = {name: str(attrs[name]) for name in ("run_id", "fingerprint")}
        self._worker = worker
        self._shards: list[str] = []
        self._total: np.ndarray | None = None
        self._bytes = 0
        self._superseded: list[Path] = []

    def write(self, shard: str, part: np.ndarray) -> Path:
        """Put the sum over the group and `shard`, whose own is `part` [step, position, feature], on
        the disk.

        The group itself is as before until `add`, so a shard that then could not be published
        changes nothing. Raises StorageError.
        """
        total = part if self._total is None else self._total + part
        directory = sums_dir(self._run_dir)
        number = shard.removeprefix(f"{self._worker}-").split("-")[0]
        path = directory / f"{self._worker}-{number}.h5"
        image = _image([*self._shards, shard], total.astype(np.float32), self._attrs)
        make_directory(directory)
        fsync_directory(self._run_dir)
        replace_content(path, image)
        return path

    def add(self, shard: str, part: np.ndarray, *, size: int, path: Path) -> None:
        """Count a shard of `size` bytes, now published, whose group's sum lies in `path`."""
        if not self._shards:  # of the group before, only its whole sum is needed now
            _delete(self._superseded[:-1])
            self._superseded = []

        wide = part.astype(np.float64)
        self._total = wide if self._total is None else self._total + wide
        self._shards.append(shard)
        self._bytes += size

        # The file before this one stays for one more shard: the last shard of a worker that was
        # given up but lived on may have to go, and with it the file that counts it.
        _delete(self._superseded[:-1])
        self._superseded = [*self._superseded[-1:], path]

        if part.nbytes <= SMALL_BYTES or self._bytes >= SUM_RATIO * part.nbytes:
            self._shards = []
            self._total = None
            self._bytes = 0


def _delete(paths: Iterable[Path]) -> None:
    """A file that cannot be deleted now is swept when the run goes on; the shard it was for is
    published."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def sums_dir(run_dir: Path) -> Path:
    """The directory of a run's sums."""
    return run_dir / "sums"


def sum_paths(run_dir: Path) -> list[Path]:
    """All files of sums, in name order."""
    return sorted(path for path in sums_dir(run_dir).glob("*.h5") if not path.name.startswith("."))


def read_sum_file(path: Path) -> SumFile:
    """What the sum in `path` is over. Raises DamagedRun if that cannot be read."""
    with _readable_or_damaged(path), h5py.File(path, "r") as file:
        return SumFile(path, tuple(file["shard"].asstr()[...].tolist()))


def read_sum(path: Path) -> np.ndarray:
    """The sum [step, position, feature], float32. Raises DamagedRun if it is not the one that was
    written."""
    with _readable_or_damaged(path), h5py.File(path, "r") as file:
        shards = file["shard"].asstr()[...].tolist()
        total = np.asarray(file["hidden_sum"][...])
        attrs = {name: str(file.attrs[name]) for name in ("run_id", "fingerprint")}
        written = str(file.attrs["sha256"])
    if _digest(shards, total, attrs) != written:
        raise DamagedRun(f"{path} is not as it was written (sha256); {_REPAIR}")
    return total


@contextlib.contextmanager
def _readable_or_damaged(path: Path) -> Iterator[None]:
    """Whatever h5py raises at a damaged file becomes DamagedRun."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise DamagedRun(f"{path} cannot be read: {error}; {_REPAIR}") from error


def in_force(files: Iterable[SumFile], shards: Collection[str]) -> list[SumFile]:
    """Of all files those to add up: over shards that are all there, the widest of each group, no
    shard twice."""
    present = set(shards)
    chosen = []
    counted: set[str] = set()
    for file in sorted(files, key=lambda file: (-len(file.shards), file.path.name)):
        if present.issuperset(file.shards) and counted.isdisjoint(file.shards):
            chosen.append(file)
            counted.update(file.shards)
    return chosen


def sweep_sums(run_dir: Path, shards: Collection[str]) -> list[Path]:
    """Delete the files that a wider one in force replaces, given the names of all shards; returns
    what was deleted.

    Only for the holder of the run's lock, while no worker writes. Unreadable files stay for
    `verify` to name.
    """
    files = _readable(run_dir)
    chosen = in_force(files, shards)
    counted = {shard for file in chosen for shard in file.shards}
    swept = []
    for file in files:
        covered = counted.issuperset(set(file.shards) & set(shards))
        if file not in chosen and covered:
            file.path.unlink(missing_ok=True)
            swept.append(file.path)
    return swept


def shards_in_sums(run_dir: Path, *, without: Collection[str] = ()) -> set[str]:
    """Names of the shards that some file of sums is over, `without` the files of these names."""
    shards: set[str] = set()
    for file in _readable(run_dir):
        if file.path.name not in without:
            shards.update(file.shards)
    return shards


def last_of_groups(run_dir: Path) -> set[str]:
    """Names of the shards that a group of several ends with: the sum of their group without them is
    still there."""
    last: set[str] = set()
    others: set[str] = set()
    for file in _readable(run_dir):
        if len(file.shards) > 1:
            last.add(file.shards[-1])
            others.update(file.shards[:-1])
    return last - others


def quarantine_sums(run_dir: Path, names: Collection[str]) -> None:
    """Move files of sums, named `sums/<file>`, to `quarantine/`, with `sums-` before their
    names."""
    aside = run_dir / "quarantine"
    for name in names:
        aside.mkdir(exist_ok=True)
        os.replace(run_dir / name, aside / name.replace("/", "-"))
        fsync_directory(aside)


def _readable(run_dir: Path) -> list[SumFile]:
    files = []
    for path in sum_paths(run_dir):
        try:
            files.append(read_sum_file(path))
        except DamagedRun:
            continue
    return files


def _image(shards: list[str], total: np.ndarray, attrs: Mapping[str, str]) -> bytes:
    """The file, built in memory so that HDF5 never meets an I/O error. Not compressed: it is soon
    replaced."""
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v108", "v108")) as file:
        names = file.create_dataset("shard", data=shards, dtype=STRING)
        names.attrs["long_name"] = "shards that the sum is over"

        dataset = file.create_dataset("hidden_sum", data=total)
        dataset.attrs["units"] = "1"
        dataset.attrs["long_name"] = "sum of `hidden` over the problems of the shards"
        for axis, dim in enumerate(("step", "position", "feature")):
            dataset.dims[axis].label = dim
        file.attrs.update({**attrs, "sha256": _digest(shards, total, attrs)})
    return image.getvalue()


def _digest(shards: list[str], total: np.ndarray, attrs: Mapping[str, str]) -> str:
    head = json.dumps([shards, total.shape, str(total.dtype), sorted(attrs.items())])
    digest = hashlib.sha256(head.encode())
    digest.update(np.ascontiguousarray(total).data)
    return digest.hexdigest()
