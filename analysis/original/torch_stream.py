"""`torch.save` for tensors that do not fit into memory together: each is computed when its turn
comes to be written.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...engine.store.disk import replace_file

ALIGNMENT = 64
"""Bytes; torch maps a file whose tensors begin at multiples of it."""


class LazyTensor(NamedTuple):
    """A float32 tensor that is computed when its turn comes to be written."""

    shape: tuple[int, ...]
    values: Callable[[], np.ndarray]


def save_stream(content: Any, path: Path) -> None:
    """`torch.save` for lists and dicts with LazyTensors in them, one tensor in memory at a time.

    Writes torch's zip format (a pickle of the structure, each tensor's bytes as a member of its
    own), complete or not at all. Raises StorageError.
    """

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                _write_members(archive, path.stem, content)
            stream.flush()
            os.fsync(stream.fileno())

    replace_file(path, write)


def _write_members(archive: zipfile.ZipFile, root: str, content: Any) -> None:
    structure, tensors = _pickled(content)
    archive.writestr(f"{root}/data.pkl", structure)
    archive.writestr(f"{root}/byteorder", b"little")
    archive.writestr(f"{root}/version", b"3\n")
    for number, tensor in enumerate(tensors):
        _write_tensor(archive, f"{root}/data/{number}", tensor)


def _write_tensor(archive: zipfile.ZipFile, name: str, tensor: LazyTensor) -> None:
    values = np.ascontiguousarray(tensor.values(), "<f4")
    announced = tensor.shape
    assert values.size == np.prod(announced), f"{name}: {values.shape} is not {announced}"
    with archive.open(_aligned(archive, name, values.nbytes), "w") as member:
        member.write(values.data)


def _aligned(archive: zipfile.ZipFile, name: str, size: int) -> zipfile.ZipInfo:
    """A member whose bytes start at a multiple of 64, so that torch can map the file instead of
    reading it."""
    member = zipfile.ZipInfo(name)
    member.file_size = size
    zip64 = 20 if size * 1.05 > zipfile.ZIP64_LIMIT else 0
    end_of_header = archive.start_dir + 30 + len(name.encode()) + 4 + zip64
    padding = -end_of_header % ALIGNMENT
    member.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
    return member


class _Storage(NamedTuple):
    """What a tensor's bytes are called in the pickle: their number among the tensors, and size."""

    number: int
    size: int


def _pickled(content: Any) -> tuple[bytes, list[LazyTensor]]:
    """The structure as torch pickles it, tensors by number, and the tensors in that order."""
    import torch

    tensors: list[LazyTensor] = []

    class Pickler(pickle.Pickler):
        """Tensors become calls of torch's own rebuilding function on a storage that lies outside
        the pickle."""

        def reducer_override(self, obj: Any) -> Any:
            if not isinstance(obj, LazyTensor):
                return NotImplemented
            tensors.append(obj)
            storage = _Storage(len(tensors) - 1, int(np.prod(obj.shape)))
            hooks: OrderedDict[str, Any] = OrderedDict()
            arguments = (storage, 0, obj.shape, _strides(obj.shape), False, hooks)
            return torch._utils._rebuild_tensor_v2, arguments

        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, _Storage):
                return None
            return ("storage", torch.FloatStorage, str(obj.number), "cpu", obj.size)

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue(), tensors


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Those of a contiguous tensor, in elements."""
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
