"""LLaDA's schedule with another score: the exact samplers that the rules of entropy and of margin go
back to."""

from dataclasses import dataclass

from diffengine.engine.options import option
from diffengine.engine.policies.llada import LLaDAPolicy
from diffengine.engine.policies.llada_options import LLaDAOptions


@dataclass(frozen=True)
class OrderedOptions(LLaDAOptions):
    by: str = option("entropy", "What makes a position sure.")


class OrderedPolicy(LLaDAPolicy):
    Options = OrderedOptions

    def step(self, canvas, proposal, stats):
        scores = {"entropy": -stats.entropy}
        proposal = proposal._replace(confidence=scores[self.options.by])
        return super().step(canvas, proposal, stats)
