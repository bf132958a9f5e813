"""Writing a shard: columns -> HDF5 image in memory -> temporary file -> published under its name ->
manifest line.

A shard is written once and never opened for writing again. Killed anywhere, a shard is either there
whole or not there.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import importlib.metadata
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..disk import fsync_directory, make_directory, storage_error, write_file
from ..errors import ColumnsError, StorageError
from ..format.columns import Column, check_columns
from ..format.image import shard_image
from ..format.schema import SCHEMA_VERSION
from ..format.seal import append_seal
from ..temporaries import temporary_in
from .hidden_sums import GroupSum
from .manifest import ShardEntry, append_entry, read_manifests

_REQUIRED_ATTRS = ("run_id", "fingerprint")
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def write_shard(
    run_dir: Path,
    columns: Mapping[str, Column],
    *,
    attrs: Mapping[str, str | int | float],
    worker: str = "0",
    sums: GroupSum | None = None,
    hidden_sum: np.ndarray | None = None,
) -> ShardEntry:
    """Publish one shard and append its manifest line; both are on the disk when this returns.

    `columns`: see `schema`; `attrs`: root attributes, at least `run_id` and `fingerprint`. Peak
    memory is the columns plus the compressed file. `hidden_sum` [step, position, feature], of this
    shard's problems, goes to the file of `sums`, the group that the shard belongs to.

    Raises ColumnsError before anything is written, StorageError if the disk refuses: the shard is
    then gone without a trace and everything published before stays.
    """
    checked = check_columns(columns)
    _check_worker(worker)
    run_dir = Path(run_dir)
    file = shard_image(checked, _root_attrs(attrs, len(checked.problem_ids)))
    append_seal(file)
    image = file.getvalue()
    digest = hashlib.sha256(image).hexdigest()

    sum_path: Path | None = None

    def write_sum(name: str) -> None:
        nonlocal sum_path
        if sums is not None and hidden_sum is not None:
            sum_path = sums.write(name, hidden_sum)

    directory = shards_dir(run_dir, create=True)
    name = publish(directory, image, worker=worker, digest=digest, before_naming=write_sum)
    entry = ShardEntry(
        name,
        len(image),
        digest,
        tuple(checked.problem_ids),
        str(attrs["fingerprint"]),
        SCHEMA_VERSION,
    )
    _append_or_withdraw(run_dir, entry, worker=worker)
    if sums is not None and hidden_sum is not None and sum_path is not None:
        sums.add(name, hidden_sum, size=len(image), path=sum_path)
    return entry


def _check_worker(worker: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", worker):
        raise ColumnsError(
            f"worker {worker!r}: expected letters, digits, '.', '_' or '-' only, it becomes part "
            "of file names"
        )


def _append_or_withdraw(run_dir: Path, entry: ShardEntry, *, worker: str) -> None:
    """Append the manifest line of a published shard; where the disk refuses, take the shard away
    again, so that whoever tries again makes no duplicate. Raises StorageError."""
    try:
        append_entry(run_dir, entry, worker=worker)
    except StorageError:
        with contextlib.suppress(OSError):
            if entry.name not in read_manifests(run_dir).entries:
                (shards_dir(run_dir) / entry.name).unlink()
        raise


def shards_dir(run_dir: Path, *, create: bool = False) -> Path:
    """The directory of a run's shards; created durably if asked."""
    path = run_dir / "shards"
    if create and not path.is_dir():
        make_directory(path)
        fsync_directory(run_dir)
    return path


def publish(
    directory: Path,
    image: bytes,
    *,
    worker: str,
    digest: str,
    before_naming: Callable[[str], None] = lambda name: None,
) -> str:
    """Write the image under a temporary name, flush it, and give it its final name, which must be
    free.

    `before_naming` hears the final name while nothing bears it yet.

    Names are `<worker>-<number>-<first 8 digits of the sha256>.h5`, so that no name ever means two
    contents.
    """
    temporary = temporary_in(directory)
    write_file(temporary, image)
    try:
        name = f"{worker}-{_next_number(directory, worker):06d}-{digest[:8]}.h5"
        before_naming(name)
        _give_name(temporary, directory / name)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, temporary, needed=len(image)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    try:
        fsync_directory(directory)
    except StorageError:
        with contextlib.suppress(OSError):
            (directory / name).unlink()
        raise
    return name


def _give_name(temporary: Path, final: Path) -> None:
    try:
        os.link(temporary, final)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS or final.exists():
            raise
        os.rename(temporary, final)


def _next_number(directory: Path, worker: str) -> int:
    pattern = re.compile(re.escape(worker) + r"-(\d+)-[0-9a-f]{8}\.h5")
    matches = [pattern.fullmatch(name) for name in os.listdir(directory)]
    numbers = [int(match[1]) for match in matches if match]
    return max(numbers, default=-1) + 1


def _root_attrs(
    attrs: Mapping[str, str | int | float], n_problems: int
) -> dict[str, str | int | float]:
    missing = [name for name in _REQUIRED_ATTRS if not attrs.get(name)]
    if missing:
        raise ColumnsError(
            f"attrs of a shard lack {', '.join(missing)}; every shard names its run and the "
            "fingerprint of its config"
        )
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    base: dict[str, str | int | float] = {
        "created_at": now,
        "library": "diffengine",
        "library_version": _version(),
    }
    return {
        **base,
        **attrs,
        "schema_version": SCHEMA_VERSION,
        "n_problems": n_problems,
        "sealed": 1,
    }


def _version() -> str:
    try:
        return importlib.metadata.version("diffengine")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
