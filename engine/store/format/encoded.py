"""Chunks of hidden states and logits, compressed outside HDF5 and handed over ready: faster and
smaller than its gzip.

Mantissa bits of model output are noise, so looking for repeats (what gzip spends its time on) finds
none; coding the shuffled bytes by frequency alone (zlib's Huffman-only strategy) is smaller and
three times as fast. The result is an ordinary gzip + shuffle + fletcher32 dataset for every reader.
Knows bytes, not variables.
"""

from __future__ import annotations

import itertools
import zlib

import h5py
import numpy as np


def write_encoded(dataset: h5py.h5d.DatasetID, array: np.ndarray, chunk: tuple[int, ...]) -> None:
    """Write `array` chunk by chunk into a dataset whose filters are shuffle, deflate, fletcher32,
    in this order."""
    for corner in itertools.product(
        *(range(0, length, size) for length, size in zip(array.shape, chunk, strict=True))
    ):
        part = array[tuple(slice(at, at + size) for at, size in zip(corner, chunk, strict=True))]
        dataset.write_direct_chunk(corner, encode_chunk(_full(part, chunk)))


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
    first = second = 0
    for block in np.array_split(
        words, max(1, len(words) >> 20)
    ):  # sums of 2^20 weighted words fit into 64 bits
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        second += len(block) * first + int((block * weights).sum())
        first += int(block.sum())
    return _folded(second) << 16 | _folded(first)


def _folded(total: int) -> int:
    return total % 65535 or (65535 if total else 0)


def _full(part: np.ndarray, chunk: tuple[int, ...]) -> np.ndarray:
    """Chunks at the edge are stored whole, filled up with zeros that no reader sees."""
    if part.shape == chunk:
        return np.ascontiguousarray(part)
    full = np.zeros(chunk, part.dtype)
    full[tuple(slice(0, length) for length in part.shape)] = part
    return full
