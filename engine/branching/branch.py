"""Branches of a run: its states decoded on, many times or changed.

`branch` is the whole of `diffengine branch`. Branches are a run of their own inside their parent's
directory, so that workers, resuming and checks are those of any run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.loading import MaskedDiffusionModel
from ..runs.execution import Execution, token_budget
from ..runs.run import Progress, RunResult, carry_out
from ..runs.timing import timed_steps
from .plan import BranchPlan, Cost, plan_branches
from .request import BranchRequest

if TYPE_CHECKING:
    from ..store.read.run import Run

__all__ = ["BranchPlan", "BranchRequest", "Cost", "branch", "plan_branches", "seconds_of"]

logger = logging.getLogger(__name__)

NAMED = 3
"""Interventions named in one line of the log."""

TIMED_PROMPTS = 512
"""Branches that the timed steps choose from; more than a device's batch holds."""


def branch(
    run: str | Path | Run,
    *,
    at: int | Sequence[int] | None = None,
    do: str | Sequence[str] = (),
    samples: int | None = None,
    noise: str | None = None,
    ids: Collection[str] | None = None,
    limit: int | None = None,
    record: str = "answers",
    model: str | Path | MaskedDiffusionModel | None = None,
    execution: Execution | None = None,
    on_plan: Callable[[BranchPlan], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> RunResult:
    """Go on from the states of a stored `run`; the same call goes on where an earlier one stopped.

    `at` are the steps whose canvas a branch begins with: at step t it holds what t steps have
    committed. `do` are interventions that are made there (docs/analysis.md), each beside branches
    of the state as it was. `samples` branches of each state, 16, or 1 where something is done. With
    `noise` "fresh", the default for several, each branch draws its own; with "parent" it has the
    noise of the parent, so that nothing done gives the parent's suffix again. `record` "answers"
    keeps how each branch ends, "masked" and "all" its trajectory too.

    `settings` may change `temperature` (1 where branches are drawn and the parent was greedy) and
    `seed`. The result's `path` is a run directory, RUN/branches/<settings>, for `open_run` and
    `diffengine verify`; more steps or samples go into the same one. `on_plan` hears the cost first.

    Raises NotARun and DamagedRun for the parent, ConfigError for what cannot be, CheckpointError,
    PluginError, StorageError.
    """
    where = run if isinstance(run, str | Path) else run.path
    request = BranchRequest(
        Path(where),
        at=[at] if isinstance(at, int) else at,
        do=(do,) if isinstance(do, str) else tuple(do),
        samples=samples,
        noise=noise,
        ids=ids,
        limit=limit,
        record=record,
        model=model,
        execution=execution or Execution(),
        settings=settings,
    )
    planned = plan_branches(request)
    if on_plan is not None:
        on_plan(planned)
    for reason, texts in planned.skipped.items():
        named = list(dict.fromkeys(texts))
        more = ", ..." if len(named) > NAMED else ""
        logger.warning(
            "left out on %d states, for %s: %s%s",
            len(texts),
            reason,
            ", ".join(named[:NAMED]),
            more,
        )
    if not planned.plan.problems:
        return RunResult(planned.plan.out, 0, 0, {}, are_branches=True)
    return carry_out(planned.plan, on_progress)


def seconds_of(planned: BranchPlan) -> float | None:
    """How long the branches that are not there yet will decode, by timed steps on the device at
    hand; None where the devices are elsewhere or there is nothing to decode."""
    plan = planned.plan
    execution = plan.execution
    if execution.distributed or not planned.todo:
        return None
    first = list(enumerate(planned.todo))[:TIMED_PROMPTS]
    prompts = plan.prompts_of(first).prompts
    if not prompts:
        return None
    budget = token_budget(plan.model.device.type, plan.config, execution)
    timing = timed_steps(prompts, plan.model, plan.config, budget=budget)
    return planned.cost.tokens / timing.rate
