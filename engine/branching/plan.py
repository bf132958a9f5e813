"""From what somebody asks of branches to a run of them that can start: the states of the parent,
the problems that stand for branches, their prompts, and what it will cost. Writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..config import RunConfig
from ..models.bundled import bundled_name
from ..models.loading import MaskedDiffusionModel, load_model
from ..options import ConfigError
from ..policies import make_policy
from ..problems.read import Problem, ProblemSet
from ..problems.samples import count_problems
from ..prompts.prompt import Prompt
from ..runs.plan import Plan, Prompts, checkpoint_path, device_names, prompts_of
from ..runs.run_json import BRANCHES, describe_run
from ..store import completed_ids
from ..store.counts import count_text
from ..store.errors import DamagedRun
from ..store.read.branch_runs import FOLDER
from ..store.read.run import Run, open_run
from .branches import Branch, Planner
from .request import FRESH, BranchRequest, default_grid
from .states import check_parent, check_steps


class Cost(NamedTuple):
    """What branches take, before they start, in forward passes of one row.

    `branches` to decode, beside those that are `there` from before, of so many `decodings` of the
    parent; states that are `settled`, where nothing is left to decode; `forwards` of all that is to
    decode, and `parent_forwards` of the decodings; `tokens` that go through the network for that.
    `as_parent`: the schedule is free, so that each branch was taken to make as many passes as its
    parent made from there.
    """

    branches: int
    there: int
    decodings: int
    settled: int
    forwards: int
    parent_forwards: int
    tokens: int
    as_parent: bool

    @property
    def times_parent(self) -> float:
        """How many times the forward passes of the decodings that they leave."""
        return self.forwards / self.parent_forwards


@dataclass(frozen=True)
class BranchPlan:
    """A plan as any run's, what it costs, and the places of the grid."""

    plan: Plan
    cost: Cost
    at: list[int]
    samples: int
    noise: str
    skipped: Mapping[str, list[str]]
    """Interventions that could not be made, by their reasons; one entry for each state."""
    todo: Sequence[Problem]
    """The branches that are not there yet."""


def plan_branches(request: BranchRequest) -> BranchPlan:
    """Check what is asked, read the parent's states, load its model, settle the settings.

    Raises NotARun, DamagedRun, ConfigError, CheckpointError, PluginError.
    """
    with open_run(request.run) as parent:
        check_parent(parent)
        steps = parent.sizes["step"]
        at = sorted(set(default_grid(steps) if request.at is None else request.at))
        check_steps(at, steps=steps)
        model = _model(request, parent)
        config = _config(request, parent, model)
        policy = make_policy(
            config.policy, config.sampler, model.token_ids, n_candidates=model.n_candidates
        )
        _refuse_equal_branches(request, config)
        planner = Planner(request, parent, model, policy, config, at)
        branches = planner.branches()
        problems = [branch.problem for branch in branches]
        info = _info(request, parent, model, config, at, planner.texts, count_problems(problems))

    info["schedule"] = "free" if policy.free_schedule else "fixed"
    by_id = {branch.problem.id: branch for branch in branches}

    def prompts(todo: list[tuple[int, Problem]]) -> Prompts:
        return _prompts(todo, by_id, model, config)

    out = Path(request.run) / FOLDER / info["fingerprint"][:8]
    plan = Plan(out, info, problems, model, config, request.execution, prompts)
    there = _there(plan)
    todo = [branch for branch in branches if branch.problem.id not in there]
    cost = Cost(
        branches=len(todo),
        there=len(branches) - len(todo),
        decodings=len({branch.parent.id for branch in branches}),
        settled=planner.settled,
        forwards=_forwards(todo, config),
        parent_forwards=sum({b.parent.id: b.parent_forwards for b in branches}.values()),
        tokens=_tokens(todo, config),
        as_parent=policy.free_schedule,
    )
    return BranchPlan(
        plan,
        cost,
        at,
        request.n_samples,
        request.noise_name,
        planner.skipped,
        [branch.problem for branch in todo],
    )


def _there(plan: Plan) -> set[str]:
    """Ids of the branches that an earlier command has made."""
    if not (plan.out / "run.json").exists():
        return set()
    return completed_ids(plan.out, fingerprint=plan.info["fingerprint"])


def _model(request: BranchRequest, parent: Run) -> MaskedDiffusionModel:
    """The parent's model, which may have been loaded already. Raises ConfigError where it is
    another one."""
    of_parent = parent.info["model"]
    model = request.model
    if not isinstance(model, MaskedDiffusionModel):
        path = checkpoint_path(model or of_parent["path"])
        execution = request.execution
        model = load_model(
            path,
            device="cpu" if execution.distributed else execution.device,
            dtype=of_parent["dtype"],
            weights=not execution.distributed,
        )
    if model.fingerprint != of_parent["fingerprint"]:
        raise ConfigError(
            f"{model.path}: is not the model of {parent.path}: its fingerprint is "
            f"{model.fingerprint[:12]}, the run's {of_parent['fingerprint'][:12]}; give --model "
            "with the checkpoint that the run was made with"
        )
    return model


def _config(request: BranchRequest, parent: Run, model: MaskedDiffusionModel) -> RunConfig:
    """The parent's settings, but for the temperature, for what is recorded, and for those that were
    given."""
    settings = dict(parent.info["config"])
    del settings["model"], settings["dtype"]
    settings["record"] = request.record
    settings["mean_hidden"] = False
    if request.record == "answers":
        settings["save_logits"] = "none"
    if request.noise_name == FRESH and settings.get("temperature") == 0:
        settings["temperature"] = 1.0
    _refuse_what_the_policy_has_not(request, settings)
    settings |= request.settings
    return RunConfig.of(
        model=bundled_name(model.path) or str(model.path),
        dtype=str(model.dtype).removeprefix("torch."),
        **settings,
    )


def _refuse_what_the_policy_has_not(request: BranchRequest, settings: Mapping[str, Any]) -> None:
    strange = [name for name in request.settings if name not in settings]
    if strange:
        raise ConfigError(
            f"policy {settings['policy']} has no option {strange[0]}, so its branches cannot have "
            "another one than the parent run"
        )


def _refuse_equal_branches(request: BranchRequest, config: RunConfig) -> None:
    if request.n_samples > 1 and getattr(config.sampler, "temperature", None) == 0:
        raise ConfigError(
            f"temperature is 0 and samples {request.n_samples}: the tokens of all branches of a "
            "state would be equal; give a temperature above 0, or samples 1"
        )


def _prompts(
    todo: list[tuple[int, Problem]],
    branches: Mapping[str, Branch],
    model: MaskedDiffusionModel,
    config: RunConfig,
) -> Prompts:
    """The prompts of branches: each of their parents' is made once. Raises DamagedRun where it is
    not the one that the parent run saw."""
    made: dict[str, Prompt] = {}
    prompts = []
    failed: dict[str, str] = {}
    for place, problem in todo:
        branch = branches[problem.id]
        name = branch.parent.id
        if name not in made and name not in failed:
            of_parent = prompts_of([(0, branch.parent)], model, config)
            failed |= of_parent.failed
            for prompt in of_parent.prompts:
                _check_prompt(prompt, branch)
                made[name] = prompt
        if name in failed:
            failed[problem.id] = failed[name]
            continue
        prompts.append(
            made[name]._replace(problem=problem, place=place, key=branch.key, start=branch.start)
        )
    return Prompts(prompts, {p.id: failed[p.id] for _, p in todo if p.id in failed})


def _check_prompt(prompt: Prompt, branch: Branch) -> None:
    if len(prompt.token_ids) != branch.prompt_length:
        raise DamagedRun(
            f"problem {branch.parent.id!r}: its prompt has "
            f"{count_text(len(prompt.token_ids), 'token')} now, {branch.prompt_length} in the "
            "parent run; the tokeniser or its chat template is another one"
        )


def _info(
    request: BranchRequest,
    parent: Run,
    model: MaskedDiffusionModel,
    config: RunConfig,
    at: Sequence[int],
    texts: Sequence[str],
    n_problems: int,
) -> dict[str, Any]:
    """run.json of the branches, which are of `n_problems` problems of the input."""
    of_parent = {name: parent.info[name] for name in ("run_id", "fingerprint")}
    # Steps and branches of a state may become more in the same directory; all else may not differ.
    fixed = {"parent": of_parent, "noise": request.noise_name, "interventions": list(texts)}
    digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
    source = f"branches of {Path(parent.path).name}"
    problems = ProblemSet([], [], digest, source)
    info = describe_run(config, model, problems, devices=device_names(model, request.execution))
    info["data"]["n_problems"] = n_problems
    info[BRANCHES] = {**fixed, "at": list(at), "samples": request.n_samples}
    return info


def _forwards(branches: Sequence[Branch], config: RunConfig) -> int:
    """Forward passes of rows; guidance sends each through the network twice."""
    return sum(branch.passes for branch in branches) * (2 if config.guided else 1)


def _tokens(branches: Sequence[Branch], config: RunConfig) -> int:
    """Tokens that go through the network in them."""
    lengths = [branch.prompt_length + config.gen_length for branch in branches]
    rows = zip(branches, lengths, strict=True)
    return sum(branch.passes * length for branch, length in rows) * (2 if config.guided else 1)
