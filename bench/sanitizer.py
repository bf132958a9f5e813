"""Every kernel once on odd shapes against the specification in float64; what compute-sanitizer
watches.

    python -m diffengine.bench.sanitizer

Compiled where there is a GPU; elsewhere with TRITON_INTERPRET=1. Needs neither pytest nor an
installation. Exits with 1 where a result is off. It is no substitute for tests/kernels, which look
at far more rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import torch

from ..kernels import reference
from ..kernels.dispatch import served_by_triton
from ..kernels.noise import gumbel_argmax
from ..kernels.previous import Previous
from .measure import hardware, like_llada

SHAPES = ((1, 1), (3, 7), (5, 1003), (600, 511), (2, 5003))
"""Rows and vocabulary; 600 rows are swept in one part, fewer in several."""
TOLERANCE = {
    "lse": 1e-5,
    "entropy": 1e-5,
    "kl": 2e-5,
    "top1_prob": 2e-6,
    "mean": 1e-5,
    "std": 1e-5,
    "target_logprob": 1e-5,
    "topk_logit": 0.0,
    "top1_logit": 0.0,
    "status": 0.0,
}


def exercise(device: torch.device) -> Iterator[dict[str, Any]]:
    """One row for each shape and dtype: the largest error of each result, and whether all are
    within tolerance."""
    from ..kernels.triton_rows import gumbel as gumbel_kernel
    from ..kernels.triton_rows import launch

    for wanted, vocabulary in SHAPES:
        rows = (
            wanted if device.type == "cuda" else min(wanted, 33)
        )  # the interpreter takes its time for each row
        for dtype in (torch.bfloat16, torch.float32):
            x, y = (
                like_llada(rows, vocabulary, dtype=dtype, device=device, seed=seed)
                for seed in (1, 2)
            )
            options: dict[str, Any] = {"topk": min(4, vocabulary)}
            options |= {"exclude_id": 2, "n_candidates": vocabulary - 1} if vocabulary > 3 else {}
            gold = torch.zeros(rows, 2, dtype=torch.int64, device=device)
            truth = reference.logit_stats(x.double(), gold, previous=y.double(), **options)
            known = reference.logit_stats(y.double())
            place = torch.arange(rows, device=device).flip(0)
            kept = y.flip(0).contiguous()
            before = Previous(kept, known.lse.float().flip(0), place)
            found = launch.logit_stats(x, gold, previous=before, keep=True, **options)
            error = {n: _apart(getattr(found, n), getattr(truth, n)) for n in TOLERANCE}
            error["ids"] = float((found.top1_id != truth.top1_id).sum())
            error["left"] = float((kept.flip(0) != x).sum())
            counter = torch.ones(rows, 3, dtype=torch.int64, device=device)
            drawn = gumbel_kernel.gumbel_argmax(x, counter, temperature=0.7, seed=1, exact=True)
            error["draws"] = float(
                (drawn != gumbel_argmax(x, counter, temperature=0.7, seed=1)).sum()
            )
            ok = all(worst <= TOLERANCE.get(name, 0.0) for name, worst in error.items())
            yield {
                "rows": rows,
                "vocabulary": vocabulary,
                "dtype": str(dtype)[6:],
                "error": error,
                "ok": ok,
            }


def exercise_layers(device: torch.device) -> Iterator[dict[str, Any]]:
    """The kernels of `--fused` at LLaDA-8B's widths: the largest error of each against plain torch
    in float64."""
    from ..kernels import layers
    from ..kernels.triton_rows import layers as layer_kernels

    tokens = 300 if device.type == "cuda" else 3
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    for dtype in (torch.bfloat16, torch.float32):
        states, update, weight = (
            draw(*shape).to(dtype) for shape in ((tokens, 4096), (tokens, 4096), (4096,))
        )
        heads = draw(tokens, 32, 128).to(dtype)
        cos = draw(tokens, 128)
        sin = draw(tokens, 128)
        gate = draw(tokens, 12288).to(dtype)
        up = draw(tokens, 12288).to(dtype)
        total, normed = layer_kernels.add_rms_norm(states, update, weight, eps=1e-5)
        error = {
            "sum": _apart(total, states + update),
            "norm": _apart(
                normed, layers.add_rms_norm(total.double(), None, weight.double(), eps=1e-5)[1]
            ),
            "rotated": _apart(
                layer_kernels.rotated(heads, cos, sin),
                layers.rotated(heads.double(), cos.double(), sin.double()),
            ),
            "gated": _apart(
                layer_kernels.gated(gate, up), layers.gated(gate.double(), up.double())
            ),
        }
        # Values up to about 15, rounded twice; the float32 norm sums 4096 squares. The interpreter
        # does not round sums.
        exact = error["sum"] == 0 or device.type == "cpu"
        ok = exact and max(error.values()) <= (0.1 if dtype == torch.bfloat16 else 1e-5)
        yield {"layers": [tokens, 4096], "dtype": str(dtype)[6:], "error": error, "ok": ok}


def _apart(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Largest difference over finite values; infinite where one is finite and the other is not."""
    ours = found.double()
    wanted = truth.double()
    if not torch.equal(ours.isfinite(), wanted.isfinite()):
        return float("inf")
    apart = torch.where(wanted.isfinite(), ours - wanted, 0.0).abs() / (
        1 + wanted.abs().nan_to_num(0, 0, 0) * 0.1
    )
    return float(apart.max()) if apart.numel() else 0.0


def main() -> None:
    """Write one JSON line for each shape; exit with 1 where a result is off."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not served_by_triton(torch.empty(0, 1, device=device)):
        sys.exit("the kernels need a GPU with triton, or TRITON_INTERPRET=1")
    sys.stdout.write(json.dumps({"hardware": hardware(device)}) + "\n")
    found = [*exercise(device), *exercise_layers(device)]
    for row in found:
        sys.stdout.write(json.dumps(row) + "\n")
    sys.exit(0 if all(row["ok"] for row in found) else 1)


if __name__ == "__main__":
    main()
