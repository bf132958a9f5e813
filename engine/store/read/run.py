"""Reading a run: one labelled, lazy view of all its shards that raises on anything missing and
never makes values up.

The truth is the shards that are there; `missing` lists the problems that have none yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..counts import count_text
from ..disk import file_sha256
from ..errors import DamagedRun, NotARun, NotStored
from ..format.columns import dims_of
from ..format.elements import memory_dtype
from ..format.header import VERIFY, Header, check_belongs, read_headers
from ..format.schema import VARIABLES
from ..format.stamp import is_intact
from ..write.hidden_sums import SumFile, in_force, read_sum, read_sum_file, sum_paths
from .lazy import LazyArray
from .open_files import OpenFiles

if TYPE_CHECKING:
    import xarray

    from ...problems.read import Problem


PROBLEMS_DIGESTS = "problems_sha256"
"""Key of run.json: the sha256 of problems.jsonl; while it grows, of the old and the new one."""

_COPY = "copy it again from where the run was made"


def open_run(path: str | Path) -> Run:
    """Open a run directory for reading.

    Raises NotARun if the directory or `run.json` is not there, DamagedRun if a shard that a
    manifest names is missing or cut short, or if shards do not belong together.
    """
    return Run(Path(path))


class Run:
    """A run directory. `run["entropy"]` is a lazy array whose leading dimension is `run.ids`; see
    `LazyArray`."""

    def __init__(self, path: Path, *, open_files: int = 32) -> None:
        self.path = path
        self.info: dict[str, Any] = read_info(path)
        self._headers = read_headers(path)
        for header in self._headers:
            check_belongs(header, self.info, path)
        self._stored = _stored_everywhere(self._headers)
        self._places, self.ids, self.index = _rows(self._headers)
        self._rows_of: dict[str, int] = {name: row for row, name in enumerate(self.ids)}
        self._files = OpenFiles([header.path for header in self._headers], limit=open_files)

    @cached_property
    def problems(self) -> list[Problem]:
        """All problems of the run, in the order of problems.jsonl, also those that are not stored
        yet."""
        problems = stored_problems(self.path)
        place_of = {problem.id: place for place, problem in enumerate(problems)}
        places = zip(self.ids, self.index.tolist(), strict=True)
        strange = [name for name, place in places if place_of.get(name) != place]
        if strange:
            raise DamagedRun(
                f"{self.path / 'problems.jsonl'} does not fit the shards: "
                f"{count_text(len(strange), 'stored problem')} not in it or elsewhere, the first "
                f"{strange[0]!r}; {_COPY}"
            )
        return problems

    @cached_property
    def groups(self) -> list[str]:
        """The id in the input of each row's problem, which samples and branches of it share; the
        row's own id in a run of one sample each."""
        group_of = {problem.id: problem.group_id for problem in self.problems}
        return [group_of[name] for name in self.ids]

    @cached_property
    def samples(self) -> np.ndarray:
        """[problem] which sample of its problem each row is, from 0; all 0 in a run of one sample
        each."""
        sample_of = {problem.id: problem.sample for problem in self.problems}
        return np.array([sample_of[name] for name in self.ids], np.int32)

    @property
    def missing(self) -> list[str]:
        """Ids of problems of the run that no shard holds yet, in problems.jsonl order."""
        return [problem.id for problem in self.problems if problem.id not in self._rows_of]

    @property
    def variables(self) -> list[str]:
        """The names of the variables that every shard stores, in schema order."""
        return list(self._stored)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each dimension; `answer_token` is the longest of all shards."""
        dims = self._headers[0].sizes if self._headers else {}
        longest = {dim: self._length(dim) for dim in dims}
        return {**longest, "problem": len(self.ids)}

    def row(self, problem_id: str) -> int:
        """The row of a problem. NotStored (a KeyError) if there is none."""
        if problem_id not in self._rows_of:
            raise NotStored(
                f"problem {problem_id!r} is not stored in {self.path}; see `run.ids` and "
                "`run.missing`"
            )
        return self._rows_of[problem_id]

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, variable: object) -> bool:
        return variable in self._stored or (variable == "hidden_sum" and bool(self._sum_files))

    @cached_property
    def _sum_files(self) -> list[SumFile]:
        """The files of sums that count, each over some of the shards."""
        names = [header.path.name for header in self._headers]
        return in_force([read_sum_file(path) for path in sum_paths(self.path)], names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __repr__(self) -> str:
        return (
            f"<Run {self.path}: {count_text(len(self), 'problem')} in "
            f"{count_text(len(self._headers), 'shard')}, "
            f"{count_text(len(self.variables), 'variable')}>"
        )

    def __getitem__(self, name: str) -> LazyArray:
        self._check_stored(name)
        if VARIABLES[name].per_shard and name != "block":
            raise NotStored(f"{name} has one value for each shard; use run.shard_sum({name!r})")
        shape = tuple(self.sizes[dim] for dim in dims_of(name))
        with self._files.open(0) as file:
            dtype = memory_dtype(file[name])
            attrs = _plain_attrs(file[name])
        return LazyArray(
            name,
            shape=shape,
            dtype=dtype,
            attrs=attrs,
            places=self._places,
            opener=self._files.open,
        )

    def blocks(
        self, names: Sequence[str], *, max_problems: int = 64
    ) -> Iterator[dict[str, np.ndarray]]:
        """The variables in blocks of at most `max_problems` problems, shard by shard, so that
        memory stays bounded.

        Each block also has "row" [problem]: the run's row numbers of its problems. Every problem
        comes exactly once.
        """
        arrays = {name: self[name] for name in names}
        order = np.lexsort((self._places[:, 1], self._places[:, 0]))
        for rows in _within_shards(order, self._places[order, 0], max_problems):
            block = {
                name: array[...] if VARIABLES[name].per_shard else array[rows]
                for name, array in arrays.items()
            }
            yield {**block, "row": rows}

    def shard_sum(self, name: str) -> tuple[np.ndarray, int]:
        """Sum of a per-shard variable over all problems (float64), and their number.

        Raises DamagedRun where a problem lies in two shards, since no sum over shards counts it
        once, and where some shard is in no sum.
        """
        self._check_stored(name)
        if not VARIABLES[name].per_shard:
            raise NotStored(f"{name} has one value for each problem; use run[{name!r}]")
        kept = np.bincount(self._places[:, 0], minlength=len(self._headers))
        total = np.zeros([self._length(dim) for dim in dims_of(name)], np.float64)
        summed = {shard for sum_file in self._sum_files for shard in sum_file.shards}
        for number, header in enumerate(self._headers):
            in_file = header.path.name in summed
            if not kept[number] and not in_file:
                continue
            n_problems = len(header.problem_ids)
            if kept[number] != n_problems:
                raise DamagedRun(
                    f"shard {header.path} repeats problems of an earlier one, so {name} counts "
                    f"them twice; {VERIFY}"
                )
            if name in header.stored:
                with self._files.open(number) as file:
                    total += file[name][...]
            elif not in_file:
                raise DamagedRun(
                    f"no file in {self.path / 'sums'} is over shard {header.path.name}, so {name} "
                    f"lacks its {count_text(n_problems, 'problem')}; copy the directory sums again"
                )
        for sum_file in self._sum_files:
            total += read_sum(sum_file.path)
        return total, int(kept.sum())

    def _length(self, dim: str) -> int:
        return max(header.sizes[dim] for header in self._headers)

    def to_xarray(self) -> xarray.Dataset:
        """All variables as one lazy xarray.Dataset. Needs the package xarray; a clear ImportError
        without it."""
        from .xarray_view import dataset_of

        return dataset_of(self)

    def close(self) -> None:
        """Close the shards that are open; the run stays usable."""
        self._files.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_stored(self, name: str) -> None:
        if name in self:
            return
        if name not in VARIABLES:
            raise NotStored(f"no variable {name!r}; a run can hold {', '.join(VARIABLES)}")
        if not self._headers:
            raise NotStored(f"{self.path} holds no finished problem yet, so there is no {name!r}")
        raise NotStored(
            f"{name!r} was not stored in {self.path}; stored are {', '.join(self.variables)}"
        )


def read_info(path: Path) -> dict[str, Any]:
    """The contents of run.json. Raises NotARun if it is not there, DamagedRun if it is not a JSON
    object."""
    file = path / "run.json"
    if not file.is_file():
        raise NotARun(
            f"{path} is not a run: it has no run.json; give the directory that `diffengine run` "
            "wrote"
        )
    try:
        info = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise DamagedRun(f"{file} is not valid JSON: {error}; {_COPY}") from error
    if not isinstance(info, dict):
        raise DamagedRun(f"{file} holds a {type(info).__name__}, expected an object")
    if not is_intact(info):
        raise DamagedRun(f"{file} is damaged: its content is not that of its checksum; {_COPY}")
    return info


def stored_problems(path: Path) -> list[Problem]:
    """The problems in problems.jsonl. Raises NotARun if it is not there."""
    from ...problems.normal_form import load_problems

    file = path / "problems.jsonl"
    if not file.is_file():
        raise NotARun(
            f"{file} is missing; a run keeps its problems there, copy the run directory whole"
        )
    recorded = read_info(path).get(PROBLEMS_DIGESTS)
    if recorded is not None and file_sha256(file) not in recorded:
        raise DamagedRun(f"{file} is damaged: its sha256 is not the one in run.json; {_COPY}")
    return list(load_problems(file))


def _stored_everywhere(headers: list[Header]) -> list[str]:
    """A run that was continued by a later version may hold a variable in its newer shards only."""
    if not headers:
        return []
    return [name for name in VARIABLES if all(name in header.stored for header in headers)]


def _rows(headers: list[Header]) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Where each problem lies [problem, 2], its id and index, in `index` order; the first shard of
    a problem counts."""
    seen: dict[str, tuple[int, str, int, int]] = {}
    for number, header in enumerate(headers):
        for row, (name, index) in enumerate(zip(header.problem_ids, header.places, strict=True)):
            seen.setdefault(name, (index, name, number, row))
    rows = sorted(seen.values())
    places = np.array([(number, row) for _, _, number, row in rows], np.int64).reshape(-1, 2)
    names = [name for _, name, _, _ in rows]
    indices = np.array([index for index, _, _, _ in rows], np.int64)
    return places, names, indices


def _within_shards(order: np.ndarray, shards: np.ndarray, longest: int) -> Iterator[np.ndarray]:
    for shard in np.unique(shards):
        rows = order[shards == shard]
        for start in range(0, len(rows), longest):
            yield rows[start : start + longest]


def _plain_attrs(dataset: h5py.Dataset) -> dict[str, Any]:
    names = ("units", "long_name", "pad_value", "flag_values", "flag_meanings")
    return {name: dataset.attrs[name] for name in names if name in dataset.attrs}
