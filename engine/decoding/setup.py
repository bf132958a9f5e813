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
from .canvas import Canvas, Room, RowFormat, Schedule, capacity_for
from .loop import Decoder
from .null_beliefs import NullBeliefs
from .phases import Phases
from .recorder import Recorder


class Setup:
    """What model and settings decide alone, worked out once for all batches: the policy, the null
    pass, and the Gram matrix of the head."""

    def __init__(self, model: MaskedDiffusionModel, config: RunConfig) -> None:
        self.model = model
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
        gen_length = config.gen_length
        capacity = capacity_for(prompts, gen_length=gen_length, token_budget=budget)
        canvas = Canvas(
            RowFormat(
                gen_length=gen_length,
                mask_id=model.token_ids.mask,
                read_offset=model.read_offset,
                guided=config.guided,
            ),
            Schedule(
                self.policy.performed,
                free=self.policy.free_schedule,
                performed_for=self.policy.performed_for,
            ),
            Room(rows=capacity, tokens=budget, refill=refill),
            device=model.device,
        )
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
            ring = LogitRing.if_it_fits(capacity * gen_length, model.head_weight, dtype=dtype)
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
