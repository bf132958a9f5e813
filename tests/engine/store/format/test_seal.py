"""A seal knows every byte, and the parts outside chunks alone when only those are asked about."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from diffengine.engine.store import DamagedRun, open_run, write_shard
from diffengine.engine.store.format.seal import (
    MARK,
    append_seal,
    chunk_spans,
    is_sealed,
    seal_fault,
)


@pytest.fixture
def image() -> io.BytesIO:
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        file.create_dataset(
            "x", data=np.arange(4000), chunks=(500,), compression="gzip", fletcher32=True
        )
        file.create_dataset("unguarded", data=np.arange(400), chunks=(100,))
        file["text"] = "some text"
    return made


def test_every_byte_is_either_in_a_checksummed_chunk_or_in_a_part(
    image: io.BytesIO, tmp_path: Path
) -> None:
    size, path = len(image.getvalue()), tmp_path / "x.h5"
    spans = chunk_spans(image)
    assert len(spans) == 8
    append_seal(image)
    content = image.getvalue()
    guarded = np.zeros(len(content), bool)
    for start, length in spans:
        guarded[start : start + length] = True
    assert 0 < guarded.sum() < size
    rng = np.random.default_rng(0)
    for position in rng.choice(len(content), 300, replace=False).tolist():
        spoilt = bytearray(content)
        spoilt[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        in_mark = position >= len(content) - len(MARK)
        assert (seal_fault(path, whole=True) is not None) == (not in_mark), position
        assert (seal_fault(path) is not None) == (
            not in_mark and not (position < size and guarded[position])
        ), position


def test_the_file_reads_as_before_and_its_digest_is_that_of_the_bytes(
    image: io.BytesIO, tmp_path: Path
) -> None:
    bare, path = image.getvalue(), tmp_path / "x.h5"
    append_seal(image)
    path.write_bytes(image.getvalue())
    assert (
        path.read_bytes().startswith(bare)
        and hashlib.sha256(bare).hexdigest().encode() in path.read_bytes()
    )
    assert is_sealed(path) and seal_fault(path, whole=True) is None
    with h5py.File(path) as file:
        assert (
            file["x"][...].tolist() == list(range(4000)) and file["text"].asstr()[()] == "some text"
        )


def test_a_file_without_a_seal_is_let_pass_and_one_with_another_in_front_is_not(
    image: io.BytesIO, tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    for content in (b"", b"x", image.getvalue()):
        path.write_bytes(content)
        assert not is_sealed(path) and seal_fault(path, whole=True) is None
    append_seal(image)
    path.write_bytes(image.getvalue() * 2)
    assert seal_fault(path) is not None


@pytest.mark.parametrize("text", ["p0001", "täxt 1".encode().decode()])
def test_no_shard_gives_another_text_or_id(
    run_dir: Path, samples: SimpleNamespace, text: str
) -> None:
    """HDF5 guards neither; the file has its right length, and a reader need not have asked
    `verify`."""
    entry = write_shard(run_dir, samples.columns([0, 1]), attrs=samples.attrs)
    path = run_dir / "shards" / entry.name
    content = bytearray(path.read_bytes())
    content[content.find(text.encode()) + len(text.encode()) - 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedRun, match="structure or text"):
        open_run(run_dir)
