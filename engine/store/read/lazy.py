"""One variable of a run as an array that reads from the shards when it is indexed.

The leading dimension is the run's problems, wherever their rows lie. Dimensions whose length
differs between shards are padded to the longest. Knows rows and shards, not what the values mean.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import h5py
import numpy as np

from ..format.columns import dims_of
from ..format.elements import read_block
from ..format.schema import VARIABLES, missing
from .selection import Chosen, box, choose, runs

ROWS_AT_ONCE = 16

Opener = Callable[[int], AbstractContextManager[h5py.File]]
"""Opens a shard by number and keeps others from closing it while the context lasts."""


class LazyArray:
    """A variable of a run: `.dims .shape .dtype .attrs`, and numpy values of whatever is indexed.

    Integers, slices, lists and masks, each for its own dimension. bfloat16 arrives as float32,
    strings as objects.
    """

    def __init__(
        self,
        name: str,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        attrs: dict[str, Any],
        places: np.ndarray,
        opener: Opener,
    ) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.attrs = attrs
        self.dims = dims_of(name)
        self._places = places  # [problem, 2]: shard number and row in it
        self._open = opener

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{dim}: {length}" for dim, length in zip(self.dims, self.shape, strict=True)
        )
        return f"<{self.name} ({sizes}) {self.dtype} [{self.attrs.get('units', '')}]>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{self.name} lies on disk; its values cannot be had without a copy")
        return self[...].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> Any:
        chosen = choose(key, self.shape, name=self.name)
        result = self._read(chosen)
        return result[tuple(0 if each.drop else slice(None) for each in chosen)]

    def _read(self, chosen: list[Chosen]) -> np.ndarray:
        out = _padding([len(each.places) for each in chosen], self.dtype)
        if VARIABLES[self.name].per_shard:
            with self._open(0) as file:
                out[...] = _values(file[self.name], [each.places for each in chosen])
            return out
        tail = [each.places for each in chosen[1:]]
        places = self._places[chosen[0].places]
        for shard in np.unique(places[:, 0]):
            here = np.flatnonzero(places[:, 0] == shard)
            with self._open(int(shard)) as file:
                _fill(out, here, file[self.name], places[here, 1], tail)
        return out


def _fill(
    out: np.ndarray,
    here: np.ndarray,
    dataset: h5py.Dataset,
    rows: np.ndarray,
    tail: list[np.ndarray],
) -> None:
    """Read `rows` of the dataset, consecutive ones together, into the places `here` of `out`."""
    if dataset.ndim == 1:
        out[here] = read_block(dataset, (0,), dataset.shape)[rows]
        return
    for start, count in runs(np.unique(rows), longest=ROWS_AT_ONCE):
        targets = np.flatnonzero((rows >= start) & (rows < start + count))
        values = _values(dataset, [np.arange(start, start + count), *tail])
        out[here[targets]] = values[rows[targets] - start]


def _values(dataset: h5py.Dataset, places: list[np.ndarray]) -> np.ndarray:
    """The outer selection of `places`; what lies beyond a dimension of this shard is padding."""
    boxes = [box(along, length) for along, length in zip(places, dataset.shape, strict=True)]
    raw = read_block(dataset, [start for start, _ in boxes], [count for _, count in boxes])
    if all(
        len(along) == count and _consecutive(along)
        for along, (_, count) in zip(places, boxes, strict=True)
    ):
        return raw
    inside = [along < length for along, length in zip(places, dataset.shape, strict=True)]
    out = _padding([len(along) for along in places], raw.dtype)
    picked = [
        along[here] - start for along, here, (start, _) in zip(places, inside, boxes, strict=True)
    ]
    out[np.ix_(*inside)] = raw[np.ix_(*picked)]
    return out


def _padding(shape: list[int], dtype: np.dtype[Any]) -> np.ndarray:
    """An array in which every value is missing."""
    fill = "" if dtype.kind == "O" else missing(dtype)
    return np.full(shape, fill, dtype)


def _consecutive(places: np.ndarray) -> bool:
    return bool((np.diff(places) == 1).all())
