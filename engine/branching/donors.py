"""Whose states a patch takes, where they come from another run of the same model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..models.loading import MaskedDiffusionModel
from ..options import ConfigError
from ..prompts.prompt import PromptError, build_prompt
from ..store.errors import DamagedRun
from ..store.read.run import Run, open_run
from .state import DoesNotApply, Donor


class Donors:
    """Canvases of other runs, by path, problem id and step; `State.donor` is one of these. A run is
    opened when it is first asked for."""

    def __init__(self, model: MaskedDiffusionModel) -> None:
        self._model = model
        self._runs: dict[str, Run] = {}

    def __call__(self, path: str, problem_id: str, step: int) -> Donor:
        """The canvas that `step` of the problem's row saw, behind its prompt there.

        Raises NotARun and DamagedRun, ConfigError for a run that cannot give any, DoesNotApply
        where it has not this problem or step.
        """
        run = self._run(path)
        if problem_id not in run.ids:
            raise DoesNotApply("the donor run has not stored the problem")
        row = run.row(problem_id)
        canvas = self._canvas(run, row, step)
        return Donor(canvas.tolist(), self._prompt(run, row))

    def _run(self, path: str) -> Run:
        if path not in self._runs:
            run = open_run(Path(path))
            _check_fits(run, self._model)
            self._runs[path] = run
        return self._runs[path]

    def _canvas(self, run: Run, row: int, step: int) -> np.ndarray:
        token = np.asarray(run["token"][row])
        if step > len(token):
            raise DoesNotApply("the donor has fewer steps")
        if step > 0:
            canvas: np.ndarray = token[step - 1]
            return canvas
        if "start_token" in run:
            return np.asarray(run["start_token"][row])
        return np.full(token.shape[1], self._model.token_ids.mask)

    def _prompt(self, run: Run, row: int) -> tuple[int, ...]:
        config = run.info["config"]
        problem = run.problems[int(run.index[row])]
        try:
            prompt = build_prompt(
                problem,
                0,
                self._model,
                style=config["prompt_style"],
                gen_length=config["gen_length"],
                template=config.get("prompt_template", ""),
            )
        except PromptError as error:
            raise DamagedRun(f"{run.path}: problem {problem.id!r} has no prompt: {error}") from None
        expected = int(run["prompt_length"][row])
        if len(prompt.token_ids) != expected:
            raise DamagedRun(
                f"{run.path}: the prompt of problem {problem.id!r} has {len(prompt.token_ids)} "
                f"tokens now, {expected} when the run was made; the tokeniser or its chat template "
                "is another one"
            )
        return prompt.token_ids


def _check_fits(run: Run, model: MaskedDiffusionModel) -> None:
    theirs = run.info["model"]["fingerprint"]
    if theirs != model.fingerprint:
        raise ConfigError(
            f"{run.path}: states of another model cannot be put in: its fingerprint is "
            f"{theirs[:12]}, this model's {model.fingerprint[:12]}; give a run of this one"
        )
    if "token" not in run:
        raise ConfigError(
            f"{run.path}: keeps no canvases (record: answers, or nothing finished yet), so that it "
            "has no states to give; give a run with record all or masked"
        )
