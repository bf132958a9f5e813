"""Indexing by label-free numpy rules, one dimension at a time: what an index chooses, and the
smallest box around it.

Pure functions over index arrays; knows nothing of files.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Chosen(NamedTuple):
    """What an index chooses along one dimension: places from 0, and whether the dimension
    disappears (an integer)."""

    places: np.ndarray
    drop: bool


def choose(key: Any, shape: tuple[int, ...], *, name: str) -> list[Chosen]:
    """One `Chosen` for each dimension. Lists and masks choose within their own dimension (outer
    indexing).

    Raises IndexError for too many indices, or a place outside the array.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    if sum(item is Ellipsis for item in keys) > 1:
        raise IndexError(f"{name}: an index can hold only one `...`")
    given = len([item for item in keys if item is not Ellipsis])
    if given > len(shape):
        raise IndexError(f"{name}: {given} indices for {len(shape)} dimensions")
    rest = [slice(None)] * (len(shape) - given)
    at = next((place for place, item in enumerate(keys) if item is Ellipsis), None)
    keys = keys + rest if at is None else keys[:at] + rest + keys[at + 1 :]
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
            f"{name}: cannot index by {item!r}; use integers, slices, lists of integers, or a "
            f"mask of length {length}"
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
    return (int(inside.min()), int(inside.max() - inside.min()) + 1) if inside.size else (0, 0)


def runs(sorted_places: np.ndarray, *, longest: int) -> list[tuple[int, int]]:
    """Ranges of consecutive places as (start, count), none longer than `longest`."""
    if not sorted_places.size:
        return []
    cuts = np.flatnonzero(np.diff(sorted_places) > 1) + 1
    parts = [
        part[at : at + longest]
        for part in np.split(sorted_places, cuts)
        for at in range(0, len(part), longest)
    ]
    return [(int(part[0]), len(part)) for part in parts]
