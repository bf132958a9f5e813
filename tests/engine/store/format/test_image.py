"""Shards are plain HDF5: h5py and xarray read them labelled, with units, and every chunk carries a
checksum."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import xarray

from diffengine.engine.store import write_shard
from diffengine.engine.store.format.columns import dims_of
from diffengine.engine.store.format.image import chunk_shape
from diffengine.engine.store.format.schema import SCHEMA_VERSION, VARIABLES
from diffengine.engine.store.format.verdicts import VERDICTS


@pytest.fixture
def shard(run_dir: Path, samples: SimpleNamespace) -> Path:
    columns = samples.columns([2, 0], bf16=True, extras=True)
    problems, steps, positions = columns["token"].shape
    columns["open_start"] = np.zeros((problems, steps), np.int32)
    columns["open_end"] = np.full((problems, steps), positions, np.int32)
    columns["revised"] = np.zeros((problems, steps, positions), np.uint8)
    return (
        run_dir
        / "shards"
        / write_shard(run_dir, columns, attrs={**samples.attrs, "git": "abc"}).name
    )


def test_h5py_sees_dimensions_units_and_meanings(shard: Path) -> None:
    with h5py.File(shard) as file:
        for name, row in VARIABLES.items():
            dataset = file[name]
            assert tuple(dataset.dims[axis][0].name[1:] for axis in range(dataset.ndim)) == dims_of(
                name
            )
            assert dataset.attrs["long_name"] == row.long_name
            assert row.dtype == "str" or dataset.attrs["units"] == row.units
            assert "_FillValue" not in dataset.attrs
        assert file["verdict"].attrs["flag_meanings"].split() == list(VERDICTS)
        assert file["answer_token_id"].attrs["pad_value"] == -1
        assert file["problem"][...].tolist() == [2, 0]
        assert file["hidden"].dtype == np.float32 and file["hidden"].id.get_type().get_size() == 2


def test_root_attributes(shard: Path) -> None:
    with h5py.File(shard) as file:
        attrs = dict(file.attrs)
    assert attrs.pop("created_at").endswith("+00:00") and attrs.pop("library_version")
    assert attrs == {
        "schema_version": SCHEMA_VERSION,
        "run_id": "test",
        "fingerprint": "f00d",
        "n_problems": 2,
        "library": "diffengine",
        "git": "abc",
        "complete": 1,
        "sealed": 1,
    }


def test_every_number_is_compressed_and_checksummed(shard: Path) -> None:
    with h5py.File(shard) as file:
        numeric = [file[name] for name in file if file[name].dtype.kind != "O"]
        assert len(numeric) > 30
        assert all(
            dataset.fletcher32 and dataset.shuffle and dataset.compression == "gzip"
            for dataset in numeric
        )


def test_xarray_reads_a_shard_with_labels(shard: Path, samples: SimpleNamespace) -> None:
    columns = samples.columns([2, 0], bf16=True, extras=True)
    with xarray.open_dataset(shard, engine="h5netcdf") as dataset:
        assert set(dataset.data_vars) == set(VARIABLES)
        for name in VARIABLES:
            assert dataset[name].dims == dims_of(name)
        assert dataset["token"].dtype == np.int32 and dataset["performed"].dtype == np.uint8
        assert dataset["entropy"].attrs["units"] == "bits"
        assert dataset["generated_text"].values.tolist() == columns["generated_text"]
        np.testing.assert_array_equal(
            dataset["entropy"].sel(problem=0).values, columns["entropy"][1]
        )
        np.testing.assert_array_equal(samples.bits(dataset["hidden"].values), columns["hidden"])
        assert dataset.attrs["complete"] == 1


def test_xarray_and_a_run_read_the_same_file_at_once(shard: Path, stored: Path) -> None:
    from diffengine.engine.store import open_run

    with (
        open_run(shard.parent.parent) as run,
        xarray.open_dataset(shard, engine="h5netcdf") as dataset,
    ):
        np.testing.assert_array_equal(
            dataset["entropy"].values[0], run["entropy"][run.row("p0002")]
        )


@pytest.mark.parametrize(
    ("dims", "shape", "expected"),
    [
        (("problem",), (8,), (8,)),
        (("problem", "step", "position"), (8, 128, 128), (1, 128, 128)),
        (("problem", "step", "other_step"), (8, 128, 128), (1, 128, 128)),
        (("problem", "step", "position", "k"), (8, 128, 128, 16), (1, 16, 128, 16)),
        (("problem", "step", "position", "k"), (8, 4, 128, 16), (1, 4, 128, 16)),
        (("problem", "step", "position", "feature"), (8, 128, 128, 4096), (1, 1, 128, 4096)),
        (("problem", "step", "position", "vocabulary"), (8, 128, 128, 126464), (1, 1, 16, 126464)),
        (("problem", "step", "feature"), (8, 128, 4096), (1, 128, 4096)),
        (("step", "position", "feature"), (128, 128, 4096), (1, 128, 4096)),
    ],
)
def test_chunks(dims: tuple[str, ...], shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert chunk_shape(dims, shape, 2) == expected
