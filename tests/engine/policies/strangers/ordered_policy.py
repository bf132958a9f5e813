"""LLaDA's schedule with another score: the exact samplers that the rules of entropy and of margin go
back to."""

from dataclasses import dataclass, replace

from diffengine.engine.options import option
from diffengine.engine.policies.llada import LLaDAPolicy
from diffengine.engine.policies.llada_options import LLaDAOptions
from diffengine.kernels.shaping import Shaping


@dataclass(frozen=True)
class OrderedOptions(LLaDAOptions):
    by: str = option("entropy", "What is sure.", choices=("entropy", "margin"))


class OrderedPolicy(LLaDAPolicy):
    Options = OrderedOptions

    def __init__(self, options, token_ids, *, n_candidates):
        super().__init__(options, token_ids, n_candidates=n_candidates)
        if options.by == "margin":
            self.sampling = replace(self.sampling, shaping=Shaping(score="margin"))

    def step(self, canvas, proposal, stats):
        if self.options.by == "entropy":
            proposal = proposal._replace(confidence=-stats.entropy)
        return super().step(canvas, proposal, stats)
