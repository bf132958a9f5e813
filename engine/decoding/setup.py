"""From a model and its settings to a decoder for a batch of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from ...kernels.geometry import LogitGeometry
from ...kernels.head import Head
from ...kernels.ring import LogitRing
from ..config import RunConfig
from ..models.loading import MaskedDiffusionModel
from ..policies import make_policy
from ..prompts.prompt import Prompt
from .canvas import Room, capacity_for
from .loop import Decoder
from .make_canvas import make_canvas
from .null_beliefs import NullBeliefs
from .phases import Phases
from .recorder import Recorder


class Setup:
    """What model and settings decide alone, worked out once for all batches: the policy, the null
    pass, and the Gram matrix of the head."""

    def __init__(
        self, model: MaskedDiffusionModel, config: RunConfig, *, keeps: bool = True
    ) -> None:
        """`keeps`: of a model that attends block by block, the keys and values of what does not
        change any more."""
        self.model = model
        self.keeps = keeps
        self.config = config
        self.policy = make_policy(
            config.policy, config.sampler, model.token_ids, n_candidates=model.n_candidates
        )

    @cached_property
    def null(self) -> NullBeliefs:
        """The beliefs without a question; computed when first asked for."""
        return NullBeliefs(self.model, self.config, self.policy, self._head(None))

    @cached_property
    def geometry(self) -> LogitGeometry:
        """The geometry of the model's head."""
        return LogitGeometry(self.model.head_weight)

    def decoder(
        self,
        prompts: Sequence[Prompt],
        *,
        budget: int,
        refill: bool = True,
        phases: Phases | None = None,
    ) -> Decoder:
        """An empty canvas of `budget` packed tokens for these prompts, with head and recorder to
        match."""
        model = self.model
        config = self.config
        capacity = capacity_for(prompts, gen_length=config.gen_length, token_budget=budget)
        room = Room(rows=capacity, tokens=budget, refill=refill)
        canvas = make_canvas(model, config, self.policy, room, keeps=self.keeps)
        recorder = Recorder(
            model,
            config,
            capacity=capacity,
            n_answer=max(len(prompt.answer_ids) for prompt in prompts),
            null=self.null,
            geometry=self.geometry,
            looks_back=getattr(self.policy, "looks_back", 1),
        )
        dtype = model.logits_dtype(config.logits_dtype)
        ring = None
        if recorder.compares_steps:
            ring = LogitRing.if_it_fits(capacity * canvas.width, model.head_weight, dtype=dtype)
        return Decoder(
            model, canvas, self._head(ring), self.policy, recorder, phases or Phases(model.device)
        )

    def _head(self, ring: LogitRing | None) -> Head:
        return Head(
            self.model.head_weight,
            sampling=self.policy.sampling,
            guidance=self.config.sampler.guidance,
            ring=ring,
            logits_dtype=self.model.logits_dtype(self.config.logits_dtype),
        )
