"""What an intervention can do with a state: one class for each form of the grammar.

An action changes a `Draft`, or raises DoesNotApply. Its `text` is the one way in which it is
written; reading that gives the same action.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..prompts.steering import Patch
from .state import DoesNotApply, Donor, Draft
from .where import Where


def quoted(text: str) -> str:
    """A text as it stands in an intervention."""
    return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True)
class Action(ABC):
    """One action. `where` is None for those that find their positions themselves."""

    @property
    def where(self) -> Where | None:
        """Where it acts, as far as that is said."""
        return None

    @property
    @abstractmethod
    def text(self) -> str:
        """As it is written."""

    def at(self, position: int) -> Self:
        """The same at one of the positions that `each` stands for."""
        return self

    @abstractmethod
    def do(self, draft: Draft) -> None:
        """Change the draft. Raises DoesNotApply."""


@dataclass(frozen=True)
class Somewhere(Action):
    """An action at positions that are said."""

    place: Where

    @property
    def where(self) -> Where | None:
        return self.place

    def at(self, position: int) -> Self:
        """The same at one of the positions that `each` stands for."""
        return replace(self, place=self.place.at(position))


@dataclass(frozen=True)
class Nothing(Action):
    """The state as it was: the control of all others."""

    @property
    def text(self) -> str:
        return "nothing"

    def do(self, draft: Draft) -> None:
        """Leave everything."""


@dataclass(frozen=True)
class Remask(Somewhere):
    """Masks in the place of tokens; positions that are masked already are none of it."""

    @property
    def text(self) -> str:
        return f"remask {self.place.text}"

    def do(self, draft: Draft) -> None:
        """Put the masks. Raises DoesNotApply where no token is held there."""
        _remask(draft, [p for p in self.place.positions(draft) if not draft.is_masked(p)])


@dataclass(frozen=True)
class Resample(Somewhere):
    """One position is masked, and the sampler commits it anew, at a later step and so with other
    noise."""

    @property
    def text(self) -> str:
        return f"resample {self.place.text}"

    def do(self, draft: Draft) -> None:
        """Put the mask. Raises DoesNotApply where no token is held there."""
        Remask(self.place).do(draft)


@dataclass(frozen=True)
class RemaskLeast(Action):
    """Masks in the place of the `count` tokens that were least sure when they were committed."""

    count: int

    @property
    def text(self) -> str:
        return f"remask least {self.count}"

    def do(self, draft: Draft) -> None:
        """By the log-probability that was recorded at the commit; of equals the lowest position.
        Raises DoesNotApply where fewer tokens have one."""
        state = draft.state
        if state.logprob is None:
            raise DoesNotApply("the parent run kept no log-probabilities")
        sureness: list[tuple[float, int]] = []
        for position in range(len(draft.token)):
            steps = np.flatnonzero(state.committed[: state.step, position])
            if len(steps) and not draft.is_masked(position):
                sureness.append((float(state.logprob[steps[-1], position]), position))
        _remask(draft, [position for _, position in _first(sureness, self.count)])


@dataclass(frozen=True)
class RemaskRandom(Action):
    """Masks in the place of `count` tokens, drawn without regard to what they are."""

    count: int

    @property
    def text(self) -> str:
        return f"remask random {self.count}"

    def do(self, draft: Draft) -> None:
        """Those with the least noise, which seed, problem and step decide. Raises DoesNotApply
        where fewer tokens are held."""
        noise = _noise(draft)
        drawn = [(noise[p], p) for p in range(len(draft.token)) if not draft.is_masked(p)]
        _remask(draft, [position for _, position in _first(drawn, self.count)])


@dataclass(frozen=True)
class Put(Somewhere):
    """The tokens of a text, whatever stands there: as many as positions, or one for all."""

    words: str

    @property
    def text(self) -> str:
        return f"set {self.place.text} {quoted(self.words)}"

    def do(self, draft: Draft) -> None:
        """Write the tokens. Raises DoesNotApply where they do not fit, or are there already."""
        positions = self.place.positions(draft)
        _write(draft, positions, ids_for(self.words, len(positions), draft))


@dataclass(frozen=True)
class SwapAnswer(Action):
    """The tokens of another problem's final answer where this one's finally stands."""

    source: str = ""

    @property
    def text(self) -> str:
        return f"swap answer from {quoted(self.source)}" if self.source else "swap answer"

    def do(self, draft: Draft) -> None:
        """Write the tokens. Raises DoesNotApply without an answer here, or one of as many tokens
        there."""
        span = draft.state.answer
        if span is None:
            raise DoesNotApply("no answer was extracted")
        positions = list(range(*span))
        _write(draft, positions, self._answer(draft, positions))

    def _answer(self, draft: Draft, positions: list[int]) -> Sequence[int]:
        from ..prompts.prompt import problem_key

        answers = draft.state.answers()
        own = draft.state.problem.id
        if self.source:
            if self.source not in answers:
                raise DoesNotApply(f"problem {self.source!r} has no answer in the parent run")
            if len(answers[self.source]) != len(positions):
                raise DoesNotApply("the two answers differ in their number of tokens")
            return answers[self.source]

        final = tuple(int(i) for i in draft.state.tokens[-1][positions])
        fitting = []
        for problem_id, ids in answers.items():
            if problem_id != own and len(ids) == len(positions) and tuple(ids) != final:
                fitting.append(problem_id)
        if not fitting:
            raise DoesNotApply("no other problem has another answer of as many tokens")
        # The next one on the circle of keys: whichever problems there are, each gives and takes.
        key = problem_key(own)
        nearest = min(fitting, key=lambda name: ((problem_key(name) - key) % 2**32, name))
        return answers[nearest]


@dataclass(frozen=True)
class Force(Somewhere):
    """Whenever a position commits, it commits to this token of a text: as many as positions, or
    one for all."""

    words: str

    @property
    def text(self) -> str:
        return f"force {self.place.text} {quoted(self.words)}"

    def do(self, draft: Draft) -> None:
        """Constrain masked positions. Raises DoesNotApply where none is, or the token is
        forbidden."""
        positions = self.place.positions(draft)
        ids = ids_for(self.words, len(positions), draft)
        for position, token_id in zip(positions, ids, strict=True):
            if not draft.is_masked(position):
                continue
            if token_id in draft.forbidden.get(position, ()):
                raise DoesNotApply("a token is forced that is forbidden there")
            draft.forced[position] = token_id
            draft.acted_on.add(position)
        _check_constrained(draft, positions)


@dataclass(frozen=True)
class Forbid(Somewhere):
    """A position never commits to any of the tokens of a text."""

    words: str

    @property
    def text(self) -> str:
        return f"forbid {self.place.text} {quoted(self.words)}"

    def do(self, draft: Draft) -> None:
        """Constrain masked positions. Raises DoesNotApply where none is, or a token is forced."""
        positions = self.place.positions(draft)
        ids = tuple(int(i) for i in draft.state.encode(self.words))
        for position in positions:
            if not draft.is_masked(position):
                continue
            if draft.forced.get(position) in ids:
                raise DoesNotApply("a token is forced that is forbidden there")
            before = draft.forbidden.get(position, ())
            draft.forbidden[position] = tuple(sorted({*before, *ids}))
            draft.acted_on.add(position)
        _check_constrained(draft, positions)


@dataclass(frozen=True)
class PatchStates(Somewhere):
    """States behind a layer come from the same problem at another step, or from another run."""

    layer: int
    step: int | None = None
    run: str = ""
    problem: str = ""

    @property
    def text(self) -> str:
        parts = [f"patch {self.place.text} layer {self.layer} from"]
        if self.run:
            parts.append(f"run {quoted(self.run)}")
        if self.problem:
            parts.append(f"problem {quoted(self.problem)}")
        if self.step is not None:
            parts.append(f"step {self.step}")
        return " ".join(parts)

    def do(self, draft: Draft) -> None:
        """Ask for the states. Raises DoesNotApply where the donor is not there."""
        state = draft.state
        positions = self.place.positions(draft)
        step = state.step if self.step is None else self.step
        prompt = None
        if self.run:
            donor = state.donor(self.run, self.problem or state.problem.id, step)
            prompt = donor.prompt
        else:
            donor = Donor(state.canvas_at(step).tolist(), ())
        if len(donor.token) != len(state.token):
            raise DoesNotApply("the donor has another gen_length")
        draft.patches.append(Patch(self.layer, tuple(positions), donor.token, prompt))
        draft.acted_on.update(positions)


def ids_for(words: str, count: int, draft: Draft) -> list[int]:
    """The ids of a text, one for each of `count` positions. Raises DoesNotApply where they do not
    fit."""
    ids = [int(i) for i in draft.state.encode(words)]
    if len(ids) == 1:
        return ids * count
    if len(ids) != count:
        raise DoesNotApply("the text has another number of tokens than there are positions")
    return ids


def _remask(draft: Draft, positions: list[int]) -> None:
    if not positions:
        raise DoesNotApply("no token is held there")
    for position in positions:
        draft.put(position, draft.state.mask_id)


def _write(draft: Draft, positions: list[int], ids: Sequence[int]) -> None:
    changes = [(p, i) for p, i in zip(positions, ids, strict=True) if draft.token[p] != i]
    if not changes:
        raise DoesNotApply("the tokens are there already")
    for position, token_id in changes:
        draft.put(position, token_id)


def _check_constrained(draft: Draft, positions: list[int]) -> None:
    if all(not draft.is_masked(position) for position in positions):
        raise DoesNotApply("every position holds a token, and none commits again")


def _first(ranked: list[tuple[float, int]], count: int) -> list[tuple[float, int]]:
    if len(ranked) < count:
        raise DoesNotApply("fewer tokens are committed than are to be masked")
    return sorted(ranked)[:count]


def _noise(draft: Draft) -> list[float]:
    """Uniform noise [G] of the state's problem and step."""
    import torch

    from ...kernels.noise import REMASK_DOMAIN, position_noise
    from ..prompts.prompt import problem_key

    state = draft.state
    position = torch.arange(len(draft.token))
    counter = torch.stack(
        [
            torch.full_like(position, problem_key(state.problem.id)),
            position,
            torch.full_like(position, state.step),
        ],
        dim=-1,
    )
    noise: list[float] = position_noise(counter, seed=state.seed, domain=REMASK_DOMAIN).tolist()
    return noise
