"""One variable of a run as an array that reads from the shards when it is indexed.

The leading dimension is the run's problems, wherever their rows lie. Dimensions whose length
differs between shards are padded to the longest. Indices are numpy's, one dimension at a time: of
each shard the smallest box around what they choose is read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import h5py
import numpy as np

from ..counts import count_text
from ..format.columns import dims_of
from ..format.elements import read_block
from ..format.schema import VARIABLES, missing

ROWS_AT_ONCE = 16

Opener = Callable[[int], AbstractContextManager[h5py.File]]
"""Opens a shard by number and keeps others from closing it while the context lasts."""


class Chosen(NamedTuple):
    """What an index chooses along one dimension: places from 0, and whether the dimension
    disappears (an integer)."""

    places: np.ndarray
    drop: bool


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
        return np.asarray(self[...], dtype=dtype or self.dtype)

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
            targets = np.flatnonzero(places[:, 0] == shard)
            with self._open(int(shard)) as file:
                _fill(out, targets, file[self.name], places[targets, 1], tail)
        return out


def _fill(
    out: np.ndarray,
    targets: np.ndarray,
    dataset: h5py.Dataset,
    rows: np.ndarray,
    tail: list[np.ndarray],
) -> None:
    """Read `rows` of the dataset, consecutive ones together, into the rows `targets` of `out`."""
    if dataset.ndim == 1:
        out[targets] = read_block(dataset, (0,), dataset.shape)[rows]
        return
    for start, count in ranges(np.unique(rows), longest=ROWS_AT_ONCE):
        chosen = np.flatnonzero((rows >= start) & (rows < start + count))
        values = _values(dataset, [np.arange(start, start + count), *tail])
        out[targets[chosen]] = values[rows[chosen] - start]


def _values(dataset: h5py.Dataset, places: list[np.ndarray]) -> np.ndarray:
    """The outer selection of `places`; what lies beyond a dimension of this shard is padding."""
    boxes = [box(along, length) for along, length in zip(places, dataset.shape, strict=True)]
    starts = [start for start, _ in boxes]
    counts = [count for _, count in boxes]
    raw = read_block(dataset, starts, counts)
    if all(_is_whole(along, count) for along, count in zip(places, counts, strict=True)):
        return raw

    out = _padding([len(along) for along in places], raw.dtype)
    targets = []
    sources = []
    for along, length, start in zip(places, dataset.shape, starts, strict=True):
        inside = along < length
        targets.append(inside)
        sources.append(along[inside] - start)
    out[np.ix_(*targets)] = raw[np.ix_(*sources)]
    return out


def _is_whole(places: np.ndarray, count: int) -> bool:
    """Whether places are all of their box of `count`, in order."""
    return len(places) == count and bool((np.diff(places) == 1).all())


def _padding(shape: list[int], dtype: np.dtype[Any]) -> np.ndarray:
    """An array in which every value is missing."""
    fill = "" if dtype.kind == "O" else missing(dtype)
    return np.full(shape, fill, dtype)


def choose(key: Any, shape: tuple[int, ...], *, name: str) -> list[Chosen]:
    """One `Chosen` for each dimension. Lists and masks choose within their own dimension (outer
    indexing).

    Raises IndexError for too many indices, or a place outside the array.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    dots = [place for place, item in enumerate(keys) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError(f"{name}: an index can hold only one `...`")
    given = len(keys) - len(dots)
    if given > len(shape):
        raise IndexError(
            f"{name}: {count_text(given, 'index', 'indices')} for "
            f"{count_text(len(shape), 'dimension')}"
        )

    everything = [slice(None)] * (len(shape) - given)
    if dots:
        keys[dots[0] : dots[0] + 1] = everything
    else:
        keys += everything
    return [_along(item, length, name) for item, length in zip(keys, shape, strict=True)]


def _along(item: Any, length: int, name: str) -> Chosen:
    if isinstance(item, slice):
        return Chosen(np.arange(length)[item], False)
    array = np.asarray(item)
    if array.dtype == bool and array.shape == (length,):
        return Chosen(np.flatnonzero(array), False)
    if array.size == 0 and array.ndim == 1:
        return Chosen(np.empty(0, np.int64), False)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise IndexError(
            f"{name}: cannot index by {item!r}; use integers, slices, lists of integers, or a mask "
            f"of length {length}"
        )
    outside = (array < -length) | (array >= length)
    if outside.any():
        raise IndexError(
            f"{name}: index {int(array[outside].flat[0])} is outside a dimension of length {length}"
        )
    return Chosen(np.atleast_1d(np.where(array < 0, array + length, array)), array.ndim == 0)


def box(places: np.ndarray, length: int) -> tuple[int, int]:
    """Start and count of the smallest range that holds all places below `length` (0, 0 if none)."""
    inside = places[places < length]
    if not inside.size:
        return 0, 0
    start = int(inside.min())
    return start, int(inside.max()) - start + 1


def ranges(sorted_places: np.ndarray, *, longest: int) -> list[tuple[int, int]]:
    """Ranges of consecutive places as (start, count), none longer than `longest`."""
    if not sorted_places.size:
        return []
    cuts = np.flatnonzero(np.diff(sorted_places) > 1) + 1
    pairs = []
    for part in np.split(sorted_places, cuts):
        for start in range(0, len(part), longest):
            pairs.append((int(part[start]), min(longest, len(part) - start)))
    return pairs
