"""head.h5: what was written is read, and a weight that changed is refused, sealed or not."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest

from diffengine.engine.store import DamagedRun
from diffengine.engine.store.format.output_head import read_head, write_head
from diffengine.engine.store.format.seal import append_seal

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_head(tmp_path, WEIGHT, run_id="abc")
    assert np.array_equal(read_head(tmp_path, run_id="abc"), WEIGHT)
    with pytest.raises(DamagedRun, match="belongs to the run abc, this one is other"):
        read_head(tmp_path, run_id="other")


@pytest.mark.parametrize(
    "sealed", [True, False], ids=["sealed anew", "from before there were seals"]
)
def test_another_weight_under_the_old_digest_is_refused(tmp_path: Path, sealed: bool) -> None:
    path = write_head(tmp_path, WEIGHT)
    image = io.BytesIO(path.read_bytes())
    with h5py.File(image, "r") as file:
        attributes = dict(file["weight"].attrs)
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        weight = file.create_dataset("weight", data=WEIGHT + 1)
        weight.attrs.update(attributes)
    if sealed:
        append_seal(image)
    path.write_bytes(image.getvalue())
    with pytest.raises(DamagedRun, match="not the one whose sha256 was stored with it"):
        read_head(tmp_path)
