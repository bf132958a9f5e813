"""What an intervention sees of a decoding, and what it makes of that. Shapes: S steps, G generated
positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..problems.read import Problem
from ..prompts.steering import UNCONSTRAINED, Constraints, Patch


class DoesNotApply(Exception):
    """An intervention that this decoding gives no occasion for; the message is the reason, in words
    that are the same for all of its kind, so that they can be counted."""


class Donor:
    """Whose states a patch takes: the canvas `token` [G] behind the tokens of `prompt`."""

    def __init__(self, token: Sequence[int], prompt: Sequence[int]) -> None:
        self.token = tuple(int(i) for i in token)
        self.prompt = tuple(int(i) for i in prompt)


def no_answers() -> Mapping[str, tuple[int, ...]]:
    """A run of which no answers are known."""
    return {}


def no_donors(path: str, problem_id: str, step: int) -> Donor:
    """No other run can be read here."""
    raise DoesNotApply("states of another run cannot be read here")


@dataclass(frozen=True, eq=False)
class State:
    """The canvas `token` [G] that the parent's `step` saw, and what is known of the parent's row.

    `tokens` [S, G] are its canvases after each step, `committed` [S, G] where each step committed,
    `logprob` [S, G] of the likeliest token in nats, None where the run kept none. `answer` is the
    half-open span of the final answer, None where none was extracted. `seed` is the run's.

    `encode` turns a text into ids, without special tokens. `answers` gives the ids of the final
    answer of every problem of the run that has one, by problem id. `donor` gives the canvas of
    another run, by its path, problem id and step; it raises DoesNotApply.
    """

    problem: Problem
    step: int
    token: np.ndarray
    mask_id: int
    seed: int
    tokens: np.ndarray
    committed: np.ndarray
    encode: Callable[[str], Sequence[int]]
    logprob: np.ndarray | None = None
    answer: tuple[int, int] | None = None
    answers: Callable[[], Mapping[str, tuple[int, ...]]] = no_answers
    donor: Callable[[str, str, int], Donor] = no_donors

    def canvas_at(self, step: int) -> np.ndarray:
        """The canvas [G] that a step of the parent saw; behind the last step the final one. Raises
        DoesNotApply for a step beyond."""
        if step > len(self.tokens):
            raise DoesNotApply("the donor has fewer steps")
        if step == 0:
            return np.full_like(self.token, self.mask_id)
        canvas: np.ndarray = self.tokens[step - 1]
        return canvas


@dataclass(frozen=True, eq=False)
class Changed:
    """What an intervention made of a state: the canvas `token` [G], and what holds from there on.

    `positions` are those that it acted on, ascending: whose token it changed, whose commit it
    constrains, whose states it replaces.
    """

    token: np.ndarray
    positions: list[int]
    constraints: Constraints = UNCONSTRAINED
    patches: tuple[Patch, ...] = ()


@dataclass(eq=False)
class Draft:
    """A state while the actions of one intervention change it, one after the other."""

    state: State
    token: np.ndarray
    acted_on: set[int] = field(default_factory=set)
    forced: dict[int, int] = field(default_factory=dict)
    forbidden: dict[int, tuple[int, ...]] = field(default_factory=dict)
    patches: list[Patch] = field(default_factory=list)

    @classmethod
    def of(cls, state: State) -> Draft:
        """Nothing done yet."""
        return cls(state, state.token.copy())

    def is_masked(self, position: int) -> bool:
        """Whether the position holds a mask now."""
        return bool(self.token[position] == self.state.mask_id)

    def put(self, position: int, token_id: int) -> None:
        """Write a token, or the mask."""
        self.token[position] = token_id
        self.acted_on.add(position)

    def changed(self) -> Changed:
        """What became of the state."""
        return Changed(
            self.token,
            sorted(self.acted_on),
            Constraints(self.forced, self.forbidden),
            tuple(self.patches),
        )
