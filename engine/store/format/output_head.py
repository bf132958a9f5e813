"""head.h5: the output head of a run that keeps hidden states, so that its logits can be rebuilt
without the model.

logits = float32(hidden) @ float32(weight).T. Written once, whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import h5py
import numpy as np

from ..disk import replace_content
from ..errors import DamagedRun
from .elements import bfloat16_type, read_block
from .seal import append_seal, seal_fault

HEAD = "head.h5"
_RESTORE = "copy it again, or let the same `diffengine run` command write it anew"


def write_head(run_dir: Path, weight: np.ndarray, *, run_id: str = "") -> Path:
    """Write the head weight [vocabulary, feature] of a run: float32, or uint16 holding the bits of
    bfloat16.

    Leaves a sound head of the run `run_id` that is there already as it is; raises StorageError.
    """
    path = run_dir / HEAD
    if path.exists() and head_fault(path, run_id=run_id) is None:
        return path
    is_bf16 = weight.dtype == np.uint16
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        kind = bfloat16_type() if is_bf16 else h5py.h5t.IEEE_F32LE
        space = h5py.h5s.create_simple(weight.shape)
        dataset = h5py.Dataset(h5py.h5d.create(file.id, b"weight", kind, space))
        dataset.id.write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(weight), kind if is_bf16 else None
        )
        dataset.attrs["long_name"] = "output head: logits = hidden @ weight.T"
        dataset.attrs["sha256"] = hashlib.sha256(weight.tobytes()).hexdigest()
        if run_id:
            file.attrs["run_id"] = run_id
    append_seal(image)
    replace_content(path, image.getvalue())
    return path


def read_head(run_dir: Path, *, run_id: str = "") -> np.ndarray:
    """The head weight [vocabulary, feature] as float32. Raises DamagedRun if it is not the one that
    was written."""
    path = run_dir / HEAD
    if fault := head_fault(path, run_id=run_id):
        raise DamagedRun(f"{path}: {fault}; {_RESTORE}")
    with h5py.File(path, "r") as file:
        weight = file["weight"]
        return np.asarray(read_block(weight, (0, 0), weight.shape), np.float32)


def head_fault(path: Path, *, run_id: str = "") -> str | None:
    """What is wrong with a head, or None: its seal, the sha256 of its weight, the run it was
    written for."""
    try:
        if fault := seal_fault(path, whole=True):
            return fault
        with h5py.File(path, "r") as file:
            weight = file["weight"]
            digest = hashlib.sha256(
                read_block(weight, (0, 0), weight.shape, bits=True).tobytes()
            ).hexdigest()
            if digest != weight.attrs.get("sha256", digest):
                return "the weight is not the one whose sha256 was stored with it"
            owner = str(file.attrs.get("run_id", run_id))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        return f"cannot be read: {error}"
    return (
        f"belongs to the run {owner}, this one is {run_id}" if run_id and owner != run_id else None
    )
