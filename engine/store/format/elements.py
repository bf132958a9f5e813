"""How numbers lie in an HDF5 dataset: bfloat16 as a float type of its own, chunks compressed by us.

HDF5 readers see the type as a 16-bit float and convert it to float32 exactly, but at 30 MB/s; here
the raw bits are read and widened by numpy.

Mantissa bits of model output are noise, so looking for repeats (what gzip spends its time on) finds
none; coding the shuffled bytes by frequency alone (zlib's Huffman-only strategy) is smaller and
three times as fast. Such chunks are compressed outside HDF5 and handed over ready; the result is an
ordinary gzip + shuffle + fletcher32 dataset for every reader.
"""

from __future__ import annotations

import itertools
import zlib
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


def write_encoded(dataset: h5py.h5d.DatasetID, array: np.ndarray, chunk: tuple[int, ...]) -> None:
    """Write `array` chunk by chunk into a dataset whose filters are shuffle, deflate, fletcher32,
    in this order."""
    starts = [range(0, length, size) for length, size in zip(array.shape, chunk, strict=True)]
    for corner in itertools.product(*starts):
        box = tuple(slice(start, start + size) for start, size in zip(corner, chunk, strict=True))
        dataset.write_direct_chunk(corner, encode_chunk(_full(array[box], chunk)))


def encode_chunk(chunk: np.ndarray) -> bytes:
    """The stored form of one chunk: bytes shuffled into planes, deflated, followed by the
    fletcher32 of that."""
    planes = np.ascontiguousarray(chunk.reshape(-1).view(np.uint8).reshape(-1, chunk.itemsize).T)
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    packed = packer.compress(planes.data) + packer.flush()
    return packed + fletcher32(packed).to_bytes(4, "little")


def fletcher32(data: bytes) -> int:
    """HDF5's fletcher32: over big-endian 16-bit words, an odd last byte being the high half of its
    word.

    The two sums are s1 = sum w_i and s2 = sum (n - i) w_i modulo 65535; 65535 stands for 0 unless
    all words are 0.
    """
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2").astype(np.uint64)
    first = 0
    second = 0
    # Sums of 2^20 weighted words fit into 64 bits.
    for block in np.array_split(words, max(1, len(words) >> 20)):
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        second += len(block) * first + int((block * weights).sum())
        first += int(block.sum())
    return _folded(second) << 16 | _folded(first)


def _folded(total: int) -> int:
    if total == 0:
        return 0
    return total % 65535 or 65535


def _full(part: np.ndarray, chunk: tuple[int, ...]) -> np.ndarray:
    """Chunks at the edge are stored whole, filled up with zeros that no reader sees."""
    if part.shape == chunk:
        return np.ascontiguousarray(part)
    full = np.zeros(chunk, part.dtype)
    full[tuple(slice(0, length) for length in part.shape)] = part
    return full
