"""The seed's three files from a run: all logits, their mean over problems, and the answers.

Logits are float32(hidden) @ float32(head).T where hidden states are stored, else the stored full
logits. A step without a forward pass has none: NaN. Rows are generated positions, so that unlike
prompts do not shift them against each other. Knows the run, not how it was made. Shapes: S steps, P
positions, V vocabulary, D features.
"""

from __future__ import annotations

import errno
import io
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.store.disk import make_directory, replace_file
from ...engine.store.errors import DamagedRun, NotStored, StorageError
from ...engine.store.format.output_head import read_head
from ...engine.store.sizes import size_text

if TYPE_CHECKING:
    from ...engine.store import Run

AVERAGED = "averaged_logit_trajectory.pt"
LOGITS = "all_problems_logits.pt"
RESULTS = "inference_results.pt"
_SPARE_BYTES = 64 << 20
_RERUN = (
    "run it again in a new directory with `diffengine run --save-logits hidden` (or `full` "
    "for a small model)"
)


class Source(NamedTuple):
    """Logits of a run: `of(row, step)` and `mean(step)` are float32 [P, V], computed when asked
    for."""

    steps: int
    positions: int
    vocabulary: int
    of: Callable[[int, int], np.ndarray]
    mean: Callable[[int], np.ndarray]


def export_seed(run: Run, out: Path) -> list[Path]:
    """Write the seed's three files into `out`; each loads with `torch.load(weights_only=True)`.
    Returns their paths.

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
    steps = range(source.steps)
    shape = (1, source.positions, source.vocabulary)
    averaged = [LazyTensor(shape, partial(source.mean, step)) for step in steps]
    everything = [
        [LazyTensor(shape, partial(source.of, row, step)) for step in steps]
        for row in range(len(run))
    ]
    contents = {AVERAGED: averaged, LOGITS: everything, RESULTS: list(_results(run))}
    for name, content in contents.items():
        save_stream(content, out / name)
    return [out / name for name in contents]


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
    if "hidden" not in run:
        kept = (run.info.get("config") or {}).get("save_logits", "no logits")
        raise NotStored(
            f"{run.path} keeps no full logits (--save-logits {kept}), the seed's files need them; "
            f"{_RERUN}"
        )
    return _from_hidden(run, _head(run))


def _stored_logits(run: Run) -> Source:
    logits = run["logits"]

    def of(row: int, step: int) -> np.ndarray:
        return logits[row, step]

    _, steps, positions, vocabulary = logits.shape
    return Source(
        steps, positions, vocabulary, of, lambda step: _mean(of, len(run), step).astype(np.float32)
    )


def _from_hidden(run: Run, head: np.ndarray) -> Source:
    hidden = run["hidden"]
    total, n_problems = run.shard_sum("hidden_sum") if "hidden_sum" in run else (None, len(run))

    def hidden_of(row: int, step: int) -> np.ndarray:
        return hidden[row, step]

    def mean(step: int) -> np.ndarray:
        state = _mean(hidden_of, n_problems, step) if total is None else total[step] / n_problems
        return state.astype(np.float32) @ head.T

    return Source(
        hidden.shape[1],
        hidden.shape[2],
        len(head),
        lambda row, step: hidden_of(row, step) @ head.T,
        mean,
    )


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
            f"{_RERUN}"
        )
    return read_head(run.path, run_id=str(run.info.get("run_id", "")))


def _refuse_if_too_large(run: Run, source: Source, out: Path) -> None:
    one = source.steps * source.positions * source.vocabulary * 4
    needed = one * (len(run) + 1) + _SPARE_BYTES
    existing = next(place for place in (out, *out.resolve().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        each = (
            f"{source.steps} steps x {source.positions} positions x {source.vocabulary} tokens "
            "x 4 bytes"
        )
        raise StorageError(
            f"the seed's files need {each} = {size_text(one)} a problem, x ({len(run)} problems + "
            "the mean) = "
            f"{size_text(needed)}, but {size_text(free)} are free at {existing}; choose another "
            "--out, or export a "
            "run with fewer problems (--limit)",
            errno=errno.ENOSPC,
            filename=str(existing),
        )


class LazyTensor(NamedTuple):
    """A float32 tensor that is computed when its turn comes to be written."""

    shape: tuple[int, ...]
    values: Callable[[], np.ndarray]


def save_stream(content: Any, path: Path) -> None:
    """`torch.save` for lists and dicts with LazyTensors in them, one tensor in memory at a time.

    Writes torch's zip format (a pickle of the structure, each tensor's bytes as a member of its
    own), complete or not at all. Raises StorageError.
    """

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                _write_members(archive, path.stem, content)
            stream.flush()
            os.fsync(stream.fileno())

    replace_file(path, write)


def _write_members(archive: zipfile.ZipFile, root: str, content: Any) -> None:
    structure, tensors = _pickled(content)
    for name, data in (("data.pkl", structure), ("byteorder", b"little"), ("version", b"3\n")):
        archive.writestr(f"{root}/{name}", data)
    for number, tensor in enumerate(tensors):
        _write_tensor(archive, f"{root}/data/{number}", tensor)


def _write_tensor(archive: zipfile.ZipFile, name: str, tensor: LazyTensor) -> None:
    values = np.ascontiguousarray(tensor.values(), "<f4")
    assert values.size == np.prod(tensor.shape), (
        f"{name}: {values.shape} is not the announced {tensor.shape}"
    )
    with archive.open(_aligned(archive, name, values.nbytes), "w") as member:
        member.write(values.data)


def _aligned(archive: zipfile.ZipFile, name: str, size: int) -> zipfile.ZipInfo:
    """A member whose bytes start at a multiple of 64, so that torch can map the file instead of
    reading it."""
    member = zipfile.ZipInfo(name)
    member.file_size = size
    zip64 = 20 if size * 1.05 > zipfile.ZIP64_LIMIT else 0
    end_of_header = archive.start_dir + 30 + len(name.encode()) + 4 + zip64
    padding = -end_of_header % 64
    member.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
    return member


class _Storage(NamedTuple):
    number: int
    size: int


def _pickled(content: Any) -> tuple[bytes, list[LazyTensor]]:
    """The structure as torch pickles it, tensors by number, and the tensors in that order."""
    import torch

    tensors: list[LazyTensor] = []

    class Pickler(pickle.Pickler):
        """Tensors become calls of torch's own rebuilding function on a storage that lies outside
        the pickle."""

        def reducer_override(self, obj: Any) -> Any:
            if not isinstance(obj, LazyTensor):
                return NotImplemented
            tensors.append(obj)
            strides = tuple(int(np.prod(obj.shape[axis + 1 :])) for axis in range(len(obj.shape)))
            storage = _Storage(len(tensors) - 1, int(np.prod(obj.shape)))
            return torch._utils._rebuild_tensor_v2, (
                storage,
                0,
                obj.shape,
                strides,
                False,
                OrderedDict(),
            )

        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, _Storage):
                return None
            return ("storage", torch.FloatStorage, str(obj.number), "cpu", obj.size)

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue(), tensors
