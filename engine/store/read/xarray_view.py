"""A run as one lazy xarray.Dataset. The only file of the store that imports xarray, inside its
functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..format.columns import dims_of
from ..format.image import COORDINATES
from ..format.schema import VARIABLES
from .lazy import LazyArray

if TYPE_CHECKING:
    import xarray

    from .run import Run


def dataset_of(run: Run) -> xarray.Dataset:
    """All variables, with `problem_id`, `group_id`, `sample` and the index as coordinates; values
    are read when asked for.

    Raises ImportError saying what to install where xarray is not there or does not import.
    """
    try:
        import xarray
    except Exception as error:  # a pandas that does not fit raises anything
        raise ImportError(
            "run.to_xarray() needs the package xarray, whose import gives "
            f"{type(error).__name__}: {error}; type "
            "`pip install xarray`, or use run[name] without it"
        ) from error
    names = [name for name in run.variables if not VARIABLES[name].per_shard or name == "block"]
    variables = {
        name: xarray.Variable(dims_of(name), _lazy(run[name]), run[name].attrs) for name in names
    }
    dataset = xarray.Dataset(variables, coords=_coordinates(run, variables), attrs=_plain(run.info))
    if "problem_id" not in variables:
        return dataset
    # Runs made before schema 1.2 have no such variables, and one sample of each problem.
    named = {
        "group_id": ("problem", np.array(run.groups, object)),
        "sample": ("problem", run.samples),
    }
    return dataset.set_coords("problem_id").assign_coords(named)


def _coordinates(run: Run, variables: dict[str, Any]) -> dict[str, Any]:
    used = {dim for variable in variables.values() for dim in variable.dims}
    values = {
        dim: run.index if dim == "problem" else np.arange(size)
        for dim, size in run.sizes.items()
        if dim in used
    }
    return {
        dim: (dim, array.astype(np.int32), {"units": "1", "long_name": COORDINATES[dim]})
        for dim, array in values.items()
    }


def _plain(info: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if isinstance(value, str | int | float)}


def _lazy(array: LazyArray) -> Any:
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class Backed(BackendArray):
        """The lazy array behind xarray's own indexing, which asks for one selection in each
        dimension."""

        shape = array.shape
        dtype = array.dtype

        def __getitem__(self, key: Any) -> Any:
            return indexing.explicit_indexing_adapter(
                key, self.shape, indexing.IndexingSupport.OUTER, array.__getitem__
            )

    return indexing.LazilyIndexedArray(Backed())
