"""One step of a policy on a canvas that a test has laid out, without a model."""

from __future__ import annotations

from typing import Any

import torch

from diffengine.engine.decoding.canvas import Canvas, Room, RowFormat, Schedule
from diffengine.engine.decoding.policy import Policy
from diffengine.engine.models.family import TokenIds
from diffengine.engine.policies import make_policy, options_class
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt

VOCABULARY = 20
MASK = VOCABULARY - 1


def canvas_of(generated: torch.Tensor) -> Canvas:
    """Rows with these generated tokens [B, G], at their first step."""
    rows, length = generated.shape
    canvas = Canvas(
        RowFormat(gen_length=length, mask_id=MASK),
        Schedule([True] * length, free=True),
        Room(rows=rows, tokens=10**6),
        device=torch.device("cpu"),
    )
    problem = Problem(id="p", question="", answer=None)
    canvas.fill(iter([Prompt(problem, place, place, (1, 2), ()) for place in range(rows)]))
    canvas.generated = generated.clone()
    return canvas


def policy_of(name: str, *, gen_length: int, **options: Any) -> Policy:
    """The policy, with one block and a step for each token unless `options` say otherwise."""
    shape = {"gen_length": gen_length, "steps": gen_length, "block_length": gen_length}
    kind = options_class(name)
    tokens = TokenIds(MASK, 0, None)
    return make_policy(name, kind(**(shape | options)), tokens, n_candidates=VOCABULARY)
