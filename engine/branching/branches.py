"""The branches of a run: which states of which decodings, after which interventions, and where
each begins."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..config import RunConfig
from ..decoding.patches import layers_of
from ..decoding.policy import Policy
from ..models.loading import MaskedDiffusionModel
from ..options import ConfigError
from ..problems.read import Origin, Problem
from ..prompts.prompt import problem_key
from ..prompts.start import Start
from ..store.read.run import Run
from .interventions import Intervention, check_interventions, parse_interventions
from .occasion import Occasion
from .request import PARENT, BranchRequest
from .state import Changed, DoesNotApply
from .states import Decoding, decodings

NAMED = 3
"""Ids named in one message."""


class Branch(NamedTuple):
    """One branch to decode: of which problem of the parent run, whose prompt has so many tokens and
    which made so many forward passes; where it begins, with which word in the noise, and how many
    steps with a pass it will make."""

    problem: Problem
    parent: Problem
    prompt_length: int
    parent_forwards: int
    start: Start
    key: int
    passes: int


class Planner:
    """The branches of the chosen decodings, and what could not be made of them."""

    def __init__(
        self,
        request: BranchRequest,
        parent: Run,
        model: MaskedDiffusionModel,
        policy: Policy,
        config: RunConfig,
        at: Sequence[int],
    ) -> None:
        self._request = request
        self._parent = parent
        self._model = model
        self._policy = policy
        self._at = at
        self._occasion = Occasion(parent, model, config)
        self._interventions = _interventions(request, model, config, self._occasion)
        self.texts = [each.text for each in self._interventions]
        self.settled = 0
        self.skipped: dict[str, list[str]] = {}
        recorded = 0 if config.record == "answers" else 1
        self._looks_back = max(recorded, getattr(policy, "looks_back", 1))

    def branches(self) -> list[Branch]:
        """All branches, in the order of the parent's problems."""
        rows = _chosen(self._parent, self._request.ids, self._request.limit)
        mask_id = self._model.token_ids.mask
        made: list[Branch] = []
        with contextlib.closing(self._occasion):
            for decoding in decodings(self._parent, rows, mask_id=mask_id):
                for step in self._at:
                    made += self._of_state(decoding, step)
        return made

    def _of_state(self, decoding: Decoding, step: int) -> Iterator[Branch]:
        state = self._occasion.state(decoding, step)
        for number, intervention in enumerate(self._interventions):
            if intervention.is_nothing and self._parent_is_control:
                continue
            try:
                changed = intervention.apply(state)
            except DoesNotApply as reason:
                self.skipped.setdefault(str(reason), []).append(intervention.text)
                continue
            if not decoding.is_open(step, changed.token):
                self.settled += 1
                continue
            yield from self._drawn(decoding, changed, step, number)

    def _drawn(
        self, decoding: Decoding, changed: Changed, step: int, number: int
    ) -> Iterator[Branch]:
        """The branches of one state after one intervention."""
        for branch in range(self._request.n_samples):
            key = self._key(decoding, step, branch)
            refits = self._is_drawn(decoding, key)
            start = decoding.start(step, changed, looks_back=self._looks_back, refits=refits)
            origin = Origin(decoding.problem.id, step, number, branch)
            yield Branch(
                problem=_problem(decoding.problem, origin),
                parent=decoding.problem,
                prompt_length=int(decoding.columns["prompt_length"]),
                parent_forwards=decoding.n_forwards,
                start=start,
                key=key,
                passes=self._passes(decoding, start, key),
            )

    @property
    def _parent_is_control(self) -> bool:
        """Whether the parent itself is what a state becomes where nothing is done to it."""
        return bool(self._request.do) and self._request.noise_name == PARENT

    def _key(self, decoding: Decoding, step: int, branch: int) -> int:
        """The word of a branch in the noise. Branches with one number share it whatever was done at
        their state, so that what differs between them is what was done."""
        name = decoding.problem.id
        if self._request.noise_name == PARENT:
            return problem_key(name)
        return problem_key(f"{name}@{step}#{branch}")

    def _is_drawn(self, decoding: Decoding, key: int) -> bool:
        """Whether the schedule is drawn by noise that is not the parent's."""
        drawn = self._policy.performed_for(key) is not self._policy.performed
        return drawn and key != problem_key(decoding.problem.id)

    def _passes(self, decoding: Decoding, start: Start, key: int) -> int:
        """Forward passes of a branch: known from its schedule, or, of a free one, as many as the
        parent made from here and one for each mask more."""
        again = int(decoding.performed[start.first : start.step].sum())
        if self._policy.free_schedule:
            more = decoding.masks(start.token) - decoding.masks(decoding.canvas[start.step])
            return again + decoding.passes_from(start.step) + max(0, more)
        if start.is_changed:
            return again + decoding.steps - start.step
        return again + sum(self._policy.performed_for(key)[start.step :])


def _interventions(
    request: BranchRequest, model: MaskedDiffusionModel, config: RunConfig, occasion: Occasion
) -> list[Intervention]:
    """What is done to each state, first of all nothing. Raises ConfigError."""
    interventions = parse_interventions(request.do, gen_length=config.gen_length)
    layers = layers_of(model.network)
    check_interventions(
        interventions,
        encode=occasion.encode,
        mask_id=model.token_ids.mask,
        n_layers=None if layers is None else len(layers),
        guided=config.guided,
    )
    return interventions


def _chosen(parent: Run, ids: Collection[str] | None, limit: int | None) -> list[int]:
    """The rows of the decodings to branch from. Raises ConfigError for ids that are none."""
    rows = list(range(len(parent.ids)))
    if ids is not None:
        wanted = set(ids)
        strange = sorted(wanted - set(parent.ids))
        if strange:
            raise ConfigError(
                f"ids: {', '.join(strange[:NAMED])} not stored in {parent.path}, "
                f"{len(strange)} of {len(wanted)} asked for; its ids are in problems.jsonl"
            )
        rows = [row for row in rows if parent.ids[row] in wanted]
    return rows[:limit]


def _problem(parent: Problem, origin: Origin) -> Problem:
    """A branch as a problem of its run: what the prompt and the grade need of the parent's, and
    where it begins."""
    return replace(
        parent,
        id=f"{parent.id}@{origin.step}.{origin.intervention}#{origin.branch}",
        group=parent.group_id,
        origin=origin,
        solution=None,
        columns={},
    )
