"""What a run is, and what about it a reader of its analysis must know: counts, settings,
warnings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engine.store.drawing import DRAWING, Coverage, coverage
from ..metrics.slot import SLOT_STATUS
from ..metrics.trajectories import Trajectories, steps_of
from ..provenance import seen
from ..shares import wilson
from .accuracy import AMBIGUOUS, CORRECT, Counts

if TYPE_CHECKING:
    from ...engine.store import Run


def facts(
    run: Run, trajectories: Trajectories, counts: Counts, block: np.ndarray
) -> dict[str, Any]:
    """The `info` of an analysis that does not depend on its settings."""
    config = run.info["config"]
    held = coverage(run)
    return {
        "run": Path(run.path).name,
        "run_id": str(run.info.get("run_id", "")),
        "model": str(run.info["model"]["path"]),
        "data": str(run.info.get("data", {}).get("source", "")),
        "n_problems": len(run.ids),
        "n_correct": counts.correct,
        "n_wrong": counts.wrong,
        "n_unextracted": counts.unextracted,
        "n_no_gold": counts.no_gold,
        "n_ambiguous": counts.ambiguous,
        "steps": steps_of(run),
        "gen_length": int(config["gen_length"]),
        "block_length": int(config["block_length"]),
        "block": block,
        "accuracy_interval": list(wilson(counts.correct, counts.graded)),
        "n_asked": held.asked,
        "missing": [*held.pending, *held.given_up],
        "unfinished": held.note,
        "scope": held.scope,
        "whole_interval": whole_interval(run, counts, held),
        "seen": seen(run),
        "slot_counts": {
            name: int((trajectories.columns["slot_status"] == code).sum())
            for code, name in enumerate(SLOT_STATUS)
        },
        "lm_eval": lm_eval_counts(run),
        "grade_rules": grade_rules(run),
        "warnings": _warnings(run, trajectories),
    }


def whole_interval(run: Run, counts: Counts, held: Coverage) -> list[float] | None:
    """95 % interval of the accuracy over all problems of an unfinished run, from the stored ones;
    None where the run is finished, nothing is graded, or the stored problems are no random draw,
    which no interval can mend."""
    if not held.pending or not held.random or not counts.graded:
        return None
    pending = set(held.pending)
    to_grade = sum(problem.id in pending and problem.answer is not None for problem in run.problems)
    return list(wilson(counts.correct, counts.graded, whole=counts.graded + to_grade))


def block_of_step(run: Run) -> np.ndarray:
    """[step] the block that each step works on, as recorded, or from the run's configuration."""
    steps = steps_of(run)
    if "block" in run:
        recorded = np.asarray(run["block"][...])
        if recorded.size:
            return recorded.reshape(-1, steps)[0].astype(np.int32)
    config = run.info["config"]
    blocks = max(1, config["gen_length"] // config["block_length"])
    return (np.arange(steps) // max(1, steps // blocks)).astype(np.int32)


def lm_eval_counts(run: Run) -> dict[str, int] | None:
    """Problems that lm-eval's gsm8k filters call right (`strict`, `flexible`), of `n` with a gold
    answer; None if the run has no text. Made from the recorded text: the filters look at nothing
    else."""
    if "generated_text" not in run:
        return None
    from ...engine.answers.grade import lm_eval_flexible, lm_eval_strict

    gold = {problem.id: problem.answers for problem in run.problems}
    texts = zip(
        (gold[name] for name in run.ids),
        np.asarray(run["generated_text"][...]).tolist(),
        strict=True,
    )
    pairs = [(text, answers) for answers, text in texts if answers]
    return {
        "strict": sum(
            any(lm_eval_strict(text, answer) for answer in answers) for text, answers in pairs
        ),
        "flexible": sum(
            any(lm_eval_flexible(text, answer) for answer in answers) for text, answers in pairs
        ),
        "n": len(pairs),
    }


def grade_rules(run: Run) -> dict[str, int]:
    """How often each grading rule decided, most frequent first; empty if the run has none
    recorded."""
    if "grade_rule" not in run:
        return {}
    rules, counts = np.unique(np.asarray(run["grade_rule"][...]).astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(rules[at]) or "none found": int(counts[at]) for at in order}


def _ungraded(rules: dict[str, int]) -> list[str]:
    """Answers that were to be compared as expressions and were compared as text."""
    reasons = {
        "math_verify_absent": "Math-Verify was not installed or did not import (extra `math`)",
        "math_verify_timeout": "Math-Verify took too long",
        "math_verify_failed": "Math-Verify could not read them",
    }
    counts = {word: sum(n for rule, n in rules.items() if rule.endswith(word)) for word in reasons}
    return [
        f"{counts[word]} answers that are no numbers were compared as text and may be right where "
        "they count as wrong: "
        f"{why}"
        for word, why in reasons.items()
        if counts[word]
    ]


def _why_not_random(run: Run) -> str:
    if run.info.get("drawing") != DRAWING:
        return (
            "run.json names no drawing order, so it was decoded shortest prompt first, and "
            "those are easier"
        )
    return (
        "those stored are not the first in drawing order (--ids, --limit, or problems added to "
        "the run later)"
    )


def _warnings(run: Run, trajectories: Trajectories) -> list[str]:
    columns = trajectories.columns
    defined = columns["slot_status"] == 0
    length = columns["answer_end"] - columns["answer_start"]
    other_length = int((defined & (length != columns["gold_length"])).sum())
    too_long = int((columns["slot_status"] == SLOT_STATUS.index("does_not_fit")).sum())
    unseen = int(((columns["verdict"] == CORRECT) & (columns["stable_hit_step"] < 0)).sum())
    stored = set(run.ids)
    several = sum(bool(problem.accepted) for problem in run.problems if problem.id in stored)
    found = [
        (
            too_long,
            "problems: the gold answer does not fit between its start and the end of the canvas; "
            "no slot",
        ),
        (
            other_length,
            "problems: gold and extracted answer differ in length; the slot is as long as gold",
        ),
        (
            unseen,
            "problems are correct, but not in gold's own tokens at the slot: never hit in the "
            "emergence numbers",
        ),
        (
            int((columns["verdict"] == AMBIGUOUS).sum()),
            "problems: the answer is a number that two conventions read differently (`12,5`), "
            "right in one of them; "
            "counted as not correct, the verdict is `ambiguous`",
        ),
        (
            trajectories.mismatched_masks,
            "problems: n_masked contradicts the recorded commits; run `diffengine verify`",
        ),
        (
            several,
            "problems have several accepted answers: any counts as correct, but confidence, "
            "emergence and "
            "information are those of the first",
        ),
    ]
    warnings = [f"{number} {text}" for number, text in found if number] + _ungraded(
        grade_rules(run)
    )
    held = coverage(run)
    if held.note:
        warnings.insert(
            0, f"{held.note}: every figure here is over the {held.stored} stored ones alone"
        )
    if held.pending and not held.random:
        warnings.insert(
            1, f"no interval here holds for all {held.whole} problems: {_why_not_random(run)}"
        )
    if run.info["config"].get("record", "all") != "all":
        warnings.append(
            "recorded with --record masked: quantities over all or committed positions are not "
            "available"
        )
    return warnings
