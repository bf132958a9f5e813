"""How a benchmark measures: medians, this machine's ceilings, random logits, and what they were
measured on."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_ms(call: Callable[[int], object], device: torch.device, *, repeats: int = 7) -> float:
    """Median time of `call(i)` in ms after two warm-ups; `i` rotates the inputs so that no cache
    holds them.

    One thread of a CPU is asked for the time that it worked, so that other work on the machine
    counts less.
    """
    clock = time.perf_counter
    if device.type == "cpu" and torch.get_num_threads() == 1:
        clock = time.process_time
    for i in range(2):
        call(i)
    times = []
    for i in range(repeats):
        wait(device)
        began = clock()
        call(i)
        wait(device)
        times.append(1e3 * (clock() - began))
    return statistics.median(times)


def like_llada(
    rows: int, vocabulary: int, *, dtype: torch.dtype, device: torch.device, seed: int
) -> Tensor:
    """Random logits [rows, V] with one peak of 15 to 30 over a spread of 3."""
    generator = torch.Generator(device).manual_seed(seed)
    x = 3 * torch.randn(rows, vocabulary, generator=generator, device=device)
    place = torch.randint(vocabulary, (rows, 1), generator=generator, device=device)
    peak = 15 + 15 * torch.rand(rows, 1, generator=generator, device=device)
    return x.scatter_add_(1, place, peak).to(dtype)


def ceilings(device: torch.device) -> dict[str, float]:
    """What the machine can do at best here: copy and read in GB/s, a square matrix product in
    TFLOP/s."""
    on_gpu = device.type == "cuda"
    n = 1 << (29 if on_gpu else 24)
    source = torch.ones(n, device=device, dtype=torch.bfloat16)
    target = torch.ones(n, device=device, dtype=torch.bfloat16)
    copy_ms = median_ms(lambda _: target.copy_(source), device)
    read_ms = median_ms(lambda _: source.amax(), device)

    side = 8192 if on_gpu else 1024
    dtype = torch.bfloat16 if on_gpu else torch.float32
    a = torch.randn(side, side, device=device, dtype=dtype)
    b = torch.randn(side, side, device=device, dtype=dtype)
    product_ms = median_ms(lambda _: a @ b, device, repeats=3)
    return {
        "copy_gb_s": 4e-6 * n / copy_ms,
        "read_gb_s": 2e-6 * n / read_ms,
        "matmul_tflop_s": 2e-9 * side**3 / product_ms,
    }


def hardware(device: torch.device) -> dict[str, str]:
    """What the numbers were measured on and with."""
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
            for line in file:
                if line.startswith("model name"):
                    return line.split(":")[1].strip()
    except OSError:
        return platform.processor() or "CPU"
    return "CPU"
