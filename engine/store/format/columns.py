"""Checking columns against the schema before anything is written: one error that names every fault.

Columns are a dict from variable name to an array with a leading problem dimension (per-shard ones
without it) or a list of strings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import ColumnsError
from .schema import VARIABLES, missing
from .variable import BASE_VERSION, Variable

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


def lacking(names: Collection[str]) -> list[str]:
    """The variables that a shard with these `names` lacks: those that every shard has, and, as soon
    as it has one of a trajectory's, all of them that every trajectory has."""
    has_trajectories = any(name in VARIABLES and VARIABLES[name].of_trajectory for name in names)
    required = []
    for row in VARIABLES.values():
        always = row.stored_if is None and row.since == BASE_VERSION
        if always and (has_trajectories or not row.of_trajectory):
            required.append(row.name)
    return [name for name in required if name not in names]


def check_columns(columns: Mapping[str, Column]) -> CheckedColumns:
    """The columns as arrays, or ColumnsError listing unknown and missing variables, wrong dtypes
    and wrong sizes."""
    faults = _name_faults(columns)
    arrays = {
        name: _as_array(column, VARIABLES[name])
        for name, column in columns.items()
        if name in VARIABLES
    }
    for name, array in arrays.items():
        faults += _dtype_faults(name, array)
    faults += _mixed_model_dtypes(arrays)
    sizes, wrong = _sizes(arrays)
    faults += wrong
    faults += _content_faults(arrays, sizes)
    if faults:
        raise ColumnsError(f"the columns of a shard do not fit the schema: {'; '.join(faults)}")
    return CheckedColumns(_without_empty_answers(arrays, sizes), sizes)


def _name_faults(columns: Mapping[str, Column]) -> list[str]:
    unknown = [f"unknown variable {name!r}" for name in columns if name not in VARIABLES]
    return unknown + [f"missing variable {name!r}" for name in lacking(columns)]


def _as_array(column: Column, row: Variable) -> np.ndarray:
    if row.dtype != "str" or isinstance(column, np.ndarray):
        return np.asarray(column)
    texts = np.empty(len(column), dtype=object)
    texts[:] = list(column)
    return texts


def _dtype_faults(name: str, array: np.ndarray) -> list[str]:
    row = VARIABLES[name]
    if row.dtype == "str":
        strange = [type(text).__name__ for text in array.ravel() if not isinstance(text, str)]
        return [f"{name}: expected strings, got {strange[0]}"] if strange else []
    allowed = _ALLOWED.get(row.dtype, (row.dtype,))
    if array.dtype.name in allowed:
        return []
    return [f"{name}: dtype {array.dtype.name}, expected {' or '.join(allowed)}"]


def _mixed_model_dtypes(arrays: Mapping[str, np.ndarray]) -> list[str]:
    of_model = [name for name in arrays if VARIABLES[name].dtype == "model"]
    dtypes = {name: arrays[name].dtype.name for name in of_model}
    if len(set(dtypes.values())) <= 1:
        return []
    listed = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
    return [f"variables in the model's dtype differ: {listed}"]


def _sizes(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, int], list[str]]:
    """The length of each dimension, by the first variable that has it; and who disagrees."""
    sizes: dict[str, int] = {}
    first_with: dict[str, str] = {}
    faults = []
    for name, array in arrays.items():
        dims = dims_of(name)
        if array.ndim != len(dims):
            faults.append(
                f"{name}: shape {array.shape}, expected the dimensions [{', '.join(dims)}]"
            )
            continue
        for dim, length in zip(dims, array.shape, strict=True):
            first_with.setdefault(dim, name)
            size = sizes.setdefault(dim, length)
            if size != length:
                faults.append(f"{name}: {dim} is {length}, but {size} in {first_with[dim]}")
    if "other_step" in sizes and sizes["other_step"] != sizes.get("step"):
        faults.append(f"other_step is {sizes['other_step']}, but step is {sizes.get('step')}")
    return sizes, faults


def _content_faults(arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> list[str]:
    empty = [dim for dim, length in sizes.items() if length == 0 and dim != "answer_token"]
    faults = [f"dimension {dim} is empty" for dim in empty]

    ids = [name for name in arrays.get("problem_id", np.empty(0)).ravel() if isinstance(name, str)]
    repeated = sorted(name for name, count in Counter(ids).items() if count > 1)
    faults += [f"problem_id {name!r} occurs more than once" for name in repeated]
    for name in ids:
        if name != storable(name):
            faults.append(f"problem_id {name!r} holds a NUL or half a surrogate pair")
    return faults


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
    """The array with one missing answer token in the place of none."""
    shape = list(array.shape)
    shape[dims_of(name).index("answer_token")] = 1
    return np.full(shape, missing(array.dtype), array.dtype)


def storable(text: str) -> str:
    """The text as HDF5 can hold it: NUL becomes U+2400, half a surrogate pair becomes U+FFFD."""
    without_nul = text.replace("\0", PAD_TEXT)
    return without_nul.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
