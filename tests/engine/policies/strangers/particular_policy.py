"""A policy that will not be made for every number of steps, nor gives a schedule of any length."""

from __future__ import annotations

from typing import Any

from diffengine.engine.config import ConfigError
from diffengine.engine.decoding.policy import Policy, PolicyOptions, Update
from diffengine.kernels.head import Sampling


class Particular(Policy):
    """Takes an even number of steps; at six its schedule is one step short."""

    Options = PolicyOptions

    def __init__(self, options: PolicyOptions, token_ids: Any, *, n_candidates: int) -> None:
        if options.steps % 2:
            raise ConfigError(f"steps is {options.steps}; use an even number")
        self.sampling = Sampling(exclude_id=token_ids.mask, n_candidates=n_candidates)
        self.performed = [True] * (options.steps - (options.steps == 6))

    def step(self, canvas: Any, proposal: Any, stats: Any) -> Update:
        """Commit everything at once."""
        token = proposal.token.view(canvas.generated.shape)
        return Update(token, canvas.masked.view(token.shape))
