"""The original suite's three files from a run: all logits, their mean over problems, and the
answers.

Logits are float32(hidden) @ float32(head).T where hidden states are stored, else the stored full
logits. A step that was left out has those of the problem's next forward pass, whose canvas is the
same. After a problem's last forward pass there are none: its list ends there, and the mean over
problems with the first of them. Rows are generated positions, so that unlike prompts do not shift
them against each other. Shapes: S steps, P positions, V vocabulary, D features.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.store.counts import count_text
from ...engine.store.disk import make_directory
from ...engine.store.errors import DamagedRun, NotStored, StorageError
from ...engine.store.format.output_head import read_head
from ...engine.store.sizes import size_text
from ..analyzable import check_has_steps
from .torch_stream import LazyTensor, save_stream

if TYPE_CHECKING:
    from ...engine.store import Run

logger = logging.getLogger(__name__)

AVERAGED = "averaged_logit_trajectory.pt"
LOGITS = "all_problems_logits.pt"
RESULTS = "inference_results.pt"
OF_BLOCKS = (
    "decoded block by block: in %s positions that were not open are NaN, and there is no %s, for "
    "at one step each problem has other positions open"
)
SPARE_BYTES = 64 << 20
RERUN = (
    "run it again in a new directory with `diffengine run --save-logits hidden` (or `full` for a "
    "small model)"
)


class Source(NamedTuple):
    """Logits of a run: `of(row, step)` and `mean(step)` are float32 [P, V], computed when asked
    for. `lengths`: steps of each problem, up to its last forward pass."""

    lengths: list[int]
    positions: int
    vocabulary: int
    of: Callable[[int, int], np.ndarray]
    mean: Callable[[int], np.ndarray]


def export_original(run: Run, out: Path) -> list[Path]:
    """Write the original suite's three files into `out`; each loads with
    `torch.load(weights_only=True)`. Returns their paths.

    `averaged_logit_trajectory.pt`: list over steps of [1, P, V], the mean over problems.
    `all_problems_logits.pt`: list over problems of lists over steps of [1, P, V].
    Of a run that is decoded block by block the second has NaN where a position was not open, and
    the first is left out, with a warning: at one step each problem has other positions open.
    Where problems end at different steps the second has lists of different lengths, the first ends
    with the problem that ends first, and a warning is logged.
    `inference_results.pt`: list of {problem_id (1-based place in problems.jsonl), question,
    expected_answer, generated_answer, prompt_length}.

    Streams to the disk: peak memory is one step's logits in float64, the float32 head and the sum
    of hidden states. Raises SettingError for a branch run or one without steps,
    NotStored if the run keeps no logits, DamagedRun if its head is gone,
    StorageError if the disk is too small.
    """
    check_has_steps(run)
    out = Path(out)
    source = _source(run)
    _refuse_if_too_large(run, source, out)
    of_blocks = "open_start" in run
    if not of_blocks:
        _warn_of_ends(source.lengths)
    make_directory(out)
    contents: dict[str, list[Any]] = {
        AVERAGED: _averaged(source),
        LOGITS: _trajectories(source),
        RESULTS: list(_results(run)),
    }
    if of_blocks:
        del contents[AVERAGED]
        logger.warning(OF_BLOCKS, LOGITS, AVERAGED)
    for name, content in contents.items():
        save_stream(content, out / name)
    return [out / name for name in contents]


def _averaged(source: Source) -> list[LazyTensor]:
    shape = (1, source.positions, source.vocabulary)  # one row for the batch
    return [LazyTensor(shape, partial(source.mean, step)) for step in range(min(source.lengths))]


def _trajectories(source: Source) -> list[list[LazyTensor]]:
    shape = (1, source.positions, source.vocabulary)
    return [
        [LazyTensor(shape, partial(source.of, row, step)) for step in range(length)]
        for row, length in enumerate(source.lengths)
    ]


def _warn_of_ends(lengths: Sequence[int]) -> None:
    first = min(lengths)
    if first == max(lengths):
        return
    logger.warning(
        "problems end after %d to %d steps: in %s each has only its own, and %s ends "
        "after step %d, the last one that all %d problems make",
        first,
        max(lengths),
        LOGITS,
        AVERAGED,
        first - 1,
        len(lengths),
    )


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
    positions, vocabulary = logits.shape[2:]
    passes = _passes(run)

    def of(row: int, step: int) -> np.ndarray:
        return np.asarray(logits[row, passes.made_at[row, step]])

    def mean(step: int) -> np.ndarray:
        return _mean(of, len(run), step).astype(np.float32)

    return Source(passes.lengths, positions, vocabulary, of, mean)


def _from_hidden(run: Run, head: np.ndarray) -> Source:
    hidden = run["hidden"]
    positions = hidden.shape[2]
    passes = _passes(run)
    mean_state = _mean_state(run, passes)

    def of(row: int, step: int) -> np.ndarray:
        return np.asarray(hidden[row, passes.made_at[row, step]] @ head.T)

    def mean(step: int) -> np.ndarray:
        state = mean_state(step).astype(np.float32)
        return np.asarray(state @ head.T)

    return Source(passes.lengths, positions, len(head), of, mean)


class Passes(NamedTuple):
    """`lengths`: steps of each problem up to its last forward pass; `made_at` [problem, S] the step
    of the pass that saw a step's canvas, beyond S where there is none; `shared`: whether all
    problems make the same ones."""

    lengths: list[int]
    made_at: np.ndarray
    shared: bool


def _passes(run: Run) -> Passes:
    performed = np.asarray(run["performed"][...], bool)
    steps = performed.shape[1]
    if not performed.any(axis=1).all():
        raise DamagedRun(f"{run.path} has problems without a forward pass; ask `diffengine verify`")
    lengths = steps - performed[:, ::-1].argmax(axis=1)
    step = np.where(performed, np.arange(steps), steps)
    made_at = np.minimum.accumulate(step[:, ::-1], axis=1)[:, ::-1]
    return Passes(lengths.tolist(), made_at, bool((performed == performed[0]).all()))


def _mean_state(run: Run, passes: Passes) -> Callable[[int], np.ndarray]:
    """Step -> the mean hidden states [P, D] over problems, from the stored sums where there are."""
    if "hidden_sum" in run and passes.shared:
        total, n_problems = run.shard_sum("hidden_sum")
        return lambda step: total[passes.made_at[0, step]] / n_problems

    hidden = run["hidden"]

    def of(row: int, step: int) -> np.ndarray:
        return np.asarray(hidden[row, passes.made_at[row, step]])

    return lambda step: _mean(of, len(run), step)


def _mean(values: Callable[[int, int], np.ndarray], n_problems: int, step: int) -> np.ndarray:
    """Mean over problems at one step, summed in float64."""
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
    of_step = source.positions * source.vocabulary * 4
    steps = sum(source.lengths) + min(source.lengths)
    needed = of_step * steps + SPARE_BYTES
    existing = next(place for place in (out, *out.resolve().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if needed <= free:
        return
    raise StorageError(
        f"the original suite's files need {count_text(steps, 'step')} "
        f"({count_text(len(run), 'problem')} + the mean) x "
        f"{count_text(source.positions, 'position')} x {source.vocabulary} tokens x 4 bytes = "
        f"{size_text(needed)}, but {size_text(free)} are free at {existing}; choose another "
        "--out, or export a run with fewer problems (--limit)",
        errno=errno.ENOSPC,
        filename=str(existing),
    )
