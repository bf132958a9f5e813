"""The kernels against this machine's ceilings and against named peers, parity before speed.

    python -m diffengine.bench.kernels [bfloat16 | float32]

One JSON line for the hardware and its ceilings (copy, read, matrix product), then one for each
provider of each task and size: milliseconds, GB/s over the bytes that must be read once, share of
the copy ceiling, memory, and error against float64. A provider whose error is too large gets no
speed-up, nor does anybody over it. Runs on a CPU at small sizes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from ..kernels.dispatch import served_by_triton
from ..kernels.head import Head, Rows, Sampling
from ..kernels.largest import largest
from ..kernels.ring import LogitRing
from .measure import ceilings, hardware, like_llada, median_ms
from .providers import Provider, Question, Unavailable, errors, has_parity, providers, question

VOCABULARY = 126464
SIZES = {"cuda": (16, 128, 512, 1024, 4096, 16384), "cpu": (8, 64)}
TASKS = ("logprob", "stats", "stats+kl", "gumbel", "topk")
HEADS = {
    "cuda": ((1024, 4096, VOCABULARY), (4096, 4096, VOCABULARY), (16384, 4096, VOCABULARY)),
    "cpu": ((64, 4096, VOCABULARY), (64, 128, VOCABULARY), (1024, 128, 560)),
}
"""Rows, features and vocabulary: LLaDA-8B's head; on a CPU also one of the bundled model's width
and its own."""
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class Task(NamedTuple):
    """One question at one size."""

    name: str
    rows: int
    dtype: torch.dtype
    vocabulary: int = VOCABULARY


def compare(task: Task, copy_gb_s: float, device: torch.device) -> Iterator[dict[str, Any]]:
    """One row per provider for one task, eager torch first."""
    questions = _questions(task, device)
    eager_ms = None
    for name, provide in providers(task.name).items():
        row: dict[str, Any] = {
            "task": task.name,
            "rows": task.rows,
            "dtype": str(task.dtype)[6:],
            "provider": name,
        }
        try:
            row |= _measured(task, provide, questions, copy_gb_s, device)
        except Unavailable as why:
            row["not_run"] = str(why)
        except Exception as error:  # a peer that fails says so in its row, and the others go on
            first_line, *_ = str(error).splitlines() or [""]
            row["failed"] = f"{type(error).__name__}: {first_line[:200]}"
        speed_up = None
        if row.get("parity"):
            if name == "eager":
                eager_ms = row["ms"]
            elif eager_ms:
                speed_up = eager_ms / row["ms"]
        yield row | {"speed_up": speed_up}


def _questions(task: Task, device: torch.device) -> list[Question]:
    """Several, so that no cache holds the logits of the next; each one's previous logits are those
    of another."""
    sets = 3 if task.rows * task.vocabulary < 1 << 30 else 2
    logits = []
    for seed in range(sets):
        x = like_llada(task.rows, task.vocabulary, dtype=task.dtype, device=device, seed=seed)
        logits.append(x)
    questions = []
    for i, x in enumerate(logits):
        questions.append(question(x, logits[i - 1]))
    return questions


def _measured(
    task: Task,
    provide: Provider,
    questions: list[Question],
    copy_gb_s: float,
    device: torch.device,
) -> dict[str, Any]:
    error, memory = _first_answer(provide, questions[0], device)
    ms = median_ms(lambda i: provide(questions[i % len(questions)]), device)
    must_read = task.rows * task.vocabulary * task.dtype.itemsize
    if task.name == "stats+kl":
        must_read *= 2
    gb_s = 1e-6 * must_read / ms
    return {
        "error": error,
        "parity": has_parity(error),
        "ms": ms,
        "gb_s": gb_s,
        "share_of_copy": gb_s / copy_gb_s,
        **memory,
    }


def _first_answer(
    provide: Provider, asked: Question, device: torch.device
) -> tuple[dict[str, float], dict[str, int]]:
    """The errors of one answer, and on a GPU the most memory that it took."""
    if device.type != "cuda":
        return errors(provide(asked), asked), {}
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device)
    error = errors(provide(asked), asked)
    peak = torch.cuda.max_memory_allocated(device)
    return error, {"peak_extra_bytes": peak - held}


def head_cost(
    rows: int, features: int, vocabulary: int, *, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """The head's matrix product alone against whole steps: statistics, top 16, and KL from the
    ring."""
    weight = torch.randn(vocabulary, features, device=device, dtype=dtype) / features**0.5
    hidden = 3 * torch.randn(rows, features, device=device, dtype=dtype)
    plain = Head(weight, sampling=Sampling())
    kept = LogitRing(rows, vocabulary, dtype=dtype, device=device)
    ring = Head(weight, sampling=Sampling(), ring=kept)
    place = torch.arange(rows, device=device)
    first = torch.zeros(rows, dtype=torch.bool, device=device)
    with_ring = Rows(hidden, place=place, first=first)

    stats = plain.step(Rows(hidden), topk=16)[0]
    answer = {"lse": stats.lse, "entropy": stats.entropy, "top1_id": stats.top1_id}
    logits = plain.logits(hidden[:8])
    error = errors(answer, question(logits, logits))

    chunks = hidden.split(plain.chunk_rows)
    product = median_ms(lambda _: [plain.logits(chunk) for chunk in chunks], device, repeats=5)
    alone = median_ms(lambda _: plain.step(Rows(hidden)), device, repeats=5)
    compared = median_ms(lambda _: ring.step(with_ring), device, repeats=5)
    everything = median_ms(lambda _: ring.step(with_ring, topk=16), device, repeats=5)
    return {
        "task": "head",
        "rows": rows,
        "features": features,
        "vocabulary": vocabulary,
        "dtype": str(dtype)[6:],
        "error": error,
        "parity": has_parity(error),
        "matmul_ms": product,
        "step_ms": alone,
        "step_with_kl_ms": compared,
        "step_with_kl_and_top_16_ms": everything,
        "statistics_over_matmul": (alone - product) / product,
        "statistics_with_kl_over_matmul": (compared - product) / product,
        "all_over_matmul": (everything - product) / product,
    }


def passes(vocabulary: int, features: int, *, logits: int = 1 << 19) -> dict[str, Any]:
    """What single operations of torch over a block of float32 logits take on this CPU: the bricks
    of a step there.

    Nanoseconds a logit, beside the head's product of the same rows; two million bytes of logits, in
    the cache.
    """
    cpu = torch.device("cpu")
    x = like_llada(logits // vocabulary, vocabulary, dtype=torch.float32, device=cpu, seed=1)
    hidden = torch.randn(len(x), features)
    weight = torch.randn(vocabulary, features)
    out = torch.empty_like(x)
    peak = x.amax(-1, keepdim=True)
    bricks: dict[str, Any] = {
        "product": lambda _: torch.mm(hidden, weight.T, out=out),
        "softmax": lambda _: x.softmax(-1),
        "subtract": lambda _: torch.sub(x, peak, out=out),
        "multiply": lambda _: torch.mul(x, x, out=out),
        "sum": lambda _: x.sum(-1),
        "torch.topk 16": lambda _: x.topk(16, -1),
        "largest 16": lambda _: largest(x, 16),
    }
    nanoseconds = {}
    for name, call in bricks.items():
        ms = median_ms(call, cpu, repeats=15)
        nanoseconds[name] = 1e6 * ms / x.numel()
    return {
        "task": "passes",
        "vocabulary": vocabulary,
        "features": features,
        "ns_per_logit": nanoseconds,
    }


@torch.inference_mode()
def kernels_lines(
    dtype: torch.dtype, *, sizes: tuple[int, ...] | None = None, vocabulary: int = VOCABULARY
) -> Iterator[dict[str, Any]]:
    """Everything this file measures for one dtype of logits, on the GPU if there is one; `sizes`
    for a quick look."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    best = ceilings(device)
    yield {"hardware": hardware(device), "ceilings": best, **_without_triton(device)}
    for rows in sizes or SIZES[device.type]:
        for name in TASKS:
            yield from compare(Task(name, rows, dtype, vocabulary), best["copy_gb_s"], device)
    if not sizes:
        for shape in HEADS[device.type]:
            yield head_cost(*shape, dtype=dtype, device=device)
    if device.type == "cpu" and dtype == torch.float32:
        for size in (560, vocabulary):
            yield passes(size, 128)


def _without_triton(device: torch.device) -> dict[str, str]:
    if device.type == "cpu":
        return {"note": "no GPU: ours is the specification in plain torch, at sizes for a CPU"}
    if not served_by_triton(torch.empty(0, 1, device=device)):
        return {
            "note": "triton is not installed: ours is the specification in plain torch; pip "
            "install triton"
        }
    return {}


def main(names: list[str]) -> None:
    """Measure for the named dtypes and write one JSON line each as it comes."""
    for name in names or list(DTYPES):
        for line in kernels_lines(DTYPES[name]):
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
