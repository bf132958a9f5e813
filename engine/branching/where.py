"""Where on a canvas an intervention acts: the word WHERE of its grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..options import ConfigError
from .state import DoesNotApply, Draft

EXPECTED = "answer, committed, each, a position as 5, or a span as 3:7 (from 3, before 7)"

NUMBER = r"[0-9]{1,9}"
SPAN = re.compile(
    rf"(?P<start>{NUMBER})"  # a position, or where a span begins
    rf"(?::(?P<stop>{NUMBER}))?",  # the position after its last
)


@dataclass(frozen=True)
class Where:
    """Positions of a canvas: `word` is `answer`, `committed` or `each`, or empty where they are
    those from `start` on before `stop`."""

    word: str = ""
    start: int = 0
    stop: int = 0

    @property
    def text(self) -> str:
        """As it is written."""
        if self.word:
            return self.word
        if self.is_position:
            return str(self.start)
        return f"{self.start}:{self.stop}"

    @property
    def is_position(self) -> bool:
        """Whether it is one position, known without a canvas."""
        return not self.word and self.stop == self.start + 1

    @property
    def length(self) -> int | None:
        """How many positions it is; None where that depends on the canvas."""
        if self.word == "each":
            return 1
        return None if self.word else self.stop - self.start

    def at(self, position: int) -> Where:
        """The same for one of `each`."""
        return Where("", position, position + 1) if self.word == "each" else self

    def positions(self, draft: Draft) -> list[int]:
        """The positions on this canvas, ascending. Raises DoesNotApply where there are none."""
        if self.word == "answer":
            if draft.state.answer is None:
                raise DoesNotApply("no answer was extracted")
            return list(range(*draft.state.answer))
        if self.word == "committed":
            held = [p for p in range(len(draft.token)) if not draft.is_masked(p)]
            if not held:
                raise DoesNotApply("nothing is committed")
            return held
        return list(range(self.start, self.stop))

    def mask(self, length: int, held: np.ndarray, answer: tuple[int, int] | None) -> np.ndarray:
        """Which of `length` positions it is, where `held` [length] have a token; none without the
        `answer` that it asks for."""
        chosen = np.zeros(length, bool)
        if self.word == "committed":
            chosen |= held
        elif self.word != "answer":
            chosen[self.start : self.stop] = True
        elif answer is not None:
            chosen[slice(*answer)] = True
        return chosen


def read_where(word: str, *, gen_length: int) -> Where:
    """WHERE from its word. Raises ConfigError."""
    if word in ("answer", "committed", "each"):
        return Where(word)
    match = SPAN.fullmatch(word)
    if match is None:
        raise ConfigError(f"got {word!r} for where to act; expected {EXPECTED}")
    start = int(match["start"])
    stop = start + 1 if match["stop"] is None else int(match["stop"])
    if not start < stop <= gen_length:
        raise ConfigError(
            f"got {word!r} for where to act; expected positions from 0 to {gen_length - 1}, for "
            f"gen_length is {gen_length}, and a span that is not empty"
        )
    return Where("", start, stop)
