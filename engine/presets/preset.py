"""What a preset is: the settings of a published evaluation, its scores, and where both are found.

Data only. Imports no torch, so that `run --help` and `list presets` answer at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Score(NamedTuple):
    """A published number, in percent, and the program that it was measured with."""

    value: float
    measured_with: str


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One published evaluation, or one published recipe, which has no score.

    `settings`: values of settings of the run and of all options of its policy, by name, but for
    those in `LEFT_TO_THE_RUN`.
    """

    model: str
    """Name of the repository that has the weights."""

    architecture: str
    """As in the checkpoint's config.json."""

    task: str
    """The set of problems, as the source calls it; empty for a recipe."""

    settings: Mapping[str, Any]

    scores: tuple[Score, ...] = ()

    metric: str = "accuracy"

    examples: int = 0
    """Worked examples that stood before each question. They are the evaluation's, so none is here.
    """

    prompt: str = ""
    """How the published prompt was made, in half a sentence."""

    differs: tuple[str, ...] = ()
    """What a run of this preset does not do as the evaluation did."""

    sources: tuple[str, ...]
    """Addresses at which settings, score and prompt can be checked."""

    @property
    def policy(self) -> str:
        """The policy that the settings are of."""
        return str(self.settings["policy"])

    def record(self) -> dict[str, Any]:
        """All of it as plain values."""
        scores = [score._asdict() for score in self.scores]
        values = {**vars(self), "settings": dict(self.settings), "scores": scores}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


LEFT_TO_THE_RUN = ("seed", "numerics")
"""Options of policies that no preset sets: published scores name no seed, and `numerics reference`
is for comparing tokens on the machine of the published code."""

EXTRACTION = "answers are extracted and graded by our rules"
STOP_WORDS = "the text is not cut at the harness's stop words before it is graded"
CHOICES = "choices are shown and asked for in our own words"
PROGRAMS = "programs are not executed here, so nothing is graded"
INSTRUCTIONS = "instructions are not checked here, so nothing is graded"
"""In what a run may differ from an evaluation, whoever published it."""
