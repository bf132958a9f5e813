"""The order in which the problems of a run are drawn, and whether what is stored so far stands for
all of them.

Problems are decoded in the order of a hash of their ids. It knows nothing of a problem's length, of
its difficulty, or of its place in the file, so that the problems done when a run is cut short are a
simple random sample of those asked.

The samples and the branches of a problem follow each other: problems are drawn, not decodings, and
each problem that was drawn has all of its decodings but for the few that were in flight. Whoever
adds them up lets each problem count once, so that one with fewer of them tilts nothing.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .counts import decodings_text, unit_of

if TYPE_CHECKING:
    from ..problems.read import Problem
    from .read.run import Run

DRAWING = "sha256 of the problem id"
"""What run.json says of the order; the id is that of the input, which samples share. Earlier runs
say nothing there and were decoded shortest prompt first."""
SHOWN_IDS = 3
LONGEST_SHOWN = 40
EARLY = 0.75
"""How surely a drawn problem must come before one still to draw in that order. Drawn by it: near 1,
short of it only by what is in flight on several devices; chosen in any other way: about 0.5."""


class Coverage(NamedTuple):
    """What a run holds of what was asked.

    `asked`, `stored`: decodings, each a `unit`: a problem, a sample, or a branch. `pending`: ids
    without a result that the same command would still decode; `given_up`: ids with a reason in
    failed.jsonl.
    `problems` of the input that were asked for; `drawn`: those of them with a decoding that is
    stored; `whole`: those that a figure of the finished run would be over. `random`: whether
    the problems drawn are a random sample of that whole; True where none is pending.
    """

    asked: int
    stored: int
    pending: tuple[str, ...]
    given_up: tuple[str, ...]
    random: bool
    problems: int
    drawn: int
    whole: int
    unit: str

    @property
    def has_several(self) -> bool:
        """Whether some problem was asked for several times."""
        return self.problems < self.asked

    @property
    def all_asked(self) -> str:
        """What was asked for: "400 problems", or "400 samples of 100 problems"."""
        return decodings_text(self.asked, self.unit, self.problems)

    @property
    def note(self) -> str:
        """What belongs on the line of every figure: that the run is unfinished and what is missing;
        else empty."""
        parts = []
        if self.pending:
            parts.append(
                f"unfinished: {len(self.pending)} of {self.all_asked} missing "
                f"({_some(self.pending)})"
            )
        if self.given_up:
            parts.append(
                f"{len(self.given_up)} of {self.all_asked} given up ({_some(self.given_up)})"
            )
        return "; ".join(parts)

    @property
    def scope(self) -> str:
        """What an interval from an unfinished run is for; empty where no problem is pending."""
        if not self.pending:
            return ""
        if self.random:
            return f"for the whole of {self.whole} from {self.drawn} drawn at random"
        return (
            f"for problems like the {self.drawn} stored, not for all {self.whole}: they are "
            "no random draw"
        )


def unit_of_decodings(decodings: Collection[Problem]) -> str:
    """What one of these is: a `branch`, a `sample` where a problem of the input has several, else a
    `problem`."""
    problems = {each.group_id for each in decodings}
    are_branches = any(each.origin is not None for each in decodings)
    return unit_of(len(decodings), len(problems), are_branches=are_branches)


def draw_key(problem_id: str) -> bytes:
    """The place of a problem in the drawing order: problems are decoded in ascending order of
    this."""
    return hashlib.sha256(problem_id.encode("utf-8", "surrogatepass")).digest()


def drawing_place(problem: Problem) -> tuple[bytes, int, bytes]:
    """The place of one decoding: that of its problem of the input, then its number among the
    samples, then that of its own id, for branches."""
    return draw_key(problem.group_id), problem.sample, draw_key(problem.id)


def coverage(run: Run) -> Coverage:
    """What `run` holds of what was asked of it. Raises as `Run.problems` does."""
    stored = set(run.ids)
    group_of = {problem.id: problem.group_id for problem in run.problems}
    asked = list(group_of)
    missing = [name for name in asked if name not in stored]
    failed = _failed_ids(Path(run.path)) if missing else set()
    pending = tuple(name for name in missing if name not in failed)
    given_up = tuple(name for name in missing if name in failed)
    drawn = {group_of[name] for name in asked if name in stored}
    to_draw = {group_of[name] for name in pending} - drawn
    problems = len(set(group_of.values()))
    return Coverage(
        len(asked),
        len(stored),
        pending,
        given_up,
        random=not pending or _is_random(run, drawn, to_draw, problems),
        problems=problems,
        drawn=len(drawn),
        whole=len(drawn) + len(to_draw),
        unit=unit_of_decodings(run.problems),
    )


def _is_random(run: Run, drawn: set[str], to_draw: set[str], problems: int) -> bool:
    """Whether the run was drawn by key throughout, from the problems that its first command asked
    for."""
    first_asked = run.info.get("data", {}).get("n_problems")
    if run.info.get("drawing") != DRAWING or first_asked != problems or not drawn:
        return False
    return not to_draw or _share_before(drawn, to_draw) >= EARLY


def _share_before(drawn: Collection[str], to_draw: Collection[str]) -> float:
    """The share of pairs of a drawn problem and one still to draw in which the former is drawn
    first."""
    later = sorted(draw_key(name) for name in to_draw)
    behind = sum(len(later) - bisect.bisect(later, draw_key(name)) for name in drawn)
    return behind / (len(drawn) * len(later))


def _failed_ids(run_dir: Path) -> set[str]:
    """Ids in failed.jsonl; a line that cannot be read names none."""
    try:
        lines = (run_dir / "failed.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return set()
    ids = set()
    for line in lines:
        try:
            ids.add(str(json.loads(line)["id"]))
        except (ValueError, KeyError, TypeError):
            continue
    return ids


def _some(ids: tuple[str, ...]) -> str:
    shown = [_short(name) for name in ids[:SHOWN_IDS]]
    if len(ids) > SHOWN_IDS:
        shown.append("...")
    return ", ".join(shown)


def _short(name: str) -> str:
    plain = name if name.isprintable() else ascii(name)
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[:LONGEST_SHOWN]}..."
