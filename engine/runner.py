"""A run on one device, end to end: resume, decode, publish; stop cleanly wherever it is stopped.

`run` is the whole product behind `diffengine run`. Knows the order of things; the parts know the things.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..kernels.head import Head
from ..kernels.ring import LogitRing
from .canvas import Canvas, capacity_for
from .config import ConfigError, RunConfig, resolve
from .decode import decode
from .disk_need import refuse_if_too_large
from .models.loading import MaskedDiffusionModel, load_model
from .policies import POLICIES
from .problems import Problem, ProblemSet, read_problems
from .prompts import Prompt, PromptError, build_prompt
from .record import Finished, Recorder, host_array
from .run_info import describe_run, enter_run, replace_file
from .store import RunLock, completed_ids, sweep_temporaries
from .store.disk import write_file
from .store.head import write_head
from .writer import ShardWriter, stack_columns

logger = logging.getLogger(__name__)

BUNDLED = Path(__file__).parent / "models" / "bundled" / "checkpoint"
SEED_CHECKPOINT = Path("llada-8b")
TOKEN_BUDGET = {"cpu": 2048, "cuda": 16384}


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


@dataclass(frozen=True)
class Execution:
    """How a run is executed; nothing in here changes a result beyond the stated rounding."""

    device: str | None = None
    token_budget: int | None = None
    refill: bool = True
    shard_problems: int = 64
    shard_bytes: int = 128 << 20
    flush_seconds: float = 60.0


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
    chosen = (
        problems
        if isinstance(problems, ProblemSet)
        else read_problems(problems, skip_bad=skip_bad, limit=limit, ids=ids)
    )
    loaded = _loaded(model, device=execution.device, dtype=settings.pop("dtype", None))
    dtype = str(loaded.dtype).removeprefix("torch.")
    name = "bundled" if loaded.path == BUNDLED else str(loaded.path)
    config = resolve(settings, checkpoint=loaded.sampler_defaults, model=name, dtype=dtype)
    fresh = describe_run(config, loaded, chosen, devices=[_device_name(loaded)])
    out = Path(out) if out is not None else default_out(chosen, fresh["fingerprint"])
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; give --out a directory")
    _ = POLICIES[config.policy]  # a wrong name is refused before anything is made
    refuse_if_too_large(config, loaded, n_problems=len(chosen.problems), out=out)
    out.mkdir(parents=True, exist_ok=True)
    with RunLock(out):
        info, known = enter_run(out, fresh, chosen.problems)
        sweep_temporaries(out)
        return _run_locked(out, info, known, chosen.problems, loaded, config, execution, on_progress)


def _loaded(
    model: str | Path | MaskedDiffusionModel | None, *, device: str | None, dtype: str | None
) -> MaskedDiffusionModel:
    if isinstance(model, MaskedDiffusionModel):
        return model
    path = default_model() if model is None else Path(model)
    path = BUNDLED if path == Path("bundled") and not path.exists() else path
    return load_model(path, device=device, dtype=dtype)


def _run_locked(
    out: Path,
    info: dict[str, Any],
    known: list[Problem],
    asked: list[Problem],
    model: MaskedDiffusionModel,
    config: RunConfig,
    execution: Execution,
    on_progress: Callable[[Progress], None] | None,
) -> RunResult:
    finished = completed_ids(out, fingerprint=info["fingerprint"])
    wanted = {p.id for p in asked}
    todo = [(i, p) for i, p in enumerate(known) if p.id in wanted and p.id not in finished]
    resumed = len(wanted & finished)
    prompts, failed = _prompts(todo, model, config)
    _write_failed(out, failed)
    if config.save_logits == "hidden":
        write_head(out, host_array(model.head_weight))
    started, done, correct = time.perf_counter(), 0, 0

    def report() -> None:
        if on_progress is not None:
            seconds = time.perf_counter() - started
            on_progress(Progress(done, resumed, len(failed), len(wanted), correct, seconds))

    report()
    if prompts:
        attrs = {
            "run_id": info["run_id"],
            "fingerprint": info["fingerprint"],
            "model_fingerprint": model.fingerprint,
            "mask_token_id": model.token_ids.mask,
        }
        writer = ShardWriter(out, attrs=attrs, token_text=lambda i: str(model.tokenizer.decode([i])))
        try:
            stream = _publish(_decode(prompts, model, config, execution), writer, config, execution)
            with contextlib.closing(stream):
                for one in stream:
                    done += 1
                    correct += int(one.columns["verdict"]) == 1
                    report()
        finally:
            writer.close()
    return RunResult(out, done, resumed, failed)


def _decode(
    prompts: list[Prompt], model: MaskedDiffusionModel, config: RunConfig, execution: Execution
) -> tuple[Recorder, Iterator[Finished]]:
    policy = POLICIES.load(config.policy)(config, model.token_ids, n_candidates=model.n_candidates)
    guided = config.cfg_scale > 0
    budget = execution.token_budget or TOKEN_BUDGET.get(model.device.type, TOKEN_BUDGET["cpu"])
    budget = budget // 2 if guided else budget
    prompts = sorted(prompts, key=lambda p: len(p.token_ids))  # rows of one length share attention calls
    capacity = capacity_for(prompts, gen_length=config.gen_length, token_budget=budget)
    canvas = Canvas(
        gen_length=config.gen_length,
        mask_id=model.token_ids.mask,
        performed=policy.performed,
        capacity=capacity,
        token_budget=budget,
        device=model.device,
        guided=guided,
        refill=execution.refill,
    )
    recorder = Recorder(model, config, capacity=capacity, n_answer=max(len(p.answer_ids) for p in prompts))
    ring = LogitRing.if_it_fits(capacity * config.gen_length, model.head_weight)
    head = Head(model.head_weight, sampling=policy.sampling, guidance=config.cfg_scale, ring=ring)
    return recorder, decode(model, canvas, head, policy, recorder, iter(prompts))


def _publish(
    decoding: tuple[Recorder, Iterator[Finished]], writer: ShardWriter, config: RunConfig, execution: Execution
) -> Generator[Finished, None, None]:
    """Pass finished problems on, and hand them to the writer when a shard is full or old; the rest at the end, or on
    the way out when the run is interrupted."""
    recorder, finished = decoding
    pending: list[Finished] = []
    size, since = 0, time.perf_counter()

    def flush() -> None:
        if pending:
            writer.put(_shard_columns(pending, recorder.take_hidden_sum(), config))
            pending.clear()

    try:
        for one in finished:
            pending.append(one)
            size += sum(v.nbytes for v in one.columns.values() if isinstance(v, np.ndarray))
            late = time.perf_counter() - since > execution.flush_seconds
            if len(pending) >= execution.shard_problems or size >= execution.shard_bytes or late:
                flush()
                size, since = 0, time.perf_counter()
            yield one
    finally:
        flush()


def _shard_columns(pending: list[Finished], hidden_sum: np.ndarray | None, config: RunConfig) -> dict[str, Any]:
    columns = stack_columns([f.columns for f in pending])
    columns["block"] = (np.arange(config.steps) // config.steps_per_block).astype(np.int32)
    if hidden_sum is not None:
        columns["hidden_sum"] = hidden_sum
    return columns


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


def _device_name(model: MaskedDiffusionModel) -> str:
    if model.device.type != "cuda":
        return model.device.type
    import torch

    return torch.cuda.get_device_name(model.device)
