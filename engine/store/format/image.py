"""A shard as the bytes of an HDF5 file, built in memory so that HDF5 never meets an I/O error (a
full disk crashes it).

Plain HDF5 with dimension scales: h5py, xarray (h5netcdf) and netCDF4 read it without plug-ins.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from .columns import CheckedColumns, dims_of, storable
from .elements import STRING, bfloat16_type, write_encoded
from .schema import VARIABLES, missing

LIBVER = ("v108", "v108")
GZIP_LEVEL = 4
CHUNK_BYTES = 4 << 20

COORDINATES = {
    "problem": "place of the problem in problems.jsonl, from 0",
    "step": "denoising step, from 0",
    "other_step": "denoising step, from 0",
    "position": "generated position, from 0",
    "answer_token": "token of the gold answer, from 0",
    "k": "rank of the logit, from 0",
    "feature": "component of the final hidden state, from 0",
    "vocabulary": "token id",
}
"""Long names of the dimension scales; all hold int32 numbers without a unit."""


def shard_image(columns: CheckedColumns, attrs: Mapping[str, str | int | float]) -> io.BytesIO:
    """The whole shard as one HDF5 file in memory. The root attribute `complete` is written last."""
    image = io.BytesIO()
    with h5py.File(image, "w", libver=LIBVER) as file:
        scales = {
            dim: _write_scale(file, dim, columns) for dim in COORDINATES if dim in columns.sizes
        }
        for name in VARIABLES:
            if name in columns.arrays:
                _write_variable(file, name, columns.arrays[name], scales)
        file.attrs.update(attrs)
        file.attrs["complete"] = np.int8(1)
    return image


def _write_scale(file: h5py.File, dim: str, columns: CheckedColumns) -> h5py.Dataset:
    values = np.arange(columns.sizes[dim], dtype=np.int32)
    if dim == "problem":
        values = columns.arrays["index"]
    scale = file.create_dataset(
        dim, data=values, chunks=values.shape, compression=GZIP_LEVEL, shuffle=True, fletcher32=True
    )
    scale.make_scale(dim)
    scale.attrs.update({"units": "1", "long_name": COORDINATES[dim]})
    return scale


def _write_variable(
    file: h5py.File, name: str, array: np.ndarray, scales: Mapping[str, h5py.Dataset]
) -> None:
    dims = dims_of(name)
    if VARIABLES[name].dtype == "str":
        texts = [storable(text) for text in array]
        dataset = file.create_dataset(name, data=texts, dtype=STRING)
    else:
        chunk = chunk_shape(dims, array.shape, array.itemsize)
        dataset = _write_numbers(file, name, np.ascontiguousarray(array), chunk)
    for axis, dim in enumerate(dims):
        dataset.dims[axis].attach_scale(scales[dim])
    dataset.attrs.update(variable_attrs(name))


def _write_numbers(
    file: h5py.File, name: str, array: np.ndarray, chunk: tuple[int, ...]
) -> h5py.Dataset:
    as_bits = array.dtype == np.uint16
    kind = bfloat16_type() if as_bits else h5py.h5t.py_create(array.dtype, logical=True)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk(chunk)
    layout.set_shuffle()
    layout.set_deflate(GZIP_LEVEL)
    layout.set_fletcher32()
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(array.shape)
    dataset = h5py.h5d.create(file.id, name.encode(), kind, space, layout)
    if VARIABLES[name].is_noise:
        write_encoded(dataset, array, chunk)
    else:
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array, mtype=kind)
    return h5py.Dataset(dataset)


def chunk_shape(dims: tuple[str, ...], shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """One problem to a chunk; 16 steps of top-k, one step of hidden states or logits; positions
    halved above 4 MiB."""
    if len(dims) == 1:
        return shape
    longest = {"problem": 1}
    if "position" in dims and dims[-1] == "k":
        longest["step"] = 16
    if "position" in dims and dims[-1] in ("feature", "vocabulary"):
        longest["step"] = 1
    chunk = [min(length, longest.get(dim, length)) for dim, length in zip(dims, shape, strict=True)]
    if "position" in dims:
        axis = dims.index("position")
        while np.prod(chunk) * itemsize > CHUNK_BYTES and chunk[axis] > 1:
            chunk[axis] = math.ceil(chunk[axis] / 2)
    return tuple(chunk)


def variable_attrs(name: str) -> dict[str, Any]:
    """The attributes of a variable: units, long_name, and pad_value or the meaning of flags."""
    row = VARIABLES[name]
    attrs: dict[str, Any] = {"long_name": row.long_name}
    if row.dtype != "str":
        attrs["units"] = row.units
    if row.dtype == "int32":
        attrs["pad_value"] = np.int32(missing(row.dtype))
    if row.flags:
        attrs["flag_values"] = np.arange(len(row.flags), dtype=np.uint8)
        attrs["flag_meanings"] = " ".join(row.flags)
    return attrs
