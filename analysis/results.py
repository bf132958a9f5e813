"""What an analysis hands over: named quantities with unit, sample size and uncertainty; and the
file they are kept in.

Plots, summary and dashboard read only this, never the run. Missing values are NaN in arrays, `None`
in scalar fields. Steps are counted from 0; a step is one forward pass of the sampler.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from ..engine.store.errors import DamagedRun
from ..engine.store.format.seal import append_seal, seal_fault
from ..engine.store.read.run import read_info
from ..engine.store.write.results import publish
from .display import analysis_repr
from .errors import SettingError
from .info import Info
from .provenance import staleness_beside
from .quantity import Quantity as Quantity
from .results_hdf5 import ANALYSIS_SCHEMA_VERSION as ANALYSIS_SCHEMA_VERSION
from .results_hdf5 import Parts, hdf5_image, read_parts, read_records


class Spike(NamedTuple):
    """One jump of the mean confidence. `gain` = after - before; `z` = gain / stderr, NaN where the
    rule has none. `at_block_boundary` is None where a step has no block of its own."""

    step: int
    gain: float
    stderr: float
    z: float
    confidence_before: float
    confidence_after: float
    at_block_boundary: bool | None


class SCurve(NamedTuple):
    """The original suite's threshold crossings (in steps, None if never) and the outcome of the
    model comparison.

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
    """One sign of the original suite's list. `verdict`: "seen", "not seen", or "no verdict: " and
    the reason."""

    name: str
    evidence: str
    verdict: str
    kind: str = "healthy"


@dataclass(frozen=True, repr=False)
class Analysis:
    """All results of one run. Read quantities by name: `analysis["entropy/all"]`.

    `problems` holds columns whose leading axis is the run's problems; `info` what is said of run
    and settings beside the quantities.
    """

    quantities: dict[str, Quantity]
    spikes: dict[str, list[Spike]]
    s_curve: SCurve
    patterns: list[Pattern]
    problems: dict[str, np.ndarray] = field(default_factory=dict)
    info: Info = field(default_factory=Info)

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
    image = io.BytesIO(hdf5_image(_parts(analysis)))
    append_seal(image)
    publish(path, image.getvalue())


def save_unfinished(analysis: Analysis, path: str | Path) -> None:
    """`save_analysis`, except that a finished analysis at `path` stays: half of a new one is worth
    less than it.

    Unfinished is one whose `info["to_come"]` names what was still to come. Raises OSError as
    `save_analysis` does.
    """
    if not _is_finished(Path(path)):
        save_analysis(analysis, path)


def _is_finished(path: Path) -> bool:
    try:
        return not read_records(path)["info"].get("to_come")
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
        analysis = _analysis(read_parts(path))
        if stale := staleness_beside(analysis, path.parent):
            analysis.info["stale"] = stale
    except SettingError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise DamagedRun(f"{path} cannot be read: {error}; {again}") from error

    owner = analysis.info.get("run_id")
    holder = owner
    if owner and (path.parent / "run.json").is_file():
        holder = read_info(path.parent).get("run_id")
    if holder != owner:
        raise DamagedRun(f"{path} is of the run {owner}, the one it lies in is {holder}; {again}")
    return analysis


def _parts(analysis: Analysis) -> Parts:
    arrays: dict[str, np.ndarray] = {}
    plain: dict[str, Any] = {}
    for name, value in analysis.info.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            plain[name] = value
    records = {
        "spikes": analysis.spikes,
        "s_curve": analysis.s_curve,
        "patterns": analysis.patterns,
        "info": plain,
    }
    return Parts(analysis.quantities, analysis.problems, arrays, records)


def _analysis(parts: Parts) -> Analysis:
    records = parts.records
    spikes = {
        rule: [Spike(*spike) for spike in spikes] for rule, spikes in records["spikes"].items()
    }
    return Analysis(
        quantities=parts.quantities,
        spikes=spikes,
        s_curve=SCurve(*records["s_curve"]),
        patterns=[Pattern(*pattern) for pattern in records["patterns"]],
        problems=parts.problems,
        info=cast(Info, records["info"] | parts.arrays),
    )
