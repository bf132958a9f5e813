"""head.h5: the output head of a run that keeps hidden states, so that its logits can be rebuilt without the model.

logits = float32(hidden) @ float32(weight).T. Written once, whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import h5py
import numpy as np

from .disk import fsync_directory, write_file
from .element import bfloat16_type


def write_head(run_dir: Path, weight: np.ndarray) -> Path:
    """Write the head weight [vocabulary, feature] of a run: float32, or uint16 holding the bits of bfloat16.

    Leaves a head that is there already as it is; raises StorageError.
    """
    path = run_dir / "head.h5"
    if path.exists():
        return path
    is_bf16 = weight.dtype == np.uint16
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        kind = bfloat16_type() if is_bf16 else h5py.h5t.IEEE_F32LE
        space = h5py.h5s.create_simple(weight.shape)
        dataset = h5py.Dataset(h5py.h5d.create(file.id, b"weight", kind, space))
        dataset.id.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(weight), kind if is_bf16 else None)
        dataset.attrs["long_name"] = "output head: logits = hidden @ weight.T"
        dataset.attrs["sha256"] = hashlib.sha256(weight.tobytes()).hexdigest()
    temporary = path.with_name(".head.h5.tmp")
    temporary.unlink(missing_ok=True)
    write_file(temporary, image.getbuffer())
    temporary.replace(path)
    fsync_directory(run_dir)
    return path
