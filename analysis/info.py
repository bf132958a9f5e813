"""What an analysis says of its run beside the quantities: counts, settings, coverage, warnings.

The keys of `Analysis.info`. They are stored as JSON in `analysis.h5` (`records`), the arrays as
data sets of the group `info`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from ..engine.registry import Plugin

if TYPE_CHECKING:
    from .findings.own_ends import OwnEnds


class Seen(TypedDict):
    """What an analysis was made from: number of problems, and a digest of ids and shards."""

    n_problems: int
    digest: str


class Info(TypedDict, total=False):
    """`block` [step], -1 where a step has no block of its own; `block_length` 0 without blocks;
    `read_offset` as in run.json; `of_blocks` is there where decoding goes block by block;
    `accuracy_interval`, `whole_interval` lower and upper end at 95 %; `to_come` names what was
    still to be computed when this was saved; `own_ends` is there only where problems end at
    different steps, of what only a running one has; `stale` says how the run has changed since;
    `plugins` is there only where code that is not ours took part, `branching` only where there are
    branch runs, `interventions` only where branches had some: rows of
    `analysis/branching/effect_table.py`; `n_samples` and `lm_eval_shares` (share, lower and upper
    end) only where problems have several samples: then `n_problems` counts problems, and all counts
    by verdict or rule, `n_asked` and `missing` are of samples."""

    run: str
    run_id: str
    model: str
    data: str
    steps: int
    gen_length: int
    block_length: int
    block: np.ndarray
    read_offset: int
    of_blocks: bool

    n_problems: int
    n_samples: int
    n_correct: int
    n_wrong: int
    n_unextracted: int
    n_no_gold: int
    n_ambiguous: int
    accuracy_interval: list[float]
    slot_counts: dict[str, int]
    lm_eval: dict[str, int] | None
    lm_eval_shares: dict[str, list[float]] | None
    grade_rules: dict[str, int]

    n_asked: int
    missing: list[str]
    unfinished: str
    scope: str
    whole_interval: list[float] | None
    seen: Seen

    settings: dict[str, Any]
    spike_status: dict[str, str]
    spike_totals: dict[str, dict[str, Any]]
    s_curve_aicc: dict[str, float]
    own_ends: dict[str, OwnEnds]
    plugins: list[Plugin]
    warnings: list[str]

    branching: dict[str, Any]
    interventions: list[dict[str, Any]]

    mutual_information: dict[str, Any]
    tsne: dict[str, Any]
    tsne_points: np.ndarray
    tsne_step: np.ndarray
    tsne_problem: np.ndarray
    tsne_centroid: np.ndarray

    to_come: list[str]
    stale: str
