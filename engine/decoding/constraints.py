"""Tokens that a row must or must not commit: what the policy is told of its positions instead.

The statistics stay the model's own; only the proposals change, and only those of constrained
positions are made again. Shapes: B rows, G generated positions, N constrained positions, K tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...kernels.head import Head, Proposal, Rows
from .canvas import Canvas


@dataclass
class Constrained:
    """Constrained positions `at` among the generated ones [B * G] of a canvas, and the tokens of
    each."""

    at: list[int] = field(default_factory=list)
    tokens: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, at: int, tokens: tuple[int, ...]) -> None:
        """One more position."""
        self.at.append(at)
        self.tokens.append(tokens)

    def even(self) -> list[list[int]]:
        """The tokens [N, K], the last of a shorter row repeated."""
        longest = max(map(len, self.tokens))
        return [[*ids, *[ids[-1]] * (longest - len(ids))] for ids in self.tokens]


def under_constraints(head: Head, canvas: Canvas, rows: Rows, proposal: Proposal) -> Proposal:
    """The proposals [B * G] with those of constrained positions made anew, from the same `rows`.

    Where tokens are forbidden, token and confidence are those of the distribution without them,
    which is renormalised. Where one is forced, it is the token, and the confidence is what the
    sampler's rule gives it: its probability, or what does not depend on the token.
    """
    forbidden, forced = _constrained(canvas)
    token, confidence = proposal
    if forbidden.at:
        at = canvas.on_device(forbidden.at)
        ids = canvas.on_device(sum(forbidden.even(), [])).view(len(forbidden.at), -1)
        again = head.propose_without(rows.select(at), ids)
        token = token.index_copy(0, at, again.token)
        confidence = confidence.index_copy(0, at, again.confidence)
    if forced.at:
        at = canvas.on_device(forced.at)
        ids = canvas.on_device(sum(forced.even(), []))
        again = head.propose_this(rows.select(at), ids)
        token = token.index_copy(0, at, again.token)
        confidence = confidence.index_copy(0, at, again.confidence)
    return Proposal(token, confidence)


def _constrained(canvas: Canvas) -> tuple[Constrained, Constrained]:
    """Where tokens are forbidden, and where one is forced, which is made last and so prevails."""
    forbidden = Constrained()
    forced = Constrained()
    for number, row in enumerate(canvas.rows):
        start = row.prompt.start
        if start is None or row.is_replaying:
            continue
        first = number * canvas.gen_length
        for position, token in start.constraints.forced.items():
            forced.add(first + position, (token,))
        for position, tokens in start.constraints.forbidden.items():
            forbidden.add(first + position, tokens)
    return forbidden, forced
