"""Checking columns against the schema before anything is written: one error that names every fault.

Columns are a dict from variable name to an array with a leading problem dimension (per-shard ones
without it) or a list of strings. Knows nothing of HDF5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import ColumnsError
from .schema import VARIABLES, missing
from .variable import Variable

Column = np.ndarray | Sequence[str]

PAD_TEXT = "\N{SYMBOL FOR NULL}"
"""Stands for the NUL character, which HDF5 strings cannot hold; a byte-level model may well
generate one."""

_ALLOWED = {"model": ("float32", "uint16"), "logits": ("float32", "uint16")}


class CheckedColumns(NamedTuple):
    """Columns that fit the schema. `sizes` maps each dimension to its length; `arrays` hold strings
    as objects."""

    arrays: dict[str, np.ndarray]
    sizes: dict[str, int]

    @property
    def problem_ids(self) -> list[str]:
        """The ids of the shard's problems, in row order."""
        return [str(name) for name in self.arrays["problem_id"]]


def dims_of(name: str) -> tuple[str, ...]:
    """All dimensions of a variable, the leading `problem` included."""
    row = VARIABLES[name]
    return row.dims if row.per_shard else ("problem", *row.dims)


def check_columns(columns: Mapping[str, Column]) -> CheckedColumns:
    """The columns as arrays, or ColumnsError listing unknown and missing variables, wrong dtypes
    and wrong sizes."""
    faults = [f"unknown variable {name!r}" for name in columns if name not in VARIABLES]
    faults += [
        f"missing variable {name!r}"
        for name, row in VARIABLES.items()
        if not row.optional and name not in columns
    ]
    arrays = {
        name: _as_array(columns[name], VARIABLES[name]) for name in columns if name in VARIABLES
    }
    faults += [fault for name, array in arrays.items() if (fault := _dtype_fault(name, array))]
    faults += _mixed_model_dtypes(arrays)
    sizes, wrong = _sizes(arrays)
    faults += wrong
    faults += _content_faults(arrays, sizes)
    if faults:
        raise ColumnsError(f"the columns of a shard do not fit the schema: {'; '.join(faults)}")
    return CheckedColumns(_without_empty_answers(arrays, sizes), sizes)


def _as_array(column: Column, row: Variable) -> np.ndarray:
    if row.dtype != "str" or isinstance(column, np.ndarray):
        return np.asarray(column)
    texts = np.empty(len(column), dtype=object)
    texts[:] = list(column)
    return texts


def _dtype_fault(name: str, array: np.ndarray) -> str | None:
    row = VARIABLES[name]
    if row.dtype == "str":
        wrong = next(
            (type(text).__name__ for text in array.ravel() if not isinstance(text, str)), None
        )
        return f"{name}: expected strings, got {wrong}" if wrong else None
    allowed = _ALLOWED.get(row.dtype, (row.dtype,))
    if array.dtype.name in allowed:
        return None
    return f"{name}: dtype {array.dtype.name}, expected {' or '.join(allowed)}"


def _mixed_model_dtypes(arrays: Mapping[str, np.ndarray]) -> list[str]:
    found = {
        name: array.dtype.name for name, array in arrays.items() if VARIABLES[name].dtype == "model"
    }
    if len(set(found.values())) <= 1:
        return []
    return [
        "variables in the model's dtype differ: "
        f"{', '.join(f'{name} {dtype}' for name, dtype in found.items())}"
    ]


def _sizes(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, int], list[str]]:
    sizes: dict[str, int] = {}
    said_by: dict[str, str] = {}
    faults = []
    for name, array in arrays.items():
        dims = dims_of(name)
        if array.ndim != len(dims):
            faults.append(
                f"{name}: shape {array.shape}, expected the dimensions [{', '.join(dims)}]"
            )
            continue
        for dim, length in zip(dims, array.shape, strict=True):
            first = said_by.setdefault(dim, name)
            if sizes.setdefault(dim, length) != length:
                faults.append(f"{name}: {dim} is {length}, but {sizes[dim]} in {first}")
    if "other_step" in sizes and sizes["other_step"] != sizes.get("step"):
        faults.append(f"other_step is {sizes['other_step']}, but step is {sizes.get('step')}")
    return sizes, faults


def _content_faults(arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> list[str]:
    faults = [
        f"dimension {dim} is empty"
        for dim, length in sizes.items()
        if length == 0 and dim != "answer_token"
    ]
    ids = [name for name in arrays.get("problem_id", np.empty(0)).ravel() if isinstance(name, str)]
    repeated = sorted({name for name in ids if ids.count(name) > 1})
    faults += [f"problem_id {name!r} occurs more than once" for name in repeated]
    return faults + [
        f"problem_id {name!r} holds a NUL or half a surrogate pair"
        for name in ids
        if name != storable(name)
    ]


def _without_empty_answers(
    arrays: dict[str, np.ndarray], sizes: dict[str, int]
) -> dict[str, np.ndarray]:
    """Where no problem of the shard has a gold answer, one column of padding: a dimension of size 0
    has no scale."""
    if sizes.get("answer_token") != 0:
        return arrays
    sizes["answer_token"] = 1
    return {
        name: _one_padded(array, name) if "answer_token" in dims_of(name) else array
        for name, array in arrays.items()
    }


def _one_padded(array: np.ndarray, name: str) -> np.ndarray:
    shape = tuple(
        1 if dim == "answer_token" else length
        for dim, length in zip(dims_of(name), array.shape, strict=True)
    )
    return np.full(shape, missing(array.dtype), array.dtype)


def storable(text: str) -> str:
    """The text as HDF5 can hold it: NUL becomes U+2400, half a surrogate pair becomes U+FFFD."""
    return (
        text.replace("\0", PAD_TEXT).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
