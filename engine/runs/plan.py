"""From what somebody asked for to a run that can start: problems, checkpoint, settings, policy,
directory. Writes nothing."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..config import ConfigError, RunConfig, check_settings, resolve
from ..models.bundled import BUNDLED, NAMES, bundled_name
from ..models.loading import MaskedDiffusionModel, load_model, published_policy, refuse_blocks
from ..policies import make_policy, policies_for
from ..presets import remarks, what_was_changed, with_preset
from ..problems.read import Problem, ProblemSet, read_problems
from ..problems.samples import check_samples, with_samples
from ..prompts.prompt import Prompt, PromptError, build_prompt
from ..store.counts import count_text
from .execution import Execution
from .run_json import describe_run

logger = logging.getLogger(__name__)

ORIGINAL_CHECKPOINT = Path("llada-8b")

MOST_ALIKE = 3
"""Problems named one by one in the log that fail for the same reason."""

Source = str | Path | Sequence[str | Path] | ProblemSet


@dataclass(frozen=True)
class Request:
    """What somebody asked for: the arguments of `run`. Without `weights` the model has only its
    shapes, where workers load theirs. `settings` are those given by hand; they stand above the
    preset's once `on_preset` was asked. `samples`: how often each problem is decoded."""

    problems: Source = "samples"
    out: str | Path | None = None
    model: str | Path | MaskedDiffusionModel | None = None
    limit: int | None = None
    ids: Collection[str] | None = None
    skip_bad: bool = False
    execution: Execution = field(default_factory=Execution)
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    weights: bool = True
    samples: int = 1

    def on_preset(self) -> Request:
        """The same with the settings of the preset below those given by hand. Raises
        UnknownNameError, ConfigError."""
        if self.preset is None:
            return self
        return replace(self, settings=with_preset(self.preset, self.settings))

    def read_problems(self) -> ProblemSet:
        """The problems, which may have been read already. Raises ProblemError."""
        if isinstance(self.problems, ProblemSet):
            return self.problems
        return read_problems(self.problems, skip_bad=self.skip_bad, limit=self.limit, ids=self.ids)

    def policy(self) -> Any:
        """The policy that was asked for, else the one that the model's family is published with.
        Raises CheckpointError, PluginError."""
        asked = self.settings.get("policy")
        if asked is not None:
            return asked
        if isinstance(self.model, MaskedDiffusionModel):
            return self.model.family.policy
        return published_policy(checkpoint_path(self.model))

    def load_model(self) -> MaskedDiffusionModel:
        """The model, which may have been loaded already. Raises CheckpointError.

        A run that keeps hidden states keeps the head as well, and reads it in this process.
        """
        if isinstance(self.model, MaskedDiffusionModel):
            return self.model
        execution = self.execution
        for_head = not self.weights and self.settings.get("save_logits") == "hidden"
        device = "cpu" if for_head and execution.distributed else execution.device
        dtype = self.settings.get("dtype")
        if dtype is None and execution.distributed and execution.on_gpu:
            dtype = "bfloat16"
        path = checkpoint_path(self.model)
        return load_model(path, device=device, dtype=dtype, weights=self.weights or for_head)


class Prompts(NamedTuple):
    """Problems on their way to a decoder, and the reasons of those that cannot be decoded."""

    prompts: list[Prompt]
    failed: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """A run that can start. `info` is its run.json if it is a new one. `problems`: one for each
    decoding, so that a problem with several samples stands there several times."""

    out: Path
    info: dict[str, Any]
    problems: list[Problem]
    model: MaskedDiffusionModel
    config: RunConfig
    execution: Execution
    prompts: Callable[[list[tuple[int, Problem]]], Prompts] | None = None
    """Prompts of problems with their places, where they are not what `prompts_of` makes."""

    def prompts_of(self, todo: list[tuple[int, Problem]]) -> Prompts:
        """Prompts of problems with their places; those that cannot be decoded are logged."""
        if self.prompts is not None:
            return self.prompts(todo)
        return prompts_of(todo, self.model, self.config)


def plan_run(request: Request) -> Plan:
    """Check the settings, read the problems, load the model, settle every default, try the policy,
    name the directory.

    Raises ConfigError for settings that cannot be, UnknownNameError and PluginError for a policy or
    a preset that is none, ProblemError, CheckpointError.
    """
    request = request.on_preset()
    settings = {name: value for name, value in request.settings.items() if name != "dtype"}
    settings["policy"] = request.policy()
    kind = check_settings(settings)
    problems = request.read_problems()
    execution = request.execution
    model = request.load_model()
    check_attention(str(settings["policy"]), model, of_blocks=kind.of_blocks)
    config = resolve(
        settings,
        checkpoint=model.sampler_defaults,
        model=bundled_name(model.path) or str(model.path),
        dtype=str(model.dtype).removeprefix("torch."),
    )
    for option, is_asked in (("--compile", execution.compile), ("--fused", execution.fused)):
        if is_asked:
            refuse_blocks(model, option)
    check_samples(request.samples, float(getattr(config.sampler, "temperature", 0.0) or 0.0))
    decodings = with_samples(problems.problems, request.samples)
    # Each device makes its own; here the policy refuses what it will not take, before anything
    # is written.
    policy = make_policy(
        config.policy, config.sampler, model.token_ids, n_candidates=model.n_candidates
    )
    info = describe_run(config, model, problems, devices=device_names(model, execution))
    info["data"]["samples"] = request.samples
    info["schedule"] = "free" if policy.free_schedule else "fixed"
    if request.preset is not None:
        info["preset"] = _said_of_preset(request.preset, model, config)

    default = default_out(problems, info["fingerprint"])
    out = default if request.out is None else Path(request.out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; give --out a directory")
    return Plan(out, info, decodings, model, config, execution)


def check_attention(policy: str, model: MaskedDiffusionModel, *, of_blocks: bool) -> None:
    """Raise ConfigError where the policy, which is for models that attend block by block if it is
    `of_blocks`, is for others than this one."""
    by_blocks = model.family.blocks is not None
    if of_blocks != by_blocks:
        what = "attends block by block" if by_blocks else "attends fully"
        other = "fully" if by_blocks else "block by block"
        raise ConfigError(
            f"policy {policy} is for models that attend {other}, and {model.architecture} "
            f"{what}; use --policy {model.family.policy}, which is its own, or one of "
            f"{', '.join(policies_for(blocks=by_blocks))}"
        )


def _said_of_preset(name: str, model: MaskedDiffusionModel, config: RunConfig) -> dict[str, Any]:
    """What run.json says of the preset; what stands between the run and the published score is
    logged."""
    for remark in remarks(
        name,
        architecture=model.architecture,
        is_bundled=bundled_name(model.path) is not None,
        prompt_template=config.prompt_template,
    ):
        logger.warning("%s", remark)
    return what_was_changed(name, config.as_dict())


def default_model() -> Path:
    """The original suite's `./llada-8b` if it is there, else the bundled model that attends
    fully."""
    return ORIGINAL_CHECKPOINT if ORIGINAL_CHECKPOINT.is_dir() else BUNDLED


def checkpoint_path(model: str | Path | None) -> Path:
    """Where the checkpoint lies that somebody called `model`: a directory, one of the bundled
    models' names, or the default."""
    path = default_model() if model is None else Path(model)
    return path if path.exists() else NAMES.get(str(path), path)


def default_out(problems: ProblemSet, fingerprint: str) -> Path:
    """runs/<problems>-<fingerprint>: the same problems and settings always lead to the same
    directory."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(problems.source).stem).strip("-") or "problems"
    return Path("runs") / f"{stem[:40]}-{fingerprint[:8]}"


def prompts_of(
    todo: list[tuple[int, Problem]], model: MaskedDiffusionModel, config: RunConfig
) -> Prompts:
    """Prompts of problems with their places; those that cannot be decoded are logged."""
    prompts = []
    failed = {}
    for place, problem in todo:
        try:
            prompt = build_prompt(
                problem,
                place,
                model,
                style=config.prompt_style,
                gen_length=config.gen_length,
                template=config.prompt_template,
            )
            prompts.append(prompt)
        except PromptError as error:
            failed[problem.id] = str(error)
    _warn_of(failed)
    return Prompts(prompts, failed)


def _warn_of(failed: Mapping[str, str]) -> None:
    """Log the reasons, each by the first few problems that have it."""
    reasons: Counter[str] = Counter()
    for problem_id, reason in failed.items():
        reasons[reason] += 1
        if reasons[reason] <= MOST_ALIKE:
            logger.warning("problem %s: %s", problem_id, reason)
    for reason, count in reasons.items():
        if count > MOST_ALIKE:
            more = count_text(count - MOST_ALIKE, "more problem")
            logger.warning("and %s: %s", more, reason)


def device_names(model: MaskedDiffusionModel, execution: Execution) -> list[str]:
    """What run.json says of the devices."""
    if execution.distributed:
        return ["cuda" if execution.on_gpu else "cpu"] * execution.workers
    if model.device.type != "cuda":
        return [model.device.type]
    return [torch.cuda.get_device_name(model.device)]
