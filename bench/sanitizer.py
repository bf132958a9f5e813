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
    for rows, vocabulary in SHAPES:
        if device.type == "cpu":
            rows = min(rows, 33)  # the interpreter takes its time for each row
        for dtype in (torch.bfloat16, torch.float32):
            x = like_llada(rows, vocabulary, dtype=dtype, device=device, seed=1)
            y = like_llada(rows, vocabulary, dtype=dtype, device=device, seed=2)
            error = _statistics_errors(x, y) | _draw_errors(x)
            ok = all(worst <= TOLERANCE.get(name, 0.0) for name, worst in error.items())
            yield {
                "rows": rows,
                "vocabulary": vocabulary,
                "dtype": str(dtype)[6:],
                "error": error,
                "ok": ok,
            }


def _statistics_errors(x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    """Of logits x [N, V] after y, whose rows lie in reverse order and are overwritten."""
    from ..kernels.triton_rows import launch

    rows, vocabulary = x.shape
    options: dict[str, Any] = {"topk": min(4, vocabulary)}
    if vocabulary > 3:
        options |= {"exclude_id": 2, "n_candidates": vocabulary - 1}
    gold = torch.zeros(rows, 2, dtype=torch.int64, device=x.device)
    truth = reference.logit_stats(x.double(), gold, previous=y.double(), **options)

    lse = reference.logit_stats(y.double()).lse.float()
    kept = y.flip(0).contiguous()
    place = torch.arange(rows, device=x.device).flip(0)
    before = Previous(kept, lse.flip(0), place)
    stats = launch.logit_stats(x, gold, previous=before, keep=True, **options)
    error = {}
    for name in TOLERANCE:
        error[name] = _apart(getattr(stats, name), getattr(truth, name))
    error["ids"] = _differing(stats.top1_id, truth.top1_id)
    error["left"] = _differing(kept.flip(0), x)
    return error


def _draw_errors(x: torch.Tensor) -> dict[str, float]:
    from ..kernels.triton_rows import gumbel

    counter = torch.ones(len(x), 3, dtype=torch.int64, device=x.device)
    drawn = gumbel.gumbel_argmax(x, counter, temperature=0.7, seed=1, exact=True)
    truth = gumbel_argmax(x, counter, temperature=0.7, seed=1)
    return {"draws": _differing(drawn, truth)}


def exercise_layers(device: torch.device) -> Iterator[dict[str, Any]]:
    """The kernels of `--fused` at LLaDA-8B's widths: the largest error of each against plain torch
    in float64."""
    tokens = 300 if device.type == "cuda" else 3
    generator = torch.Generator(device).manual_seed(0)
    for dtype, tolerance in ((torch.bfloat16, 0.1), (torch.float32, 1e-5)):
        error = _layer_errors(tokens, dtype, generator)
        # Values up to about 15, rounded twice; the float32 norm sums 4096 squares. The interpreter
        # does not round sums.
        exact = error["sum"] == 0 or device.type == "cpu"
        ok = exact and max(error.values()) <= tolerance
        yield {"layers": [tokens, 4096], "dtype": str(dtype)[6:], "error": error, "ok": ok}


def _layer_errors(tokens: int, dtype: torch.dtype, generator: torch.Generator) -> dict[str, float]:
    from ..kernels import layers
    from ..kernels.triton_rows import layers as layer_kernels

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=generator.device)

    states = draw(tokens, 4096).to(dtype)
    update = draw(tokens, 4096).to(dtype)
    weight = draw(4096).to(dtype)
    total, normed = layer_kernels.add_rms_norm(states, update, weight, eps=1e-5)
    true_norm = layers.add_rms_norm(total.double(), None, weight.double(), eps=1e-5)[1]

    heads = draw(tokens, 32, 128).to(dtype)
    cos = draw(tokens, 128)
    sin = draw(tokens, 128)
    rotated = layer_kernels.rotated(heads, cos, sin)
    true_rotated = layers.rotated(heads.double(), cos.double(), sin.double())

    gate = draw(tokens, 12288).to(dtype)
    up = draw(tokens, 12288).to(dtype)
    gated = layer_kernels.gated(gate, up)
    true_gated = layers.gated(gate.double(), up.double())
    return {
        "sum": _apart(total, states + update),
        "norm": _apart(normed, true_norm),
        "rotated": _apart(rotated, true_rotated),
        "gated": _apart(gated, true_gated),
    }


def _differing(ours: torch.Tensor, truth: torch.Tensor) -> float:
    return float((ours != truth).sum())


def _apart(ours: torch.Tensor, truth: torch.Tensor) -> float:
    """Largest difference over finite values; infinite where one is finite and the other is not."""
    ours = ours.double()
    truth = truth.double()
    if not torch.equal(ours.isfinite(), truth.isfinite()):
        return float("inf")
    if ours.numel() == 0:
        return 0.0
    difference = torch.where(truth.isfinite(), ours - truth, 0.0).abs()
    scale = 1 + truth.abs().nan_to_num(0, 0, 0) * 0.1
    return float((difference / scale).max())


def main() -> None:
    """Write one JSON line for each shape; exit with 1 where a result is off."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not served_by_triton(torch.empty(0, 1, device=device)):
        sys.exit("the kernels need a GPU with triton, or TRITON_INTERPRET=1")
    sys.stdout.write(json.dumps({"hardware": hardware(device)}) + "\n")
    rows = [*exercise(device), *exercise_layers(device)]
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
    sys.exit(0 if all(row["ok"] for row in rows) else 1)


if __name__ == "__main__":
    main()
