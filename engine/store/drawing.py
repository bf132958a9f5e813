"""The order in which the problems of a run are drawn, and whether what is stored so far stands for
all of them.

Problems are decoded in the order of a hash of their ids. It knows nothing of a problem's length, of
its difficulty, or of its place in the file, so that the problems done when a run is cut short are a
simple random sample of those asked.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .counts import count_text

if TYPE_CHECKING:
    from .read.run import Run

DRAWING = "sha256 of the problem id"
"""What run.json says of the order. Earlier runs say nothing there and were decoded shortest prompt
first."""
SHOWN_IDS = 3
LONGEST_SHOWN = 40
EARLY = 0.75
"""How surely a stored problem must come before a pending one in that order. Drawn by it: near 1,
short of it only by what is in flight on several devices; chosen in any other way: about 0.5."""


class Coverage(NamedTuple):
    """What a run holds of what was asked. `pending`: ids without a result that the same command
    would still decode; `given_up`: ids with a reason in failed.jsonl. `random`: whether the stored
    problems are a random sample of stored
    and pending together; True where none is pending.
    """

    asked: int
    stored: int
    pending: tuple[str, ...]
    given_up: tuple[str, ...]
    random: bool

    @property
    def whole(self) -> int:
        """How many problems a figure of the finished run would be over."""
        return self.stored + len(self.pending)

    @property
    def note(self) -> str:
        """What belongs on the line of every figure: that the run is unfinished and what is missing;
        else empty."""
        parts = []
        if self.pending:
            parts.append(
                f"unfinished: {len(self.pending)} of {count_text(self.asked, 'problem')} missing "
                f"({_some(self.pending)})"
            )
        if self.given_up:
            parts.append(
                f"{len(self.given_up)} of {count_text(self.asked, 'problem')} given up "
                f"({_some(self.given_up)})"
            )
        return "; ".join(parts)

    @property
    def scope(self) -> str:
        """What an interval from an unfinished run is for; empty where no problem is pending."""
        if not self.pending:
            return ""
        if self.random:
            return f"for the whole of {self.whole} from {self.stored} drawn at random"
        return (
            f"for problems like the {self.stored} stored, not for all {self.whole}: they are "
            "no random draw"
        )


def draw_key(problem_id: str) -> bytes:
    """The place of a problem in the drawing order: problems are decoded in ascending order of
    this."""
    return hashlib.sha256(problem_id.encode("utf-8", "surrogatepass")).digest()


def coverage(run: Run) -> Coverage:
    """What `run` holds of what was asked of it. Raises as `Run.problems` does."""
    stored = set(run.ids)
    asked = [problem.id for problem in run.problems]
    missing = [name for name in asked if name not in stored]
    failed = _failed_ids(Path(run.path)) if missing else set()
    pending = tuple(name for name in missing if name not in failed)
    given_up = tuple(name for name in missing if name in failed)
    is_random = not pending or _is_random(run, pending)
    return Coverage(len(asked), len(stored), pending, given_up, is_random)


def _is_random(run: Run, pending: tuple[str, ...]) -> bool:
    """Whether the run was drawn by key throughout, from the problems that its first command asked
    for."""
    first_asked = run.info.get("data", {}).get("n_problems")
    if run.info.get("drawing") != DRAWING or first_asked != len(run.problems) or not run.ids:
        return False
    return _share_before(list(run.ids), list(pending)) >= EARLY


def _share_before(stored: list[str], pending: list[str]) -> float:
    """The share of pairs of a stored and a pending problem in which the stored one is drawn
    first."""
    later = sorted(draw_key(name) for name in pending)
    behind = sum(len(later) - bisect.bisect(later, draw_key(name)) for name in stored)
    return behind / (len(stored) * len(pending))


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
