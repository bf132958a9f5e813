"""What a reader of an analysis must be told before the numbers: problems that count in some of them
only, answers that could not be compared, and a run that is not finished.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...engine.store.counts import count_text
from ...engine.store.drawing import DRAWING, Coverage
from ...engine.store.format.verdicts import AMBIGUOUS, CORRECT
from ..groups import Groups, samples_asked
from ..limits import NO_TRAJECTORY
from ..metrics.block import SLOT_STATUS
from ..metrics.trajectories import Trajectories, keeps_answers_alone

if TYPE_CHECKING:
    from ...engine.store import Run

UNCOMPARED = {
    "math_verify_absent": "Math-Verify was not installed or did not import (extra `math`)",
    "math_verify_timeout": "Math-Verify took too long",
    "math_verify_failed": "Math-Verify could not read them",
}
"""End of a grading rule by which an expression was compared as text, and why it was."""

ANSWERS_ALONE = (
    f"{NO_TRAJECTORY}: accuracy, pass@k, majority vote and entropy of the answers are here; every "
    "curve over steps, what is made of curves, mutual information and the map are left out"
)
RECORDED_MASKED = (
    "recorded with --record masked: quantities over all or committed positions are not available"
)


def warnings_of(
    run: Run, trajectories: Trajectories, held: Coverage, rules: dict[str, int]
) -> list[str]:
    """Every warning that does not depend on settings; `held` and `rules` are what the run holds and
    how often each rule graded."""
    warnings = _of_coverage(run, held)
    if keeps_answers_alone(run):
        of_samples = _of_samples(run, trajectories.groups)
        return [ANSWERS_ALONE, *warnings, *of_samples, *_uncompared(rules)]
    for rows, text in _counts(run, trajectories):
        if rows:
            of_rows = (
                text if trajectories.groups.is_plain else text.replace("problems", "samples", 1)
            )
            warnings.append(f"{rows} {of_rows}")
    warnings += [*_of_samples(run, trajectories.groups), *_uncompared(rules)]
    if run.info["config"].get("record", "all") != "all":
        warnings.append(RECORDED_MASKED)
    return warnings + _of_temperature(run)


def _of_temperature(run: Run) -> list[str]:
    """What it means for guesses that tokens were drawn; the recorded distributions are those before
    temperature and filters."""
    temperature = float(run.info["config"].get("temperature") or 0.0)
    if temperature <= 0:
        return []
    return [
        f"temperature {temperature:g}: committed tokens were drawn, while a guess is the most "
        "probable token, so that a guess may change when its position commits, and an early exit "
        "is worth what filling with the most probable tokens gives; distributions are those before "
        "the temperature"
    ]


def _of_samples(run: Run, groups: Groups) -> list[str]:
    """What has to be known where problems do not have all their samples."""
    asked = samples_asked(run.problems)
    members = np.bincount(groups.number)
    fewer = int((members < asked).sum())
    if groups.is_plain or not fewer:
        return []
    return [
        f"{fewer} of {count_text(len(members), 'problem')} with fewer than "
        f"{count_text(asked, 'sample')}: each counts once all the same; pass@k is of problems with "
        f"k samples or more, majority vote and entropy of the answers of those with all {asked}"
    ]


def _of_coverage(run: Run, held: Coverage) -> list[str]:
    warnings = []
    if held.note:
        warnings.append(
            f"{held.note}: every figure here is over what is stored alone, {held.stored}"
        )
    if held.pending and not held.random:
        warnings.append(
            f"no interval here holds for the whole of {count_text(held.whole, 'problem')}: "
            f"{_why_not_random(run)}"
        )
    return warnings


def _why_not_random(run: Run) -> str:
    if run.info.get("drawing") != DRAWING:
        return (
            "run.json names no drawing order, so it was decoded shortest prompt first, and those "
            "are easier"
        )
    return (
        "those stored are not the first in drawing order (--ids, --limit, or problems added to the "
        "run later)"
    )


def _counts(run: Run, trajectories: Trajectories) -> list[tuple[int, str]]:
    """How many problems a warning is about, and what it says of them."""
    columns = trajectories.columns
    status = columns["slot_status"]
    verdict = columns["verdict"]
    too_long = status == SLOT_STATUS.index("does_not_fit")
    length = columns["answer_end"] - columns["answer_start"]
    other_length = (status == 0) & (length != columns["gold_length"])
    unseen = (verdict == CORRECT) & (columns["stable_hit_step"] < 0)
    stored = set(run.ids)
    several = sum(bool(problem.accepted) for problem in run.problems if problem.id in stored)
    return [
        (
            int(too_long.sum()),
            "problems: the gold answer does not fit between its start and the end of the canvas; "
            "no slot",
        ),
        (
            int(other_length.sum()),
            "problems: gold and extracted answer differ in length; the slot is as long as gold",
        ),
        (
            int(unseen.sum()),
            "problems are correct, but not in gold's own tokens at the slot: never hit in the "
            "emergence numbers",
        ),
        (
            int((verdict == AMBIGUOUS).sum()),
            "problems: the answer is a number that two conventions read differently (`12,5`), "
            "right in one of them; counted as not correct, the verdict is `ambiguous`",
        ),
        (
            int((columns["revisions"] > 0).sum()),
            "problems: tokens were revised after their commit; a position counts as committed for "
            "good, and its values freeze, at the step that put its final token there",
        ),
        (
            trajectories.mismatched_masks,
            "problems: n_masked contradicts the recorded commits; run `diffengine verify`",
        ),
        (
            several,
            "problems have several accepted answers: any counts as correct, but confidence, "
            "emergence and information are those of the first",
        ),
    ]


def _uncompared(rules: dict[str, int]) -> list[str]:
    """Answers that were to be compared as expressions and were compared as text."""
    warnings = []
    for ending, why in UNCOMPARED.items():
        answers = sum(count for rule, count in rules.items() if rule.endswith(ending))
        if answers:
            warnings.append(
                f"{count_text(answers, 'answer')} that cannot be read as a number: compared as "
                f"text, perhaps right where counted as wrong: {why}"
            )
    return warnings
