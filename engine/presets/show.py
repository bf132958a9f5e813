"""The table of presets as a terminal and as docs/presets.md show it: one group for each model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import groupby

from ..options import options_of
from ..policies import options_class
from . import PRESETS
from .preset import Preset

COLUMNS = ("preset", "problems", "published prompt", "settings", "score in %", "differs")

LENGTHS = ("steps", "gen_length", "block_length")
"""Shown as numbers with slashes between them, as far as the policy has them."""

NAMESAKES = ("threshold", "factor")
"""Options that are what their policy is about: shown at the default as well."""


def lines() -> Iterator[str]:
    """The table for a terminal: under a model its presets with settings and scores in percent."""
    width = max(map(len, PRESETS))
    yield "settings: policy steps/tokens/block, and what else is not the policy's default"
    for presets in _groups():
        first = next(iter(presets.values()))
        yield ""
        yield f"{first.model} ({first.architecture})"
        for name, preset in presets.items():
            scores = scores_text(preset) or "a recipe without a score"
            yield f"  {name:{width}}  {settings_text(preset):52}  {scores}"
        yield f"    {first.sources[0]}"


def markdown() -> str:
    """The same as a page has it, with everything that a preset says of itself."""
    return "\n".join(part for presets in _groups() for part in _section(presets))


def settings_text(preset: Preset) -> str:
    """`llada 512/512/8 confidence_eos_eot_inf`: the lengths, and what is not the default."""
    settings = dict(preset.settings)
    kind = options_class(preset.policy)
    lengths = "/".join(str(settings[name]) for name in LENGTHS if name in settings)
    rest = []
    for name in options_of(kind):
        default = getattr(kind, name)
        value = settings.get(name, default)
        if name not in LENGTHS and (value != default or name in NAMESAKES):
            rest.append(name if value is True else f"{name} {value}")
    return " ".join([preset.policy, lengths, ", ".join(rest)]).strip()


def scores_text(preset: Preset) -> str:
    """`69.4 internal toolkit, 68.8 OpenCompass`, with the metric where it is no accuracy."""
    scores = ", ".join(f"{score.value} {score.measured_with}" for score in preset.scores)
    return f"{preset.metric}: {scores}" if scores and preset.metric != "accuracy" else scores


def _groups() -> Iterator[Mapping[str, Preset]]:
    """Neighbours that are of one model and have one first source."""
    for _, rows in groupby(PRESETS.items(), key=lambda row: (row[1].model, row[1].sources[0])):
        yield dict(rows)


def _section(presets: Mapping[str, Preset]) -> Iterator[str]:
    name, first = next(iter(presets.items()))
    yield f"## {first.model}, by {_publisher(first)}"
    yield ""
    folder = first.model.rpartition("/")[2]
    problems = f"{first.task.split()[0].lower()}.jsonl" if first.task else "questions.jsonl"
    yield f"    diffengine run --preset {name} --model ./{folder} --problems {problems} --gpus 1"
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for row, preset in presets.items():
        cells = (
            f"`{row}`",
            preset.task or "any",
            _prompt_text(preset),
            settings_text(preset),
            scores_text(preset) or "none",
            "; ".join(preset.differs) or "",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    for source in dict.fromkeys(source for preset in presets.values() for source in preset.sources):
        yield f"- {source}"
    yield ""


def _prompt_text(preset: Preset) -> str:
    """How the published prompt was made, with its words where the preset has them."""
    template = json.dumps(preset.settings["prompt_template"])
    return preset.prompt if template == '""' else f"{preset.prompt}: `{template}`"


def _publisher(preset: Preset) -> str:
    """The repository that the first source lies in, as owner/name."""
    return "/".join(preset.sources[0].split("/")[3:5])
