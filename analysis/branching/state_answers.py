"""Which answers a state comes to: the most frequent ones of its draws, as texts with their shares.

Shapes: N decodings, K steps (the last is the end).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .draws import Draws

MOST = 3
"""Answers of a state that are kept by name; of the others only their number and share are known."""


class StateAnswers(NamedTuple):
    """The most frequent answers first; of equally frequent ones that of the parent, then the one
    that was drawn first. `text`, `share` [N, K, MOST]: "" and NaN where there are fewer answers,
    and where not all draws of the state are there; "" with a share are the draws without an answer.
    `distinct` [N, K]: different answers, -1 where not all draws are there."""

    text: np.ndarray
    share: np.ndarray
    distinct: np.ndarray


def state_answers(draws: Draws) -> StateAnswers:
    """Of every state."""
    shape = draws.label.shape[:2]
    result = StateAnswers(
        text=np.full((*shape, MOST), "", object),
        share=np.full((*shape, MOST), np.nan),
        distinct=np.full(shape, -1, np.int32),
    )
    for row, place in np.argwhere(draws.is_complete).tolist():
        counts = draws.counts[row, place]
        is_final = np.arange(len(counts)) == draws.final[row]
        order = np.lexsort((~is_final, -counts))
        drawn = [int(label) for label in order if counts[label]]
        result.distinct[row, place] = len(drawn)
        for rank, label in enumerate(drawn[:MOST]):
            result.text[row, place, rank] = _text(draws, row, label)
            result.share[row, place, rank] = counts[label] / draws.samples
    return result


def _text(draws: Draws, row: int, label: int) -> str:
    return draws.answers[row][label] if row < len(draws.answers) else f"answer {label}"
