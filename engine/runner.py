"""A run on one device, end to end: resume, decode, publish; stop cleanly wherever it is stopped.

`run` is the whole product behind `diffengine run`. Knows the order of things; the parts know the things.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .cluster_worker import Job
from .config import ConfigError, RunConfig, resolve
from .estimate import Estimate, estimate, refuse_if_too_large
from .models.loading import MaskedDiffusionModel, load_model
from .one_device import Execution, decode_and_publish, token_budget
from .phases import Phases
from .policies import POLICIES
from .problems import Problem, ProblemSet, read_problems
from .prompts import Prompt, PromptError, build_prompt
from .record import host_array
from .run_info import describe_run, enter_run, replace_file
from .status import Session, write_phases
from .store import RunLock, completed_ids, resume_run, sweep_temporaries
from .store.disk import write_file
from .store.head import write_head
from .store.process import this_process
from .writer import ShardWriter, merge_token_files

logger = logging.getLogger(__name__)

BUNDLED = Path(__file__).parent / "models" / "bundled" / "checkpoint"
SEED_CHECKPOINT = Path("llada-8b")


class Progress(NamedTuple):
    """How far a run is, in problems. `total` counts the problems that this command asked for."""

    done: int
    resumed: int
    failed: int
    total: int
    correct: int
    seconds: float


class RunResult(NamedTuple):
    """What a finished command leaves: where, and how many problems were done now, done before, and failed."""

    path: Path
    done: int
    resumed: int
    failed: dict[str, str]


def default_model() -> Path:
    """The seed's `./llada-8b` if it is there, else the bundled model, which is also called `bundled`."""
    return SEED_CHECKPOINT if SEED_CHECKPOINT.is_dir() else BUNDLED


def default_out(problems: ProblemSet, fingerprint: str) -> Path:
    """runs/<problems>-<fingerprint>: the same problems and settings always lead to the same directory."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(problems.source).stem).strip("-") or "problems"
    return Path("runs") / f"{stem[:40]}-{fingerprint[:8]}"


def run(
    problems: str | Path | Sequence[str | Path] | ProblemSet = "samples",
    *,
    out: str | Path | None = None,
    model: str | Path | MaskedDiffusionModel | None = None,
    limit: int | None = None,
    ids: Collection[str] | None = None,
    skip_bad: bool = False,
    execution: Execution | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> RunResult:
    """Decode `problems` into the run directory `out`; the same call goes on where an earlier one stopped.

    Without `out` the directory is named after the problems and the settings, so the same call still finds it.

    `settings` are RunConfig's fields; those not given come from the checkpoint, then from the seed. Raises ConfigError
    for settings that cannot be or that differ from the run in `out`, ProblemError for bad problems, CheckpointError,
    StorageError; nothing that was published is ever lost.
    """
    execution = execution or Execution()
    chosen = _chosen(problems, skip_bad=skip_bad, limit=limit, ids=ids)
    config, loaded, fresh, out = _prepare(chosen, out, model, execution, settings, weights=not execution.distributed)
    refuse_if_too_large(config, loaded, n_problems=len(chosen.problems), out=out)
    out.mkdir(parents=True, exist_ok=True)
    with RunLock(out):
        info, known = enter_run(out, fresh, chosen.problems)
        with Session(out, devices=fresh["devices"]) as session:

            def report(progress: Progress) -> None:
                session.update(progress._asdict())
                if on_progress is not None:
                    on_progress(progress)

            return _run_locked(out, info, known, chosen.problems, loaded, config, execution, report)


def estimate_run(
    problems: str | Path | Sequence[str | Path] | ProblemSet = "samples",
    *,
    out: str | Path | None = None,
    model: str | Path | MaskedDiffusionModel | None = None,
    execution: Execution | None = None,
    **settings: Any,
) -> Estimate:
    """What `run` with the same arguments still has to do: disk, memory, time. Writes nothing; raises as `run` does."""
    execution = execution or Execution()
    chosen = _chosen(problems)
    config, loaded, fresh, out = _prepare(chosen, out, model, execution, settings)
    done: set[str] = set()
    if (out / "run.json").exists():
        info, _ = enter_run(out, fresh, [])
        done = completed_ids(out, fingerprint=info["fingerprint"])
    todo = [(i, p) for i, p in enumerate(chosen.problems) if p.id not in done]
    return estimate(_prompts(todo, loaded, config)[0], loaded, config, execution, out=out)


def _chosen(problems: str | Path | Sequence[str | Path] | ProblemSet, **choice: Any) -> ProblemSet:
    return problems if isinstance(problems, ProblemSet) else read_problems(problems, **choice)


def _prepare(
    chosen: ProblemSet,
    out: str | Path | None,
    model: str | Path | MaskedDiffusionModel | None,
    execution: Execution,
    settings: dict[str, Any],
    *,
    weights: bool = True,
) -> tuple[RunConfig, MaskedDiffusionModel, dict[str, Any], Path]:
    weights = weights or settings.get("save_logits") == "hidden"  # whose run keeps the head as well
    device = "cpu" if execution.distributed and weights else execution.device
    dtype = settings.pop("dtype", None) or ("bfloat16" if execution.distributed and execution.on_gpu else None)
    loaded = _loaded(model, device=device, dtype=dtype, weights=weights)
    dtype = str(loaded.dtype).removeprefix("torch.")
    name = "bundled" if loaded.path == BUNDLED else str(loaded.path)
    config = resolve(settings, checkpoint=loaded.sampler_defaults, model=name, dtype=dtype)
    fresh = describe_run(config, loaded, chosen, devices=_device_names(loaded, execution))
    path = Path(out) if out is not None else default_out(chosen, fresh["fingerprint"])
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path}: is a file; give --out a directory")
    _ = POLICIES[config.policy]  # a wrong name is refused before anything is made
    return config, loaded, fresh, path


def _loaded(
    model: str | Path | MaskedDiffusionModel | None, *, device: str | None, dtype: str | None, weights: bool
) -> MaskedDiffusionModel:
    if isinstance(model, MaskedDiffusionModel):
        return model
    path = default_model() if model is None else Path(model)
    path = BUNDLED if path == Path("bundled") and not path.exists() else path
    return load_model(path, device=device, dtype=dtype, weights=weights)


def _run_locked(
    out: Path,
    info: dict[str, Any],
    known: list[Problem],
    asked: list[Problem],
    model: MaskedDiffusionModel,
    config: RunConfig,
    execution: Execution,
    on_progress: Callable[[Progress], None],
) -> RunResult:
    resumable = resume_run(out, fingerprint=info["fingerprint"])
    for shard, why in resumable.quarantined.items():
        logger.warning("%s: set aside, its problems are decoded again: %s", shard, why)
    merge_token_files(out)
    finished = resumable.done
    wanted = {p.id for p in asked}
    todo = [(i, p) for i, p in enumerate(known) if p.id in wanted and p.id not in finished]
    resumed = len(wanted & finished)
    prompts, failed = _prompts(todo, model, config)
    _write_failed(out, failed)
    if config.save_logits == "hidden":
        write_head(out, host_array(model.head_weight))
    started, done, correct = time.perf_counter(), 0, 0

    def report() -> None:
        seconds = time.perf_counter() - started
        on_progress(Progress(done, resumed, len(failed), len(wanted), correct, seconds))

    report()
    attrs = {
        "run_id": info["run_id"],
        "fingerprint": info["fingerprint"],
        "model_fingerprint": model.fingerprint,
        "mask_token_id": model.token_ids.mask,
    }
    if not prompts:
        return RunResult(out, done, resumed, failed)
    if execution.distributed:

        def published(verdicts: list[int]) -> None:
            nonlocal done, correct
            done, correct = done + len(verdicts), correct + verdicts.count(1)
            report()

        failed |= _distributed(out, prompts, model, config, execution, attrs, published)
        _write_failed(out, failed)
        report()
        return RunResult(out, done, resumed, failed)
    phases = Phases(model.device)
    writer = ShardWriter(out, attrs=attrs, token_text=lambda i: str(model.tokenizer.decode([i])))
    try:
        stream = decode_and_publish(prompts, model, config, execution, writer.put, phases=phases)
        with contextlib.closing(stream):
            for one in stream:
                done += 1
                correct += int(one.columns["verdict"]) == 1
                report()
    finally:
        try:
            writer.close()
        finally:
            write_phases(out, "0", {**phases.as_dict(), "write_seconds": round(writer.seconds, 4)})
    return RunResult(out, done, resumed, failed)


def _distributed(
    out: Path,
    prompts: list[Prompt],
    model: MaskedDiffusionModel,
    config: RunConfig,
    execution: Execution,
    attrs: dict[str, Any],
    on_published: Callable[[list[int]], None],
) -> dict[str, str]:
    from .cluster import decode_on_workers

    execution = replace(execution, device="cuda" if execution.on_gpu else "cpu")
    local_cpu = execution.cluster is None and not execution.on_gpu
    threads = max(1, (os.cpu_count() or 1) // execution.workers) if local_cpu else None
    job = Job(
        out=str(out.resolve()),
        model=str(model.path.resolve()),
        attrs=attrs,
        config=config,
        execution=execution,
        holder=str(this_process()),
        threads=threads,
    )
    try:
        return decode_on_workers(
            prompts, job, budget=token_budget(execution.device or "cpu", config, execution), on_published=on_published
        )
    finally:
        merge_token_files(out)
        sweep_temporaries(out)


def _prompts(
    todo: list[tuple[int, Problem]], model: MaskedDiffusionModel, config: RunConfig
) -> tuple[list[Prompt], dict[str, str]]:
    prompts, failed = [], {}
    for index, problem in todo:
        try:
            prompts.append(build_prompt(problem, index, model, style=config.prompt_style, gen_length=config.gen_length))
        except PromptError as error:
            failed[problem.id] = str(error)
            logger.warning("problem %s: %s", problem.id, error)
    return prompts, failed


def _write_failed(out: Path, failed: dict[str, str]) -> None:
    path = out / "failed.jsonl"
    if failed or path.exists():
        lines = "".join(json.dumps({"id": i, "reason": r}, ensure_ascii=False) + "\n" for i, r in failed.items())
        replace_file(path, lambda temporary: write_file(temporary, lines.encode()))


def _device_names(model: MaskedDiffusionModel, execution: Execution) -> list[str]:
    if execution.distributed:
        return ["cuda" if execution.on_gpu else "cpu"] * execution.workers
    if model.device.type != "cuda":
        return [model.device.type]
    import torch

    return [torch.cuda.get_device_name(model.device)]
