"""The likelihood of one case by a method, and its posterior among other answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..models.loading import MaskedDiffusionModel
from ..prompts.prompt import problem_key
from .cases import Case
from .line import Line
from .measure import Bound, Place, likelihood_bound, posterior, sequential_logprob


@dataclass(frozen=True)
class Method:
    """How a likelihood is measured: `kind` is "bound", of so many `draws`, or "sequential"."""

    kind: str
    draws: int = 128
    seed: int = 0

    def bound(
        self, model: MaskedDiffusionModel, place: Place, answer: Sequence[int], *, key: int
    ) -> Bound:
        """The likelihood of `answer` at `place`; draws depend on `key` and the seed alone."""
        if self.kind == "sequential":
            return Bound(sequential_logprob(model, place, list(answer)), math.nan, 1)
        return likelihood_bound(model, place, list(answer), draws=self.draws, seed=key ^ self.seed)


def measure(
    model: MaskedDiffusionModel,
    case: Case,
    method: Method,
    distractors: Sequence[tuple[int, ...]] = (),
) -> Line:
    """The likelihood of one case, and its posterior among `distractors`, token ids as many as the
    gold answer's.

    A problem's draws depend on its id and the seed, not on its place or neighbours; all its answers
    have the same ones.
    """
    if case.skipped:
        return Line(
            case.problem_id,
            case.place,
            tokens=0,
            nats=math.nan,
            stderr=math.nan,
            distractors=0,
            posterior=math.nan,
            skipped=case.skipped,
        )

    canvas = torch.tensor(case.canvas, device=model.device)
    place = Place(canvas, list(case.positions))
    key = problem_key(case.problem_id)
    gold = method.bound(model, place, case.answer, key=key)
    others = [method.bound(model, place, answer, key=key).nats for answer in distractors]
    share = posterior([gold.nats, *others])[0] if others else math.nan
    return Line(
        case.problem_id,
        case.place,
        tokens=len(case.answer),
        nats=gold.nats,
        stderr=gold.stderr,
        distractors=len(distractors),
        posterior=share,
        skipped="",
    )
