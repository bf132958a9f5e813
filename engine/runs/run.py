"""A run from lock to last shard, on one device or several: resume, decode, publish, stop cleanly at
any moment.

`run` is the whole product behind `diffengine run`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...kernels.transfer import host_array
from ..answers.gold import gold_warnings
from ..models.bundled import BUNDLED
from ..models.loading import MaskedDiffusionModel
from ..problems.read import Problem
from ..problems.samples import count_problems
from ..prompts.prompt import Prompt
from ..signals import stopping
from ..store import RunLock, completed_ids, resume_run, set_aside_repeats, sweep_temporaries
from ..store.counts import decodings_text, unit_of
from ..store.disk import make_directory, replace_content
from ..store.format.output_head import write_head
from ..store.format.verdicts import CORRECT
from ..store.process import this_process
from .cluster.worker import Job
from .device import Device
from .disk_need import refuse_if_too_large
from .estimate import Estimate, estimate
from .execution import Execution, token_budget
from .memory import footprint
from .plan import Plan, Request, Source, default_model, default_out, plan_run
from .progress import Progress
from .run_json import BRANCHES, enter_run
from .session import Session, write_phases
from .token_table import settle_tokens
from .writer import ShardWriter

__all__ = [
    "BUNDLED",
    "Execution",
    "Progress",
    "RunResult",
    "default_model",
    "default_out",
    "estimate_run",
    "run",
]

logger = logging.getLogger(__name__)


class RunResult(NamedTuple):
    """What a finished command leaves: where, and how many decodings were done now, done before, and
    failed. Each is a `unit`: a problem, a sample, or a branch; `problems`: how many problems of the
    input they are of (0 where nobody says)."""

    path: Path
    done: int
    resumed: int
    failed: dict[str, str]
    problems: int = 0
    are_branches: bool = False

    @property
    def unit(self) -> str:
        """What one decoding is."""
        return unit_of(self.asked, self.problems, are_branches=self.are_branches)

    @property
    def asked(self) -> int:
        """How many decodings were asked for."""
        return self.done + self.resumed + len(self.failed)

    @property
    def has_several(self) -> bool:
        """Whether a problem has several."""
        return 0 < self.problems < self.asked

    @property
    def finished(self) -> str:
        """What is there now: "40 problems", "160 samples of 40 problems", or "256 branches"."""
        return decodings_text(self.done + self.resumed, self.unit, self.problems)

    def __repr__(self) -> str:
        return (
            f"<RunResult {self.path}: {self.finished}, {self.done} of them now, "
            f"{self.resumed} before, {len(self.failed)} failed>"
        )


def run(
    problems: Source = "samples",
    *,
    out: str | Path | None = None,
    model: str | Path | MaskedDiffusionModel | None = None,
    limit: int | None = None,
    ids: Collection[str] | None = None,
    skip_bad: bool = False,
    execution: Execution | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    preset: str | None = None,
    samples: int = 1,
    **settings: Any,
) -> RunResult:
    """Decode `problems` into the run directory `out`; the same call goes on where an earlier one
    stopped.

    Without `out` the directory is named after the problems and the settings, so the same call still
    finds it. `samples` decodes each problem so many times; more of them later go on, those that are
    there stay.

    `settings` are RunConfig's fields and the options of the policy; those not given come from the
    `preset` (a published evaluation), then from the checkpoint, then from their defaults. Raises
    ConfigError for settings that cannot be or that differ from the run in `out`, UnknownNameError
    and PluginError for a policy or a preset that is none, ProblemError for bad problems,
    CheckpointError, StorageError; nothing that was published is ever lost.
    """
    execution = execution or Execution()
    request = Request(
        problems,
        out=out,
        model=model,
        limit=limit,
        ids=ids,
        skip_bad=skip_bad,
        execution=execution,
        settings=settings,
        preset=preset,
        weights=not execution.distributed,
        samples=samples,
    )
    return carry_out(plan_run(request), on_progress)


def carry_out(plan: Plan, on_progress: Callable[[Progress], None] | None = None) -> RunResult:
    """Decode what a plan says and is not done yet; raises as `run` does."""
    refuse_if_too_large(
        plan.config,
        plan.model,
        n_problems=len(plan.problems),
        out=plan.out,
        limits=plan.execution.limits,
    )
    firsts = [problem for problem in plan.problems if not problem.sample]
    for warning in gold_warnings(problem.answer for problem in firsts):
        logger.warning(warning)
    make_directory(plan.out)
    with RunLock(plan.out):
        info, stored = enter_run(plan.out, plan.info, plan.problems)
        with Session(plan.out, devices=plan.info["devices"], run_id=info["run_id"]) as session:

            def report(progress: Progress) -> None:
                session.update(progress._asdict())
                if on_progress is not None:
                    on_progress(progress)

            return _RunAtWork(plan, info, report).run(stored)


def estimate_run(
    problems: Source = "samples",
    *,
    out: str | Path | None = None,
    model: str | Path | MaskedDiffusionModel | None = None,
    execution: Execution | None = None,
    preset: str | None = None,
    samples: int = 1,
    **settings: Any,
) -> Estimate:
    """What `run` with the same arguments still has to do: disk, memory, time. Writes nothing;
    raises as `run` does."""
    execution = execution or Execution()
    # Where the GPUs are elsewhere nothing can be timed, and shapes are enough for the rest.
    can_be_timed = not execution.on_gpu or torch.cuda.is_available()
    request = Request(
        problems,
        out=out,
        model=model,
        execution=execution,
        settings=settings,
        preset=preset,
        weights=can_be_timed,
        samples=samples,
    )
    plan = plan_run(request)
    done: set[str] = set()
    if (plan.out / "run.json").exists():
        info, _ = enter_run(plan.out, plan.info, [])
        done = completed_ids(plan.out, fingerprint=info["fingerprint"])
    todo = [(i, p) for i, p in enumerate(plan.problems) if p.id not in done]
    prompts = plan.prompts_of(todo).prompts
    return estimate(prompts, plan.model, plan.config, plan.execution, out=plan.out)


class _RunAtWork:
    """One command at work in a run directory whose lock it holds, and its counts so far."""

    def __init__(
        self, plan: Plan, info: dict[str, Any], on_progress: Callable[[Progress], None]
    ) -> None:
        self._plan = plan
        self._info = info
        self._on_progress = on_progress
        self._done = 0
        self._correct = 0
        self._resumed = 0
        self._total = 0
        self._problems = count_problems(plan.problems)
        self._are_branches = BRANCHES in plan.info
        self._failed: dict[str, str] = {}
        self._started = time.perf_counter()
        self._attrs = {
            "run_id": info["run_id"],
            "fingerprint": info["fingerprint"],
            "model_fingerprint": plan.model.fingerprint,
            "mask_token_id": plan.model.token_ids.mask,
        }

    def run(self, stored: list[Problem]) -> RunResult:
        """Resume, then decode whatever of the `stored` problems was asked for and is not done."""
        out = self._plan.out
        model = self._plan.model
        config = self._plan.config
        finished = self._resume()
        asked = {p.id for p in self._plan.problems}
        todo = [
            (place, problem)
            for place, problem in enumerate(stored)
            if problem.id in asked and problem.id not in finished
        ]
        self._total = len(asked)
        self._resumed = len(asked & finished)
        prompts, self._failed = self._plan.prompts_of(todo)
        _write_failed(out, self._failed)
        if config.save_logits == "hidden":
            write_head(out, host_array(model.head_weight), run_id=self._info["run_id"])
        self._started = time.perf_counter()
        self._report()
        while prompts:
            if self._plan.execution.distributed:
                self._on_workers(prompts)
            else:
                self._on_one_device(prompts)
            prompts = self._to_do_again(prompts)
        return RunResult(
            out, self._done, self._resumed, self._failed, self._problems, self._are_branches
        )

    def _to_do_again(self, prompts: list[Prompt]) -> list[Prompt]:
        """A worker that was given up but lived on may have stored problems a second time; one of
        two shards must go, and with it, now and then, a problem that no other has."""
        repeats = set_aside_repeats(self._plan.out)
        for name in repeats.names:
            logger.warning("%s: set aside, it repeats problems of another shard", name)
        again = [p for p in prompts if p.problem.id in repeats.lost]
        self._done -= len(again)
        return again

    def _resume(self) -> set[str]:
        resumable = resume_run(self._plan.out, fingerprint=self._info["fingerprint"])
        for shard, why in resumable.quarantined.items():
            logger.warning("%s: set aside, its problems are decoded again: %s", shard, why)
        self._settle_tokens()
        return resumable.done

    def _settle_tokens(self) -> None:
        settle_tokens(self._plan.out, self._token_text, run_id=self._info["run_id"])

    def _token_text(self, token: int) -> str:
        return str(self._plan.model.tokenizer.decode([token]))

    def _report(self, begun: float = 0.0) -> None:
        seconds = time.perf_counter() - self._started
        counts = (self._done, self._resumed, len(self._failed), self._total, self._correct)
        self._on_progress(Progress(*counts, seconds, begun, self._problems, self._are_branches))

    def _count(self, verdicts: list[int], begun: float) -> None:
        self._done = self._done + len(verdicts)
        self._correct = self._correct + verdicts.count(CORRECT)
        self._report(begun)

    def _on_one_device(self, prompts: list[Prompt]) -> None:
        out = self._plan.out
        model = self._plan.model
        writer = ShardWriter(out, attrs=self._attrs, token_text=self._token_text)
        with contextlib.ExitStack() as last:
            stop = last.enter_context(stopping("what is finished is written"))
            device = Device(model, self._plan.config, self._plan.execution, writer.put, stop)
            last.callback(
                lambda: write_phases(
                    out, "0", {**device.account(), "write_seconds": round(writer.seconds, 4)}
                )
            )
            last.callback(writer.close)
            last.callback(device.flush)
            with contextlib.closing(device.decode(prompts)) as stream:
                for finished in stream:
                    self._count([int(finished.columns["verdict"])], device.begun)

    def _on_workers(self, prompts: list[Prompt]) -> None:
        from .cluster.crew import decode_on_workers

        out = self._plan.out
        config = self._plan.config
        execution = self._plan.execution
        execution = replace(execution, device="cuda" if execution.on_gpu else "cpu")
        local_cpu = execution.cluster is None and not execution.on_gpu
        job = Job(
            out=str(out.resolve()),
            model=str(self._plan.model.path.resolve()),
            attrs=self._attrs,
            config=config,
            execution=execution,
            holder=str(this_process()),
            threads=max(1, (os.cpu_count() or 1) // execution.workers) if local_cpu else None,
        )
        budget = token_budget(execution.device or "cpu", config, execution)
        need = footprint(config, self._plan.model, keeps=execution.cache)
        try:
            self._failed |= decode_on_workers(
                prompts, job, budget=budget, on_published=self._count, need=need
            )
        finally:
            self._settle_tokens()
            sweep_temporaries(out)
        _write_failed(out, self._failed)
        self._report()


def _write_failed(out: Path, failed: dict[str, str]) -> None:
    path = out / "failed.jsonl"
    if failed or path.exists():
        lines = "".join(
            json.dumps({"id": i, "reason": r}, ensure_ascii=False) + "\n" for i, r in failed.items()
        )
        replace_content(path, lines.encode())
