"""What the model believes of an answer when it has not seen the question: the null input of
pointwise V-information.

One forward pass over the prompt with an empty question and a canvas of masks, the same for all
problems of a run, in the distribution of the recorded `answer_logprob`: the same head, guidance and
suppressed tokens. Shapes: G positions, V vocabulary, A answer tokens.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ...kernels.dispatch import logit_stats
from ...kernels.distribution import widen
from ...kernels.head import Head, without
from ..config import RunConfig
from ..models.loading import MaskedDiffusionModel
from ..problems.read import Problem
from ..prompts.prompt import PromptError, build_prompt
from .block_canvas import BlockRow
from .canvas import Canvas, Room
from .make_canvas import make_canvas
from .policy import Policy

logger = logging.getLogger(__name__)


class NullBeliefs:
    """The logits [G, V] of the null input, computed when first asked for and kept on the device.

    Of a model that attends block by block only the first block is open there: no pass has all
    positions masked. Its positions alone, of which `first` is the first (negative in the prompt's
    tail), have a value then.
    """

    def __init__(
        self, model: MaskedDiffusionModel, config: RunConfig, policy: Policy, head: Head
    ) -> None:
        self._model = model
        self._config = config
        self._policy = policy
        self._head = head
        self._computed: tuple[Tensor, Tensor] | None = None
        self._first: int | None = None

    @torch.inference_mode()
    def of(self, answer: Tensor) -> Tensor:
        """[G, A] float32 log-probabilities in nats of `answer` [A] at each position; NaN where the
        token is -1.

        All NaN, with one warning, where the chat template cannot make a prompt of an empty
        question.
        """
        if self._computed is None:
            self._computed = self._compute()
        logits, lse = self._computed
        logprob = widen(logits[:, answer.clamp_min(0)]) - lse[:, None]
        return self._of_all(torch.where(answer >= 0, logprob, torch.nan).float())

    def _of_all(self, values: Tensor) -> Tensor:
        """Values [K, A] of the positions that were open in the null pass, as [G, A]; NaN at
        others."""
        if self._first is None:
            return values
        start = max(0, self._first)
        gen_length = self._config.gen_length
        whole = values.new_full((gen_length, *values.shape[1:]), torch.nan)
        open_here = values[start - self._first :][: gen_length - start]
        whole[start : start + len(open_here)] = open_here
        return whole

    def _compute(self) -> tuple[Tensor, Tensor]:
        """(logits [G, V] in the head's dtype, their logsumexp [G])."""
        logits = self._logits()
        n_candidates = self._policy.sampling.n_candidates
        stats = logit_stats(logits, exclude_id=None, n_candidates=n_candidates)
        return logits, stats.lse

    def _logits(self) -> Tensor:
        model = self._model
        config = self._config
        head = self._head
        canvas = self._canvas()
        if canvas is None:
            shape = (config.gen_length, len(model.head_weight))
            return model.head_weight.new_full(shape, torch.nan)

        packed = canvas.pack()
        # By the stock class's own pass: a compiled one would compile this one batch, of a shape
        # that never comes again.
        hidden = model.hidden(packed.token_ids, packed.positions, packed.packing)[packed.read_at]

        if packed.guided:
            conditional, unconditional = hidden.chunk(2)
            logits = head.guide(head.logits(conditional), head.logits(unconditional))
        else:
            logits = head.logits(hidden)
        if head.sampling.suppress:
            logits = without(logits, head.sampling.suppress)
        return logits

    def _canvas(self) -> Canvas | None:
        """The null prompt alone on a canvas, all its positions masked."""
        config = self._config
        blank = Problem(id="", question="", answer=None)
        try:
            prompt = build_prompt(
                blank,
                0,
                self._model,
                style=config.prompt_style,
                gen_length=config.gen_length,
                template=config.prompt_template,
            )
        # a template is a program of the checkpoint's: whatever it raises, the run goes on
        except Exception as error:
            what = error if isinstance(error, PromptError) else f"{type(error).__name__}: {error}"
            logger.warning(
                "no prompt without a question (%s): null_answer_logprob stays empty", what
            )
            return None
        room = Room(rows=1, tokens=1)
        canvas = make_canvas(self._model, config, self._policy, room, keeps=False)
        canvas.fill(iter([prompt]))
        row = canvas.rows[0]
        if isinstance(row, BlockRow):
            self._first = -row.tail
        return canvas
