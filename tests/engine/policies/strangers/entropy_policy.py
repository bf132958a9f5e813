"""Dream's entropy rule, as somebody outside would write it: the surest positions commit first, and
sure is a position whose distribution has little entropy."""

from dataclasses import dataclass

import torch

from diffengine.engine.decoding.policy import Policy, PolicyOptions, Update
from diffengine.engine.options import NOT_NEGATIVE, SEED, option
from diffengine.engine.policies.commits import highest, transfer_counts
from diffengine.kernels.head import Sampling


@dataclass(frozen=True)
class EntropyOptions(PolicyOptions):
    temperature: float = option(0.0, "Gumbel noise temperature.", rule=NOT_NEGATIVE)
    seed: int = option(0, "Key of the noise.", rule=SEED)


class EntropyPolicy(Policy):
    Options = EntropyOptions

    def __init__(self, options, token_ids, *, n_candidates):
        self.mask_id = token_ids.mask
        self.counts = transfer_counts(options.gen_length, options.steps)
        self.performed = [count > 0 for count in self.counts]
        self.sampling = Sampling(
            temperature=options.temperature,
            seed=options.seed,
            exclude_id=token_ids.mask,
            n_candidates=n_candidates,
        )

    def step(self, canvas, proposal, stats):
        shape = canvas.generated.shape
        masked = canvas.generated == self.mask_id
        score = torch.where(masked, -stats.entropy.view(shape), -torch.inf)
        counts = [self.counts[step] for step in canvas.steps]
        return Update(proposal.token.view(shape), highest(score, counts, canvas), counts)
