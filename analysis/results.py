"""What an analysis hands over: named quantities with unit, sample size and uncertainty; and the
file they are kept in.

Plots, summary and dashboard read only this, never the run. Knows nothing of how a quantity is
computed. Missing values are NaN in arrays, `None` in scalar fields. Steps are counted from 0; a
step is one forward pass of the sampler.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..engine.store.errors import DamagedRun
from ..engine.store.format.seal import append_seal, seal_fault
from ..engine.store.read.run import read_info
from .display import analysis_repr, quantity_repr
from .errors import SettingError
from .provenance import staleness_beside
from .publish import publish

if TYPE_CHECKING:
    import h5py

ANALYSIS_SCHEMA_VERSION = "1.0"


class Quantity(NamedTuple):
    """One measured quantity. `n` is the number of problems behind it, one number or one for each
    entry of `values`.

    `dims` names the axes (`step`, `other_step`; `()` for a single number). `stderr` has the shape
    of `values` or is None where no standard error is defined, as for a share, whose 95 % `interval`
    [2, *values.shape] is given instead (lower and upper ends). `status` is "ok", or "insufficient:
    " and the reason; values may be NaN.
    """

    values: np.ndarray
    dims: tuple[str, ...]
    units: str
    n: int | np.ndarray
    stderr: np.ndarray | None
    status: str
    label: str
    interval: np.ndarray | None = None

    @property
    def ok(self) -> bool:
        """Whether the values may be shown as a result."""
        return self.status == "ok"

    def __repr__(self) -> str:
        return quantity_repr(self)


class Spike(NamedTuple):
    """One jump of the mean confidence. `gain` = after - before; `z` = gain / stderr, NaN where the
    rule has none."""

    step: int
    gain: float
    stderr: float
    z: float
    confidence_before: float
    confidence_after: float
    at_block_boundary: bool


class SCurve(NamedTuple):
    """The seed's threshold crossings (in steps, None if never) and the outcome of the model
    comparison.

    `model` is the model with the lowest AICc (None if nothing was fitted); `midpoint` and
    `length_10_90` are those of the logistic fit in steps, `amplitude` its rise in units of
    confidence, all NaN if not fitted; `delta_aicc` is the AICc of the best other model minus that
    of the logistic (positive: the logistic is better).
    """

    threshold_low: float
    threshold_high: float
    transition_start: int | None
    transition_end: int | None
    transition_length: int | None
    max_confidence: float
    final_confidence: float
    model: str | None
    midpoint: float
    length_10_90: float
    amplitude: float
    delta_aicc: float
    verdict: str
    reason: str
    midpoint_stderr: float = float("nan")
    amplitude_stderr: float = float("nan")
    gate_p: float = float("nan")


class Pattern(NamedTuple):
    """One sign of the seed's list. `verdict`: "seen", "not seen", or "no verdict: " and the
    reason."""

    name: str
    evidence: str
    verdict: str
    kind: str = "healthy"


@dataclass(frozen=True, repr=False)
class Analysis:
    """All results of one run. Read quantities by name: `analysis["entropy/all"]`.

    `problems` holds columns whose leading axis is the run's problems. `info` holds plain values and
    arrays: `run`, `model`, `n_problems`, `n_correct`, `n_wrong`, `n_unextracted`, `n_no_gold`,
    `steps`, `gen_length`, `block_length`, `block` (array over steps), `warnings` (list of str),
    `settings` (dict), and what `docs/analysis.md` lists beside.
    """

    quantities: dict[str, Quantity]
    spikes: dict[str, list[Spike]]
    s_curve: SCurve
    patterns: list[Pattern]
    problems: dict[str, np.ndarray] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Quantity:
        """The quantity `name`; KeyError naming the known ones."""
        try:
            return self.quantities[name]
        except KeyError:
            raise KeyError(
                f"no quantity {name!r} in this analysis; it has "
                f"{', '.join(sorted(self.quantities))}"
            ) from None

    def __contains__(self, name: str) -> bool:
        return name in self.quantities

    def __repr__(self) -> str:
        return analysis_repr(self)


def save_analysis(analysis: Analysis, path: str | Path) -> None:
    """Write `analysis` to `path` (HDF5), complete or not at all: built in memory, fsynced beside
    `path`, renamed.

    Raises OSError if the folder is missing or the disk is full; a file already at `path` then stays
    as it was.
    """
    publish(path, _image(analysis))


def save_unfinished(analysis: Analysis, path: str | Path) -> None:
    """`save_analysis`, except that a finished analysis at `path` stays: half of a new one is worth
    less than it.

    Unfinished is one whose `info["to_come"]` names what was still to come. Raises OSError as
    `save_analysis` does.
    """
    if not _is_finished(Path(path)):
        save_analysis(analysis, path)


def _is_finished(path: Path) -> bool:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return not json.loads(file["records"][()])["info"].get("to_come")
    except (OSError, KeyError, ValueError):  # none, or nothing that can be read
        return False


def load_analysis(path: str | Path) -> Analysis:
    """Read what `save_analysis` wrote, bit for bit. Where it lies in a run that has changed since,
    `info["stale"]` says so in a sentence, which every picture and text made from it repeats.

    Raises FileNotFoundError if there is none, SettingError (a ValueError) if it is of another
    schema version, DamagedRun if it is not as it was written
    or is of another run than the one it lies in.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no analysis at {path}; write it with `diffengine analyze {path.parent}`"
        )
    again = f"run `diffengine analyze {path.parent}` again"
    if fault := seal_fault(path, whole=True):
        raise DamagedRun(f"{path}: {fault}; {again}")
    try:
        analysis = _read(path)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, SettingError):
            raise
        raise DamagedRun(f"{path} cannot be read: {error}; {again}") from error
    owner = analysis.info.get("run_id")
    here = (
        read_info(path.parent).get("run_id")
        if owner and (path.parent / "run.json").is_file()
        else owner
    )
    if here != owner:
        raise DamagedRun(f"{path} is of the run {owner}, the one it lies in is {here}; {again}")
    return analysis


def _read(path: Path) -> Analysis:
    import h5py

    with h5py.File(path, "r") as file:
        version = file.attrs.get("analysis_schema_version")
        if version != ANALYSIS_SCHEMA_VERSION:
            raise SettingError(
                f"{path} has analysis_schema_version {version!r}, expected "
                f"{ANALYSIS_SCHEMA_VERSION!r}; "
                f"run `diffengine analyze {path.parent}` again"
            )
        records = json.loads(file["records"][()])
        analysis = Analysis(
            quantities={
                str(group.attrs["name"]): _read_quantity(group)
                for group in file["quantities"].values()
            },
            spikes={
                rule: [Spike(*spike) for spike in spikes]
                for rule, spikes in records["spikes"].items()
            },
            s_curve=SCurve(*records["s_curve"]),
            patterns=[Pattern(*pattern) for pattern in records["patterns"]],
            problems={
                str(item.attrs["name"]): _read_column(item) for item in file["problems"].values()
            },
            info=records["info"] | {name: item[()] for name, item in file["info"].items()},
        )
    if stale := staleness_beside(analysis, path.parent):
        analysis.info["stale"] = stale
    return analysis


def _image(analysis: Analysis) -> bytes:
    """The file as bytes. HDF5 itself never touches the disk: a full disk would bring the process
    down."""
    import h5py

    with h5py.File("analysis", "w", driver="core", backing_store=False, track_order=True) as file:
        file.attrs["analysis_schema_version"] = ANALYSIS_SCHEMA_VERSION
        scales: dict[str, h5py.Dataset] = {}
        group = file.create_group("quantities", track_order=True)
        for name, quantity in analysis.quantities.items():
            _write_quantity(group.create_group(name.replace("/", ".")), name, quantity, scales)
        columns = file.create_group("problems", track_order=True)
        for name, column in analysis.problems.items():
            _write_column(columns, name, column)
        arrays = {
            name: value for name, value in analysis.info.items() if isinstance(value, np.ndarray)
        }
        info = file.create_group("info", track_order=True)
        for name, array in arrays.items():
            info.create_dataset(name, data=array)
        plain = {name: value for name, value in analysis.info.items() if name not in arrays}
        file["records"] = json.dumps(
            {
                "spikes": analysis.spikes,
                "s_curve": analysis.s_curve,
                "patterns": analysis.patterns,
                "info": plain,
            }
        )
        file.flush()
        image = io.BytesIO(file.id.get_file_image())
    append_seal(image)
    return image.getvalue()


def _write_quantity(
    group: h5py.Group, name: str, quantity: Quantity, scales: dict[str, h5py.Dataset]
) -> None:
    group.attrs.update(
        name=name, long_name=quantity.label, status=quantity.status, dims=json.dumps(quantity.dims)
    )
    parts = {"values": quantity.values, "stderr": quantity.stderr, "n": quantity.n}
    if quantity.interval is not None:
        parts |= {"low": quantity.interval[0], "high": quantity.interval[1]}
    for part, values in parts.items():
        if values is None:
            continue
        data = group.create_dataset(part, data=values)
        data.attrs["units"] = "problems" if part == "n" else quantity.units
        for axis, dim in enumerate(quantity.dims[: data.ndim]):
            data.dims[axis].attach_scale(_scale(group.file, scales, dim, data.shape[axis]))


def _scale(file: h5py.File, scales: dict[str, h5py.Dataset], dim: str, length: int) -> h5py.Dataset:
    if dim not in scales:
        scales[dim] = file.create_dataset(dim, data=np.arange(length))
        scales[dim].make_scale(dim)
    if len(scales[dim]) != length:
        raise ValueError(
            f"dimension {dim!r} has length {length} in one quantity and {len(scales[dim])} in "
            "another"
        )
    return scales[dim]


def _write_column(group: h5py.Group, name: str, column: np.ndarray) -> None:
    import h5py

    text = column.dtype == object
    dtype = h5py.string_dtype() if text else column.dtype
    data = group.create_dataset(
        name.replace("/", "."), shape=column.shape, dtype=dtype, data=column
    )
    data.attrs["name"] = name


def _read_quantity(group: h5py.Group) -> Quantity:
    n = group["n"][()]
    return Quantity(
        values=np.asarray(group["values"][()]),
        dims=tuple(json.loads(group.attrs["dims"])),
        units=str(group["values"].attrs["units"]),
        n=n if isinstance(n, np.ndarray) else int(n),
        stderr=np.asarray(group["stderr"][()]) if "stderr" in group else None,
        status=str(group.attrs["status"]),
        label=str(group.attrs["long_name"]),
        interval=np.stack([group["low"][()], group["high"][()]]) if "low" in group else None,
    )


def _read_column(data: h5py.Dataset) -> np.ndarray:
    import h5py

    if h5py.check_string_dtype(data.dtype) is None:
        return data[()]
    return data.asstr()[()]
