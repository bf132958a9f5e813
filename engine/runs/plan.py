"""From what somebody asked for to a run that can start: problems, checkpoint, settings, directory.
Writes nothing.

Knows what belongs to a run, not how it is decoded or stored.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..config import ConfigError, RunConfig, resolve
from ..models.bundled import BUNDLED
from ..models.loading import MaskedDiffusionModel, load_model
from ..policies import POLICIES
from ..problems.read import Problem, ProblemSet, read_problems
from ..prompts.prompt import Prompt, PromptError, build_prompt
from .device import Execution
from .run_json import describe_run

logger = logging.getLogger(__name__)

SEED_CHECKPOINT = Path("llada-8b")

MOST_ALIKE = 3
"""Problems named one by one in the log that fail for the same reason."""

Source = str | Path | Sequence[str | Path] | ProblemSet


class Plan(NamedTuple):
    """A run that can start. `info` is its run.json if it is a new one; `model` may lack weights
    that others load."""

    out: Path
    info: dict[str, Any]
    problems: list[Problem]
    model: MaskedDiffusionModel
    config: RunConfig
    execution: Execution


def default_model() -> Path:
    """The seed's `./llada-8b` if it is there, else the bundled model, which is also called
    `bundled`."""
    return SEED_CHECKPOINT if SEED_CHECKPOINT.is_dir() else BUNDLED


def checkpoint_path(model: str | Path | None) -> Path:
    """Where the checkpoint lies that somebody called `model`: a directory, `bundled`, or the
    default."""
    path = default_model() if model is None else Path(model)
    return BUNDLED if path == Path("bundled") and not path.exists() else path


def default_out(problems: ProblemSet, fingerprint: str) -> Path:
    """runs/<problems>-<fingerprint>: the same problems and settings always lead to the same
    directory."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(problems.source).stem).strip("-") or "problems"
    return Path("runs") / f"{stem[:40]}-{fingerprint[:8]}"


def chosen_problems(problems: Source, **choice: Any) -> ProblemSet:
    """The problems themselves, read if they are not given as such; `choice` is
    `read_problems`'s."""
    return problems if isinstance(problems, ProblemSet) else read_problems(problems, **choice)


def plan_run(
    chosen: ProblemSet,
    *,
    out: str | Path | None,
    model: str | Path | MaskedDiffusionModel | None,
    execution: Execution,
    settings: dict[str, Any],
    weights: bool = True,
) -> Plan:
    """Load the model (without `weights` only its shapes, where workers load theirs), settle every
    setting and the name.

    A run that keeps hidden states keeps the head as well, and reads it in this process. Raises
    ConfigError for settings that cannot be, CheckpointError.
    """
    head_alone = not weights and settings.get("save_logits") == "hidden"
    device = "cpu" if head_alone and execution.distributed else execution.device
    weights = weights or head_alone
    dtype = settings.pop("dtype", None) or (
        "bfloat16" if execution.distributed and execution.on_gpu else None
    )
    loaded = _loaded(model, device=device, dtype=dtype, weights=weights)
    dtype = str(loaded.dtype).removeprefix("torch.")
    name = "bundled" if loaded.path == BUNDLED else str(loaded.path)
    config = resolve(settings, checkpoint=loaded.sampler_defaults, model=name, dtype=dtype)
    info = describe_run(config, loaded, chosen, devices=_device_names(loaded, execution))
    path = Path(out) if out is not None else default_out(chosen, info["fingerprint"])
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path}: is a file; give --out a directory")
    _ = POLICIES[config.policy]  # a wrong name is refused before anything is made
    return Plan(path, info, chosen.problems, loaded, config, execution)


def prompts_of(
    todo: list[tuple[int, Problem]], model: MaskedDiffusionModel, config: RunConfig
) -> tuple[list[Prompt], dict[str, str]]:
    """Prompts of problems with their places, and the reasons of those that cannot be decoded."""
    prompts = []
    failed = {}
    reasons: Counter[str] = Counter()
    for index, problem in todo:
        try:
            prompts.append(
                build_prompt(
                    problem, index, model, style=config.prompt_style, gen_length=config.gen_length
                )
            )
        except PromptError as error:
            failed[problem.id] = str(error)
            reasons[str(error)] += 1
            if reasons[str(error)] <= MOST_ALIKE:
                logger.warning("problem %s: %s", problem.id, error)
    for reason, count in reasons.items():
        if count > MOST_ALIKE:
            logger.warning("and %d more problems: %s", count - MOST_ALIKE, reason)
    return prompts, failed


def _loaded(
    model: str | Path | MaskedDiffusionModel | None,
    *,
    device: str | None,
    dtype: str | None,
    weights: bool,
) -> MaskedDiffusionModel:
    if isinstance(model, MaskedDiffusionModel):
        return model
    return load_model(checkpoint_path(model), device=device, dtype=dtype, weights=weights)


def _device_names(model: MaskedDiffusionModel, execution: Execution) -> list[str]:
    if execution.distributed:
        return ["cuda" if execution.on_gpu else "cpu"] * execution.workers
    if model.device.type != "cuda":
        return [model.device.type]
    import torch

    return [torch.cuda.get_device_name(model.device)]
