"""Chunks compressed outside HDF5 are ordinary chunks to HDF5, whose own checksum code judges
ours."""

from __future__ import annotations

import io

import h5py
import numpy as np
import pytest

from diffengine.engine.store.format.elements import fletcher32
from diffengine.engine.store.format.image import _write_numbers, chunk_shape


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 2, 64, 33), (1, 1, 3, 700_001)])
def test_hdf5_reads_what_we_encode(dtype: type, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    array = (
        rng.integers(0, 2**16, shape).astype(np.uint16)
        if dtype is np.uint16
        else rng.normal(size=shape).astype(np.float32)
    )
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        chunk = chunk_shape(("problem", "step", "position", "feature"), shape, array.itemsize)
        _write_numbers(file, "hidden", array, chunk)
    with h5py.File(image) as file:
        raw = np.empty(shape, dtype)
        file["hidden"].id.read(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=file["hidden"].id.get_type())
        assert file["hidden"].chunks == chunk
    np.testing.assert_array_equal(raw, array)


@pytest.mark.parametrize("length", [1, 2, 3, 719, 720, 721, 100_001])
@pytest.mark.parametrize("fill", [0, 255, None])
def test_fletcher32_is_the_one_hdf5_stores(length: int, fill: int | None) -> None:
    data = (
        np.full(length, fill, np.uint8)
        if fill is not None
        else np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    )
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        dataset = file.create_dataset("x", data=data, chunks=(length,), fletcher32=True)
        _, stored = dataset.id.read_direct_chunk((0,))
    assert stored == data.tobytes() + fletcher32(data.tobytes()).to_bytes(4, "little")


def test_fletcher32_of_more_words_than_one_block() -> None:
    data = np.random.default_rng(1).integers(0, 256, 5 << 20, dtype=np.uint8).tobytes()
    first = second = 0
    for word in np.frombuffer(data, ">u2").tolist():
        first = (first + word) % 65535
        second = (second + first) % 65535
    assert fletcher32(data) == (second or 65535) << 16 | (first or 65535)
