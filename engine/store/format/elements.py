"""Element types: bfloat16 as an HDF5 float type of its own, and reading blocks of a dataset without
slow conversion.

HDF5 readers see the type as a 16-bit float and convert it to float32 exactly, but at 30 MB/s; here
the raw bits are read and widened by numpy. Knows nothing of the schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

STRING = h5py.string_dtype("utf-8")


def bfloat16_type() -> Any:
    """The HDF5 type with bfloat16's layout: 1 sign, 8 exponent (bias 127), 7 mantissa bits,
    little-endian."""
    kind = h5py.h5t.IEEE_F16LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_ebias(127)
    return kind


def is_bfloat16(dataset: h5py.Dataset) -> bool:
    """Whether the dataset is stored as bfloat16 (its `.dtype` says float32, which is what HDF5
    converts it to)."""
    kind = dataset.id.get_type()
    return isinstance(kind, h5py.h5t.TypeFloatID) and bool(kind.equal(bfloat16_type()))


def is_string(dataset: h5py.Dataset) -> bool:
    """Whether the dataset holds variable-length strings."""
    return h5py.check_string_dtype(dataset.dtype) is not None


def widen(bits: np.ndarray) -> np.ndarray:
    """float32 values of bfloat16 bit patterns (uint16), exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def memory_dtype(dataset: h5py.Dataset) -> np.dtype[Any]:
    """The numpy dtype in which values of the dataset arrive: object for strings, float32 for
    bfloat16."""
    return np.dtype(object) if is_string(dataset) else np.dtype(dataset.dtype)


def read_block(
    dataset: h5py.Dataset, start: Sequence[int], count: Sequence[int], *, bits: bool = False
) -> np.ndarray:
    """The box of the dataset from `start`, `count` long in each dimension; bfloat16 as float32, or
    uint16 if `bits`."""
    box = tuple(slice(first, first + length) for first, length in zip(start, count, strict=True))
    if is_string(dataset):
        return np.asarray(dataset.asstr()[box], dtype=object)
    if not is_bfloat16(dataset):
        return np.asarray(dataset[box])
    raw = np.empty(tuple(count), np.uint16)
    if raw.size:
        space = dataset.id.get_space()
        space.select_hyperslab(tuple(start), tuple(count))
        dataset.id.read(h5py.h5s.create_simple(tuple(count)), space, raw, dataset.id.get_type())
    return raw if bits else widen(raw)
