"""How many problems a result needs before it is shown as one, and the sentence that says how many
lack.

Every threshold on a number of problems stands here, so that one run is not called large enough by
one analysis and too small by another.
"""

from __future__ import annotations

import numpy as np

MIN_PROBLEMS = 100
"""Problems below which no estimate over problems is made and no verdict is given."""

MIN_CLASS = 20
"""Problems that the smaller of two outcomes needs."""

MIN_CURVE_PROBLEMS = 20
MIN_CURVE_STEPS = 10
"""Problems and steps that a mean trajectory needs before shapes are fitted to it."""

MIN_GAINS = 10
"""Problems that a test of one step's gain needs: below, the t distribution leans on normality too
much."""

MIN_RESAMPLED = 20
"""Problems that an interval needs which comes from drawing the problems anew."""

NEAR_MOST = 0.5
"""Bits below log2 R from which on R draws are nearly all different: an entropy that they cannot
measure."""

MOST_NEAR = 0.1
"""Share of problems at a step that may be so before the step's mean entropy is no result."""

MIN_STATES = 32
"""Problems with a hidden state that a similarity over problems needs."""

MIN_MAP_ROWS = 100
"""Rows (problem, step) that a t-SNE map needs."""

OK = "ok"
INSUFFICIENT = "insufficient: "
"""What the status of a quantity begins with whose values may not be shown as a result."""
UNDEFINED = "undefined: "
"""The same of a quantity that has no meaning in this run, however many problems it had."""

NO_BLOCKS = "the policy has no blocks"
BLOCKS_OF_ROWS = "problems are at different blocks at one step"
ENDS_DIFFER = (
    "problems end at different steps and this value is about a forward pass, so that later steps "
    "are of other, slower problems"
)
BLOCKS_DIFFER = (
    "each problem opens its blocks at steps of its own, so that the means of two steps are of "
    "other positions or other problems"
)
NOTHING_TO_FILL = (
    "decoding goes block by block, and what is not open yet has no prediction that an exit could "
    "take"
)
OF_ONE_BLOCK = "decoding goes block by block, and steps of two blocks have no position in common"
ANSWER_OPENS = (
    "the answer's positions are open at steps of each problem's own, and closed before and after"
)
MASKS_END = (
    "problems are at blocks of their own, and passes that only revise see no mask: hardly any "
    "problem has this state at all steps compared"
)
NULL_OF_FIRST_BLOCK = (
    "without the question only the first block can be opened, and no problem has its slot there"
)
STEPS_LEFT_OUT = (
    "problems leave out steps of their own, so that hardly any has a value at all steps compared"
)
NO_TRAJECTORY = "recorded with --record answers, which keeps no trajectory"
OF_RUNNING = "; of the problems with a forward pass at the step"
OF_OPEN = "; of the block that is open at the step"
OF_OPENED = "; of the problems whose positions for it are open by then"
OF_RUNNING_AT_BOTH = "; of the problems with a forward pass at both"
"""What labels end with of a mean over fewer and fewer problems, over part of the positions, over
more and more problems."""

SHOWN_SHARE = 0.5
"""Of the problems behind the best step: with fewer behind it, a step is no end of a curve and no
place of its extremes."""


def status_of(reason: str) -> str:
    """The status of a quantity that has no result for this `reason`; "ok" without one."""
    return INSUFFICIENT + reason if reason else OK


def undefined(reason: str) -> str:
    """The status of a quantity that this run cannot have for this `reason`."""
    return UNDEFINED + reason


def well_covered(n: np.ndarray) -> np.ndarray:
    """[step] bool: at least half as many problems stand behind the step as behind the best one of
    `n` [step]; all steps with a problem where none ends before the others."""
    least = SHOWN_SHARE * np.max(n, initial=0)
    return np.asarray((n > 0) & (n >= least))


def lacking(have: int, need: int, what: str, *, rest: str = "") -> str:
    """What is there and what would suffice: "96 problems (at least 100; 4 more would suffice)".

    `what` with an (s) where one of it has none: "problem(s) with a gain". `rest` says where the
    others went.
    """
    more = f"; {need - have} more would suffice" if need > have else ""
    where = f"; {rest}" if rest else ""
    counted = what.replace("(s)", "" if have == 1 else "s")
    return f"{have} {counted} (at least {need}{more}{where})"


def too_few_problems(n: int, *, what: str = "problem(s)", rest: str = "") -> str:
    """Why `n` problems are not enough, or nothing; `rest` as in `lacking`."""
    if n >= MIN_PROBLEMS:
        return ""
    return lacking(n, MIN_PROBLEMS, what, rest=rest)


def too_few_in_class(n: int, *, what: str = "problem(s) in the smaller class") -> str:
    """Why `n` problems of the rarest outcome are not enough, or nothing."""
    if n >= MIN_CLASS:
        return ""
    return lacking(n, MIN_CLASS, what)
