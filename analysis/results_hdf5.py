"""How the parts of an analysis lie in `analysis.h5`: one group a quantity with dimension scales,
one data set a column of the problems, one JSON text for all that is no array.

HDF5 itself never touches the disk when writing: a full disk would bring the process down.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import SettingError
from .quantity import Quantity

if TYPE_CHECKING:
    import h5py

ANALYSIS_SCHEMA_VERSION = "1.0"


class Parts(NamedTuple):
    """An analysis as it is stored. `records`: what is no array, as JSON holds it; `arrays`: those
    of `info`."""

    quantities: dict[str, Quantity]
    problems: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]
    records: dict[str, Any]


def hdf5_image(parts: Parts) -> bytes:
    """The file as bytes."""
    import h5py

    with h5py.File("analysis", "w", driver="core", backing_store=False, track_order=True) as file:
        file.attrs["analysis_schema_version"] = ANALYSIS_SCHEMA_VERSION
        _write_quantities(file.create_group("quantities", track_order=True), parts.quantities)
        columns = file.create_group("problems", track_order=True)
        for name, column in parts.problems.items():
            _write_column(columns, name, column)
        info = file.create_group("info", track_order=True)
        for name, array in parts.arrays.items():
            info.create_dataset(name, data=array)
        file["records"] = json.dumps(parts.records)
        file.flush()
        return bytes(file.id.get_file_image())


def read_parts(path: Path) -> Parts:
    """What `hdf5_image` wrote. Raises SettingError for another schema version, and whatever h5py,
    numpy and json raise at a file that is damaged."""
    import h5py

    with h5py.File(path, "r") as file:
        version = file.attrs.get("analysis_schema_version")
        if version != ANALYSIS_SCHEMA_VERSION:
            raise SettingError(
                f"{path} has analysis_schema_version {version!r}, expected "
                f"{ANALYSIS_SCHEMA_VERSION!r}; run `diffengine analyze {path.parent}` again"
            )
        return Parts(
            quantities={
                str(group.attrs["name"]): _read_quantity(group)
                for group in file["quantities"].values()
            },
            problems={
                str(column.attrs["name"]): _read_column(column)
                for column in file["problems"].values()
            },
            arrays={name: array[()] for name, array in file["info"].items()},
            records=json.loads(file["records"][()]),
        )


def read_records(path: Path) -> dict[str, Any]:
    """What is no array, alone."""
    import h5py

    with h5py.File(path, "r") as file:
        records: dict[str, Any] = json.loads(file["records"][()])
        return records


def stored_name(name: str) -> str:
    """What the group of a quantity or the data set of a column is called in the file."""
    return name.replace("/", ".")


def _write_quantities(group: h5py.Group, quantities: Mapping[str, Quantity]) -> None:
    scales: dict[str, h5py.Dataset] = {}
    for name, quantity in quantities.items():
        _write_quantity(group.create_group(stored_name(name)), name, quantity, scales)


def _write_quantity(
    group: h5py.Group, name: str, quantity: Quantity, scales: dict[str, h5py.Dataset]
) -> None:
    group.attrs.update(
        name=name, long_name=quantity.label, status=quantity.status, dims=json.dumps(quantity.dims)
    )
    parts = {"values": quantity.values, "stderr": quantity.stderr, "n": quantity.n}
    if quantity.interval is not None:
        parts |= {"low": quantity.interval[0], "high": quantity.interval[1]}
    for part, values in parts.items():
        if values is None:
            continue
        data = group.create_dataset(part, data=values)
        data.attrs["units"] = "problems" if part == "n" else quantity.units
        for axis, dim in enumerate(quantity.dims[: data.ndim]):
            data.dims[axis].attach_scale(_scale(group.file, scales, dim, data.shape[axis]))


def _scale(file: h5py.File, scales: dict[str, h5py.Dataset], dim: str, length: int) -> h5py.Dataset:
    """The dimension scale `dim`, made when it is first used: from 0, but for `k` from 1."""
    if dim not in scales:
        first = 1 if dim == "k" else 0
        scales[dim] = file.create_dataset(dim, data=np.arange(first, first + length))
        scales[dim].make_scale(dim)
    if len(scales[dim]) != length:
        raise ValueError(
            f"dimension {dim!r} has length {length} in one quantity and {len(scales[dim])} in "
            "another"
        )
    return scales[dim]


def _write_column(group: h5py.Group, name: str, column: np.ndarray) -> None:
    import h5py

    dtype = h5py.string_dtype() if column.dtype == object else column.dtype
    data = group.create_dataset(stored_name(name), shape=column.shape, dtype=dtype, data=column)
    data.attrs["name"] = name


def _read_quantity(group: h5py.Group) -> Quantity:
    n = group["n"][()]
    stderr = np.asarray(group["stderr"][()]) if "stderr" in group else None
    interval = np.stack([group["low"][()], group["high"][()]]) if "low" in group else None
    return Quantity(
        values=np.asarray(group["values"][()]),
        dims=tuple(json.loads(group.attrs["dims"])),
        units=str(group["values"].attrs["units"]),
        n=n if isinstance(n, np.ndarray) else int(n),
        stderr=stderr,
        status=str(group.attrs["status"]),
        label=str(group.attrs["long_name"]),
        interval=interval,
    )


def _read_column(data: h5py.Dataset) -> np.ndarray:
    import h5py

    if h5py.check_string_dtype(data.dtype) is None:
        return np.asarray(data[()])
    return np.asarray(data.asstr()[()])
