"""The kernels against this machine's ceilings and against named peers, parity before speed.

`kernels_report` measures copy, read and matrix-product ceilings first, then every provider of the same statistics in
the same run: milliseconds, GB/s over the bytes that must be read once, share of the copy ceiling, memory, and error
against float64. A provider whose error is too large gets no speed-up. Runs on a CPU at small sizes. What it does not
know: whether a number is good; the table says it beside the ceiling.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..kernels.dispatch import logit_stats
from ..kernels.head import Head, Rows, Sampling
from ..kernels.reference import LogitStats
from ..kernels.ring import LogitRing

VOCABULARY, FEATURES = 126464, 4096
SIZES = {"cuda": (16, 128, 1024, 4096, 16384), "cpu": (8, 64)}
PARITY = {"lse": 2e-5, "entropy": 1e-4, "kl": 2e-4}
"""Largest absolute error against float64 (nats, bits, bits) with which a provider's time may be compared."""


class Task(NamedTuple):
    """One question asked of every provider: its inputs, how many bytes must be read, and the results to compare."""

    name: str
    rows: int
    dtype: torch.dtype
    previous: bool


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_ms(call: Callable[[int], object], device: torch.device, *, repeats: int = 7) -> float:
    """Median time of `call(i)` in ms after two warm-ups; `i` rotates the inputs so that no cache holds them."""
    for i in range(2):
        call(i)
    times = []
    for i in range(repeats):
        wait(device)
        began = time.perf_counter()
        call(i)
        wait(device)
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def like_llada(rows: int, vocabulary: int, *, dtype: torch.dtype, device: torch.device, seed: int) -> Tensor:
    """Random logits [rows, V] with one peak of 15 to 30 over a spread of 3."""
    generator = torch.Generator(device).manual_seed(seed)
    x = 3 * torch.randn(rows, vocabulary, generator=generator, device=device)
    at = torch.randint(vocabulary, (rows, 1), generator=generator, device=device)
    return x.scatter_add_(1, at, 15 + 15 * torch.rand(rows, 1, generator=generator, device=device)).to(dtype)


def ceilings(device: torch.device) -> dict[str, float]:
    """What the machine can do at best here: copy and read in GB/s, a square matrix product in TFLOP/s."""
    n = (1 << 29) if device.type == "cuda" else (1 << 24)
    source, target = (torch.ones(n, device=device, dtype=torch.bfloat16) for _ in range(2))
    side = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return {
        "copy_gb_s": 4e-6 * n / median_ms(lambda _: target.copy_(source), device),
        "read_gb_s": 2e-6 * n / median_ms(lambda _: source.amax(), device),
        "matmul_tflop_s": 2e-9 * side**3 / median_ms(lambda _: a @ b, device, repeats=3),
    }


def eager(logits: Tensor, previous: Tensor | None) -> dict[str, Tensor]:
    """The literal definitions, one torch operation after another."""
    logp = logits.float().log_softmax(-1)
    p = logp.exp()
    top = logits.float().topk(2, -1)
    found = {
        "lse": logits.float().logsumexp(-1),
        "entropy": -(p * logp).sum(-1) * 1.4426950408889634,
        "top1_id": top.indices[:, 0],
        "margin": top.values[:, 0] - top.values[:, 1],
    }
    if previous is not None:
        found["kl"] = (p * (logp - previous.float().log_softmax(-1))).sum(-1) * 1.4426950408889634
    return found


def ours(logits: Tensor, previous: Tensor | None) -> dict[str, Tensor]:
    """The same by the code that diffengine runs on this device, without mean and std, which no peer gives."""
    stats: LogitStats = logit_stats(logits, previous=previous, moments=False)
    found = {"lse": stats.lse, "entropy": stats.entropy, "top1_id": stats.top1_id, "margin": stats.margin}
    return found if previous is None else found | {"kl": stats.kl}


def providers(device: torch.device) -> dict[str, Callable[[Tensor, Tensor | None], dict[str, Tensor]]]:
    """Who is compared: eager torch first, then us, then what can be had here."""
    table: dict[str, Callable[[Tensor, Tensor | None], dict[str, Tensor]]] = {"eager": eager, "ours": ours}
    if device.type == "cuda":
        table["torch.compile"] = torch.compile(eager, dynamic=False)
        try:
            from liger_kernel.ops.cross_entropy import cross_entropy_forward  # type: ignore[import-not-found]
        except ImportError:
            return table
        table["liger cross entropy"] = lambda x, _: _liger(cross_entropy_forward, x)
    return table


def _liger(forward: Callable[..., Any], logits: Tensor) -> dict[str, Tensor]:
    target = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    options = {"weight": None, "ignore_index": -100, "lse_square_scale": 0.0, "label_smoothing": 0.0,
               "reduction": "none", "softcap": None, "return_z_loss": False}  # fmt: skip
    loss = forward(logits.clone(), target, **options)[0]  # it writes gradients over its input
    return {"lse": loss.float() + logits[:, 0].float()}


def errors(found: dict[str, Tensor], logits: Tensor, previous: Tensor | None) -> dict[str, float]:
    """Largest absolute error of each result against float64, on at most eight rows."""
    x = logits[:8].double()
    logp = x.log_softmax(-1)
    truth = {"lse": x.logsumexp(-1), "entropy": -(logp.exp() * logp).sum(-1) * 1.4426950408889634}
    if previous is not None:
        logq = previous[:8].double().log_softmax(-1)
        truth["kl"] = (logp.exp() * (logp - logq)).sum(-1) * 1.4426950408889634
    measured = {n: (found[n][:8].double() - t).abs().max().item() for n, t in truth.items() if n in found}
    if "top1_id" in found:
        measured["not_a_maximum"] = float((x.gather(1, found["top1_id"][:8, None])[:, 0] != x.amax(-1)).sum())
    return measured


def has_parity(measured: dict[str, float]) -> bool:
    """Whether a provider answers the same question; without that its time says nothing."""
    return all(error <= PARITY.get(name, 0.0) for name, error in measured.items())


def compare(task: Task, copy_gb_s: float, device: torch.device, vocabulary: int) -> Iterator[dict[str, Any]]:
    """One row per provider for one task."""
    def draw(seed: int) -> Tensor:
        return like_llada(task.rows, vocabulary, dtype=task.dtype, device=device, seed=seed)

    sets = [draw(seed) for seed in range(3 if task.rows * vocabulary < 1 << 30 else 2)]
    before = draw(9) if task.previous else None
    must_read = (2 if task.previous else 1) * task.rows * vocabulary * task.dtype.itemsize
    eager_ms = None
    for name, provide in providers(device).items():
        row: dict[str, Any] = {"task": task.name, "rows": task.rows, "dtype": str(task.dtype)[6:], "provider": name}
        try:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            held = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
            row["error"] = errors(provide(sets[0], before), sets[0], before)
            row["parity"] = has_parity(row["error"])
            row["ms"] = median_ms(lambda i, p=provide: p(sets[i % len(sets)], before), device)  # type: ignore[misc]
            row["gb_s"] = 1e-6 * must_read / row["ms"]
            row["share_of_copy"] = row["gb_s"] / copy_gb_s
            if device.type == "cuda":
                row["peak_extra_bytes"] = torch.cuda.max_memory_allocated(device) - held
            eager_ms = row["ms"] if name == "eager" else eager_ms
            row["speed_up"] = eager_ms / row["ms"] if row["parity"] and eager_ms and name != "eager" else None
        except (RuntimeError, torch.OutOfMemoryError) as error:  # a peer that cannot run here says so in its row
            row["failed"] = str(error).splitlines()[0][:200]
        yield row


def head_cost(rows: int, vocabulary: int, features: int, device: torch.device) -> dict[str, Any]:
    """The head's matrix product alone against a whole step with and without KL from the ring."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    weight = torch.randn(vocabulary, features, device=device, dtype=dtype) / features**0.5
    hidden = 3 * torch.randn(rows, features, device=device, dtype=dtype)
    place, first = torch.arange(rows, device=device), torch.zeros(rows, dtype=torch.bool, device=device)
    plain = Head(weight, sampling=Sampling())
    ring = Head(weight, sampling=Sampling(), ring=LogitRing(rows, vocabulary, dtype=dtype, device=device))
    product = median_ms(lambda _: plain.logits(hidden), device, repeats=3)
    alone = median_ms(lambda _: plain.step(Rows(hidden), topk=16), device, repeats=3)
    compared = median_ms(lambda _: ring.step(Rows(hidden, place=place, first=first), topk=16), device, repeats=3)
    return {
        "task": "head", "rows": rows, "features": features, "vocabulary": vocabulary, "matmul_ms": product,
        "step_ms": alone, "step_with_kl_ms": compared, "statistics_over_matmul": (alone - product) / product,
        "statistics_with_kl_over_matmul": (compared - product) / product,
    }  # fmt: skip


def hardware(device: torch.device) -> dict[str, str]:
    """What the numbers were measured on and with."""
    import importlib.metadata

    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("triton", "liger-kernel"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": name, "threads": str(torch.get_num_threads()), **versions}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "CPU")
    except OSError:
        return platform.processor() or "CPU"


def kernels_report(*, small: bool = False, vocabulary: int = VOCABULARY) -> dict[str, Any]:
    """Everything this file measures, on the GPU if there is one; `small` for a quick look."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtypes = (torch.bfloat16, torch.float32) if device.type == "cuda" else (torch.float32,)
    best = ceilings(device)
    report: dict[str, Any] = {"hardware": hardware(device), "ceilings": best, "rows": []}
    sizes = SIZES[device.type][:1] if small else SIZES[device.type]
    with torch.inference_mode():
        for n in sizes:
            for dtype in dtypes:
                for task in (Task("stats", n, dtype, False), Task("stats+kl", n, dtype, True)):
                    report["rows"] += compare(task, best["copy_gb_s"], device, vocabulary)
        if not small:
            for n, features in ((sizes[-1] if device.type == "cuda" else 64, FEATURES), (64, 128)):
                report["rows"].append(head_cost(n, vocabulary, features, device))
    return report
