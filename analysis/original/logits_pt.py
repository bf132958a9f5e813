"""The original suite's three files from a run: all logits, their mean over problems, and the
answers.

Logits are float32(hidden) @ float32(head).T where hidden states are stored, else the stored full
logits. A step without a forward pass has none: NaN. Rows are generated positions, so that unlike
prompts do not shift them against each other. Shapes: S steps, P positions, V vocabulary, D
features.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...engine.store.disk import make_directory
from ...engine.store.errors import DamagedRun, NotStored, StorageError
from ...engine.store.format.output_head import read_head
from ...engine.store.sizes import size_text
from .torch_stream import LazyTensor, save_stream

if TYPE_CHECKING:
    from ...engine.store import Run

AVERAGED = "averaged_logit_trajectory.pt"
LOGITS = "all_problems_logits.pt"
RESULTS = "inference_results.pt"
SPARE_BYTES = 64 << 20
RERUN = (
    "run it again in a new directory with `diffengine run --save-logits hidden` (or `full` for a "
    "small model)"
)


class Source(NamedTuple):
    """Logits of a run: `of(row, step)` and `mean(step)` are float32 [P, V], computed when asked
    for."""

    steps: int
    positions: int
    vocabulary: int
    of: Callable[[int, int], np.ndarray]
    mean: Callable[[int], np.ndarray]


def export_original(run: Run, out: Path) -> list[Path]:
    """Write the original suite's three files into `out`; each loads with
    `torch.load(weights_only=True)`. Returns their paths.

    `averaged_logit_trajectory.pt`: list over steps of [1, P, V], the mean over problems.
    `all_problems_logits.pt`: list over problems of lists over steps of [1, P, V].
    `inference_results.pt`: list of {problem_id (1-based place in problems.jsonl), question,
    expected_answer, generated_answer, prompt_length}.

    Streams to the disk: peak memory is one step's logits in float64, the float32 head and the sum
    of hidden states. Raises NotStored if the run keeps no logits, DamagedRun if its head is gone,
    StorageError if the disk is too small.
    """
    out = Path(out)
    source = _source(run)
    _refuse_if_too_large(run, source, out)
    make_directory(out)
    contents = {
        AVERAGED: _averaged(source),
        LOGITS: _trajectories(source, len(run)),
        RESULTS: list(_results(run)),
    }
    for name, content in contents.items():
        save_stream(content, out / name)
    return [out / name for name in contents]


def _averaged(source: Source) -> list[LazyTensor]:
    shape = (1, source.positions, source.vocabulary)  # one row for the batch
    return [LazyTensor(shape, partial(source.mean, step)) for step in range(source.steps)]


def _trajectories(source: Source, n_problems: int) -> list[list[LazyTensor]]:
    shape = (1, source.positions, source.vocabulary)
    return [
        [LazyTensor(shape, partial(source.of, row, step)) for step in range(source.steps)]
        for row in range(n_problems)
    ]


def _results(run: Run) -> Iterator[dict[str, str | int]]:
    problems = {problem.id: problem for problem in run.problems}
    texts = run["generated_text"][...]
    lengths = run["prompt_length"][...]
    index = run["index"][...]
    for row, name in enumerate(run.ids):
        yield {
            "problem_id": int(index[row]) + 1,
            "question": problems[name].question,
            "expected_answer": problems[name].answer or "",
            "generated_answer": str(texts[row]),
            "prompt_length": int(lengths[row]),
        }


def _source(run: Run) -> Source:
    if not len(run):
        raise NotStored(
            f"{run.path} holds no finished problem, so there is nothing to export; finish the run "
            "first"
        )
    if "logits" in run:
        return _stored_logits(run)
    if "hidden" in run:
        return _from_hidden(run, _head(run))
    kept = (run.info.get("config") or {}).get("save_logits", "no logits")
    raise NotStored(
        f"{run.path} keeps no full logits (--save-logits {kept}), the original suite's files need "
        f"them; {RERUN}"
    )


def _stored_logits(run: Run) -> Source:
    logits = run["logits"]
    _, steps, positions, vocabulary = logits.shape

    def of(row: int, step: int) -> np.ndarray:
        return np.asarray(logits[row, step])

    def mean(step: int) -> np.ndarray:
        return _mean(of, len(run), step).astype(np.float32)

    return Source(steps, positions, vocabulary, of, mean)


def _from_hidden(run: Run, head: np.ndarray) -> Source:
    hidden = run["hidden"]
    _, steps, positions, _ = hidden.shape
    mean_state = _mean_state(run)

    def of(row: int, step: int) -> np.ndarray:
        return np.asarray(hidden[row, step] @ head.T)

    def mean(step: int) -> np.ndarray:
        state = mean_state(step).astype(np.float32)
        return np.asarray(state @ head.T)

    return Source(steps, positions, len(head), of, mean)


def _mean_state(run: Run) -> Callable[[int], np.ndarray]:
    """Step -> the mean hidden states [P, D] over problems, from the stored sums where there are."""
    if "hidden_sum" in run:
        total, n_problems = run.shard_sum("hidden_sum")
        return lambda step: total[step] / n_problems

    hidden = run["hidden"]

    def of(row: int, step: int) -> np.ndarray:
        return np.asarray(hidden[row, step])

    return lambda step: _mean(of, len(run), step)


def _mean(values: Callable[[int, int], np.ndarray], n_problems: int, step: int) -> np.ndarray:
    """Mean over problems at one step, summed in float64; NaN where some problem has no forward pass
    at this step."""
    total = values(0, step).astype(np.float64)
    for row in range(1, n_problems):
        total += values(row, step)
    return total / n_problems


def _head(run: Run) -> np.ndarray:
    """The output head [V, D] as float32."""
    path = run.path / "head.h5"
    if not path.is_file():
        raise DamagedRun(
            f"{path} is missing, hidden states give no logits without it; copy the run whole, or "
            f"{RERUN}"
        )
    return read_head(run.path, run_id=str(run.info.get("run_id", "")))


def _refuse_if_too_large(run: Run, source: Source, out: Path) -> None:
    """Raises StorageError with the arithmetic where the files do not fit on the disk."""
    each = source.steps * source.positions * source.vocabulary * 4
    needed = each * (len(run) + 1) + SPARE_BYTES
    existing = next(place for place in (out, *out.resolve().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if needed <= free:
        return
    raise StorageError(
        f"the original suite's files need {source.steps} steps x {source.positions} positions x "
        f"{source.vocabulary} tokens x 4 bytes = {size_text(each)} a problem, x ({len(run)} "
        f"problems + the mean) = {size_text(needed)}, but {size_text(free)} are free at "
        f"{existing}; choose another --out, or export a run with fewer problems (--limit)",
        errno=errno.ENOSPC,
        filename=str(existing),
    )
