"""What a run is, and what about it a reader of its analysis must know: counts, coverage, how its
answers were graded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...engine.store.drawing import Coverage, coverage
from ..groups import Groups
from ..info import Info
from ..metrics.block import SLOT_STATUS
from ..metrics.trajectories import Trajectories, block_length_of, steps_of
from ..provenance import seen
from ..shares import finite_factor, share_over_problems, wilson
from .accuracy import Counts, accuracy_of, correctness, count
from .warnings import warnings_of

if TYPE_CHECKING:
    from ...engine.store import Run


def about_run(run: Run, trajectories: Trajectories, counts: Counts) -> Info:
    """The `info` of an analysis that does not depend on its settings."""
    config = run.info["config"]
    held = coverage(run)
    rules = grade_rules(run)
    status = trajectories.columns["slot_status"]
    slots = {}
    for code, name in enumerate(SLOT_STATUS):
        slots[name] = int((status == code).sum())
    verdict = trajectories.columns["verdict"]
    groups = trajectories.groups
    info: Info = {
        "run": Path(run.path).name,
        "run_id": str(run.info.get("run_id", "")),
        "model": str(run.info["model"]["path"]),
        "data": str(run.info.get("data", {}).get("source", "")),
        "n_problems": groups.count(),
        "n_correct": counts.correct,
        "n_wrong": counts.wrong,
        "n_unextracted": counts.unextracted,
        "n_no_gold": counts.no_gold,
        "n_ambiguous": counts.ambiguous,
        "steps": steps_of(run),
        "gen_length": int(config["gen_length"]),
        "block_length": block_length_of(run),
        "block": block_of_step(run),
        "read_offset": int(run.info["model"].get("read_offset") or 0),
        "accuracy_interval": accuracy_interval(verdict, groups),
        "n_asked": held.asked,
        "missing": [*held.pending, *held.given_up],
        "unfinished": held.note,
        "scope": held.scope,
        "whole_interval": whole_interval(run, verdict, held, groups),
        "seen": seen(run),
        "slot_counts": slots,
        "lm_eval": lm_eval_counts(run),
        "grade_rules": rules,
        "warnings": warnings_of(run, trajectories, held, rules),
    }
    if trajectories.of_blocks:
        info["of_blocks"] = True
    if not groups.is_plain:
        info["n_samples"] = len(run.ids)
        info["lm_eval_shares"] = lm_eval_shares(run, groups)
    return info


def accuracy_interval(verdict: np.ndarray, groups: Groups) -> list[float]:
    """95 % interval of the accuracy of `verdict` [row]; NaN where nothing is graded."""
    interval = accuracy_of(verdict, groups).interval
    return [] if interval is None else [float(end) for end in interval]


def whole_interval(
    run: Run, verdict: np.ndarray, held: Coverage, groups: Groups
) -> list[float] | None:
    """95 % interval of the accuracy over all problems of an unfinished run, from the stored ones;
    None where the run is finished, nothing is graded, or the stored problems are no random draw,
    which no interval can mend. A problem of which some samples are stored is drawn in part."""
    counts = count(verdict)
    if not held.pending or not held.random or not counts.graded:
        return None
    pending = set(held.pending)
    to_grade = [each for each in run.problems if each.id in pending and each.answer is not None]
    if groups.is_plain and not held.has_several:
        whole = counts.graded + len(to_grade)
        return list(wilson(counts.correct, counts.graded, whole=whole))

    values = correctness(verdict)
    graded = np.isfinite(values)
    names = [name for name, is_graded in zip(run.groups, graded, strict=True) if is_graded]
    stored = Counter(names)
    asked = stored + Counter(problem.group_id for problem in to_grade)
    part = sum(stored[name] / asked[name] for name in stored)
    share = share_over_problems(values, groups)
    low, high = share.bounds(counts_as=finite_factor(part, len(asked)))
    return [float(low), float(high)]


def lm_eval_shares(run: Run, groups: Groups) -> dict[str, list[float]] | None:
    """Of each of lm-eval's filters the share of samples that it calls right, mean over problems,
    and the ends of its 95 % interval; None if the run has no text."""
    passed = _lm_eval_passed(run)
    shares = {}
    for name, values in (passed or {}).items():
        share = share_over_problems(values, groups)
        shares[name] = [float(share.rate), *(float(end) for end in share.bounds())]
    return shares or None


def block_of_step(run: Run) -> np.ndarray:
    """[step] the block that each step works on, as recorded, or from the run's configuration; -1
    where the policy has no blocks, or problems are at different ones."""
    steps = steps_of(run)
    if not block_length_of(run):
        return np.full(steps, -1, np.int32)
    if "block" in run:
        recorded = np.asarray(run["block"][...])
        if recorded.size:
            return np.asarray(recorded.reshape(-1, steps)[0], np.int32)
    config = run.info["config"]
    blocks = max(1, int(config["gen_length"]) // block_length_of(run))
    steps_of_block = max(1, steps // blocks)
    return np.asarray(np.arange(steps) // steps_of_block, np.int32)


def lm_eval_counts(run: Run) -> dict[str, int] | None:
    """Problems that lm-eval's gsm8k filters call right (`strict`, `flexible`), of `n` with a gold
    answer; None if the run has no text. Made from the recorded text: the filters look at nothing
    else."""
    passed = _lm_eval_passed(run)
    if passed is None:
        return None
    counts = {name: int(np.nansum(values)) for name, values in passed.items()}
    return counts | {"n": int(np.isfinite(passed["strict"]).sum())}


def _lm_eval_passed(run: Run) -> dict[str, np.ndarray] | None:
    """`strict`, `flexible` [row]: 1 where the filter calls the text right, 0 where not, NaN without
    a gold answer; None if the run has no text."""
    if "generated_text" not in run:
        return None
    from ...engine.answers.grade import lm_eval_flexible, lm_eval_strict

    accepted = {problem.id: problem.answers for problem in run.problems}
    texts = np.asarray(run["generated_text"][...]).tolist()
    passed = {"strict": np.full(len(texts), np.nan), "flexible": np.full(len(texts), np.nan)}
    for row, (name, text) in enumerate(zip(run.ids, texts, strict=True)):
        answers = accepted[name]
        if answers:
            passed["strict"][row] = any(lm_eval_strict(text, answer) for answer in answers)
            passed["flexible"][row] = any(lm_eval_flexible(text, answer) for answer in answers)
    return passed


def grade_rules(run: Run) -> dict[str, int]:
    """How often each grading rule decided, most frequent first; empty if the run has none
    recorded."""
    if "grade_rule" not in run:
        return {}
    recorded = np.asarray(run["grade_rule"][...]).astype(str)
    rules, counts = np.unique(recorded, return_counts=True)
    by_rule = {}
    for place in np.argsort(-counts, kind="stable"):
        rule = str(rules[place]) or "none found"
        by_rule[rule] = int(counts[place])
    return by_rule
