"""What the interventions of a branch run may ask for: the states of its parent as they see them,
the answers of its other problems, and canvases of other runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from ..config import RunConfig
from ..models.loading import MaskedDiffusionModel
from ..options import ConfigError
from ..problems.read import Problem
from ..runs.plan import prompts_of
from ..store.read.run import Run, open_run
from .state import DoesNotApply, Donor, State
from .states import Decoding, canvases


class Occasion:
    """The parent run and its model, as far as interventions need them; `close` what was opened."""

    def __init__(self, parent: Run, model: MaskedDiffusionModel, config: RunConfig) -> None:
        self._parent = parent
        self._model = model
        self._seed = int(getattr(config.sampler, "seed", 0))
        self._runs: dict[str, Run] = {}
        self._donors: dict[tuple[str, str, int], Donor] = {}

    def state(self, decoding: Decoding, step: int) -> State:
        """The state of a decoding at `step`."""
        columns = decoding.columns
        start, end = int(columns["answer_start"]), int(columns["answer_end"])
        return State(
            problem=decoding.problem,
            step=step,
            token=decoding.canvas[step],
            mask_id=decoding.mask_id,
            seed=self._seed,
            tokens=decoding.canvas[1:],
            committed=columns["committed"],
            encode=self.encode,
            logprob=columns.get("logprob"),
            answer=None if start < 0 else (start, end),
            answers=lambda: self._answers,
            donor=self._donor,
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens."""
        ids: list[int] = self._model.tokenizer.encode(text, add_special_tokens=False)
        return ids

    @cached_property
    def _answers(self) -> Mapping[str, tuple[int, ...]]:
        """The ids of every final answer of the parent, by problem id."""
        found: dict[str, tuple[int, ...]] = {}
        for block in self._parent.blocks(["token", "answer_start", "answer_end"]):
            spans = zip(block["answer_start"], block["answer_end"], strict=True)
            for number, (start, end) in enumerate(spans):
                if start >= 0:
                    name = self._parent.ids[int(block["row"][number])]
                    ids = block["token"][number, -1, start:end]
                    found[name] = tuple(int(i) for i in ids)
        return found

    def _donor(self, path: str, problem_id: str, step: int) -> Donor:
        """The canvas that `step` of another run's problem saw, behind its prompt. Raises
        ConfigError for a run of another model, DoesNotApply for a problem that it has not."""
        key = (path, problem_id, step)
        if key not in self._donors:
            self._donors[key] = self._read_donor(self._opened(path), problem_id, step)
        return self._donors[key]

    def _read_donor(self, run: Run, problem_id: str, step: int) -> Donor:
        if problem_id not in run.ids:
            raise DoesNotApply("the other run has no such problem")
        row = run.row(problem_id)
        token = np.asarray(run["token"][row])
        if not 0 <= step <= len(token):
            raise DoesNotApply("the other run has no such step")
        first = np.asarray(run["start_token"][row]) if "start_token" in run else None
        canvas = canvases(token, first, mask_id=self._model.token_ids.mask)
        return Donor(canvas[step].tolist(), self._prompt(run, problem_id))

    def _prompt(self, run: Run, problem_id: str) -> tuple[int, ...]:
        problem: Problem = next(p for p in run.problems if p.id == problem_id)
        settings = dict(run.info["config"])
        prompts = prompts_of([(0, problem)], self._model, RunConfig.of(**settings))
        if prompts.failed:
            raise DoesNotApply("the other run's prompt cannot be made")
        return prompts.prompts[0].token_ids

    def _opened(self, path: str) -> Run:
        if path in self._runs:
            return self._runs[path]
        run = open_run(Path(path))
        if run.info["model"]["fingerprint"] != self._model.fingerprint:
            raise ConfigError(
                f"patch from run {path}: it was made with another model, "
                f"{run.info['model']['path']}; states can be put in from the same one alone"
            )
        if "token" not in run:
            raise ConfigError(
                f"patch from run {path}: it keeps answers alone (record: answers), so it has no "
                "states; decode it again with --record masked or all"
            )
        self._runs[path] = run
        return run

    def close(self) -> None:
        """Close the other runs."""
        for run in self._runs.values():
            run.close()
