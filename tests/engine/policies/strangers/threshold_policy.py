"""A free schedule: in each step every position commits whose token is sure enough, and one at
least; a row ends when enough of it is there."""

from dataclasses import dataclass

import torch

from diffengine.engine.decoding.policy import Policy, PolicyOptions, Update
from diffengine.engine.options import SHARE, option
from diffengine.engine.policies.commits import highest
from diffengine.kernels.head import Sampling


@dataclass(frozen=True)
class ThresholdOptions(PolicyOptions):
    threshold: float = option(0.9, "Probability from which on a token commits.", rule=SHARE)
    enough: float = option(1.0, "Share of the positions that ends a row.", rule=SHARE)
    cfg_scale: float = option(0.0, "Classifier-free guidance.")

    @property
    def guidance(self):
        return self.cfg_scale


class ThresholdPolicy(Policy):
    Options = ThresholdOptions
    free_schedule = True

    def __init__(self, options, token_ids, *, n_candidates):
        self.options = options
        self.mask_id = token_ids.mask
        self.performed = [True] * options.steps
        self.sampling = Sampling(exclude_id=token_ids.mask, n_candidates=n_candidates)

    def block_of(self, step):
        return -1

    def step(self, canvas, proposal, stats):
        shape = canvas.generated.shape
        token = proposal.token.view(shape)
        masked = canvas.generated == self.mask_id
        score = torch.where(masked, proposal.confidence.view(shape), -torch.inf)
        surest = highest(score, [1] * len(canvas.rows), canvas)
        commit = masked & (surest | (score >= self.options.threshold))
        if self.options.enough == 1:
            return Update(token, commit)
        committed = (commit | ~masked).sum(-1)
        return Update(token, commit, stopped=committed >= self.options.enough * shape[1])
