"""Launches the Triton statistics: allocates what they write, chooses tiles and parts, and returns
LogitStats.

Same signature and meaning as `reference.logit_stats`. No host synchronisation, no atomics. Shapes:
N rows, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from ..previous import Previous
from ..reference import LogitStats
from .finish import finish
from .sweep import FIELDS, sweep
from .topk import topk_from_lanes

FEW_ROWS = 512
"""Below this one program per row cannot fill a large GPU, and the vocabulary is split."""
MAX_PARTS = 16


@dataclass(frozen=True)
class Tiles:
    """Lanes per tile, warps per program, parts of the vocabulary (0: chosen from the number of
    rows)."""

    lanes: int = 1024
    warps: int = 4
    parts: int = 0


def tiles_for(dtype: torch.dtype) -> Tiles:
    """Sixteen bytes of logits per thread and load."""
    return Tiles(lanes=1024 if dtype.itemsize == 2 else 512)


def logit_stats(
    logits: Tensor,
    targets: Tensor | None = None,
    *,
    previous: Tensor | Previous | None = None,
    topk: int = 0,
    exclude_id: int | None = None,
    n_candidates: int | None = None,
    reverse: bool = False,
    precise: bool = False,
    moments: bool = True,
    keep: bool = False,
    tiles: Tiles | None = None,
) -> LogitStats:
    """Every statistic of each row of `logits` [N, V]; see `reference.logit_stats`.

    `previous` may be a `Previous`, whose rows are found by `place`; with `keep` this step's logits
    take their place as they are read. `moments=False` leaves mean and std NaN and saves their
    instructions. Rows must be contiguous.
    """
    n, vocabulary = logits.shape
    if logits.stride(1) != 1 and vocabulary > 1:
        raise ValueError(
            f"logits have stride {logits.stride(1)} along the vocabulary; expected 1; call "
            ".contiguous()"
        )
    tiles = tiles or tiles_for(logits.dtype)
    before = _before(logits, previous, tiles) if n else None
    k = min(topk, vocabulary)
    width = vocabulary if n_candidates is None else min(n_candidates, vocabulary)
    excluded = -1 if exclude_id is None else exclude_id
    n_targets = 0 if targets is None else targets.shape[1]
    parts, per_part = _parts(n, width, tiles)
    device = logits.device
    floats = torch.empty(9, n, dtype=torch.float32, device=device)
    ids, status = (torch.empty(n, dtype=d, device=device) for d in (torch.int64, torch.uint8))
    gold = torch.empty(n, n_targets, dtype=torch.float32, device=device)
    top_ids = torch.empty(n, k, dtype=torch.int64, device=device)
    top_values = torch.empty(n, k, dtype=logits.dtype, device=device)
    if n:
        part = torch.empty(n, parts, FIELDS.value, dtype=torch.float32, device=device)
        arg = torch.empty(n, parts, dtype=torch.int32, device=device)
        lane_max = torch.empty(
            n if k else 0, parts, tiles.lanes, dtype=torch.float32, device=device
        )
        y = before or Previous(logits, floats[0], ids, ids, floats[0])
        kl = before is not None
        flags = {"MOMENTS": moments, "KL": kl, "REVERSE": kl and reverse, "PRECISE": kl and precise}
        sweep[(n, parts)](
            logits,
            y.logits,
            y.place,
            y.lse,
            y.top1_logit,
            y.top1_id,
            part,
            arg,
            lane_max,
            logits.stride(0),
            y.logits.stride(0),
            vocabulary,
            width,
            excluded,
            per_part,
            LANES=tiles.lanes,
            LANE_MAXIMA=k > 0,
            KEEP=kl and keep,
            **flags,
            **_options(tiles.warps),
            **sweep_options(logits.dtype.itemsize, kl=kl),
        )
        gold_ids = ids[:, None] if targets is None else targets.contiguous()
        rows = 32
        finish[(triton.cdiv(n, rows),)](
            logits,
            gold_ids,
            y.place,
            y.lse,
            part,
            arg,
            floats,
            ids,
            gold,
            status,
            n,
            parts,
            logits.stride(0),
            n_targets,
            ROWS=rows,
            **flags,
            **_options(1),
        )
        if k:
            depth = triton.next_power_of_2(triton.cdiv(vocabulary, tiles.lanes))
            topk_from_lanes[(n,)](
                logits,
                lane_max,
                top_ids,
                top_values,
                logits.stride(0),
                vocabulary,
                parts,
                k,
                LANES=tiles.lanes,
                K=triton.next_power_of_2(k),
                DEPTH=depth,
                **_options(1),
            )
    lse, entropy, forward, backward, top1, probability, margin, mean, std = floats.unbind()
    return LogitStats(
        lse,
        entropy,
        forward,
        backward,
        ids,
        top1,
        probability,
        margin,
        mean,
        std,
        gold,
        top_ids,
        top_values,
        status,
    )


def token_probability(logits: Tensor, token: Tensor, lse: Tensor) -> Tensor:
    """p [N] of one token per row, from the logsumexp that is already known."""
    return (logits.gather(-1, token[:, None]).squeeze(-1).float() - lse).exp()


def _options(warps: int) -> dict[str, int | bool]:
    # Set outright: triton 3.10 turns fusion off by default, and the instruction counts assume it.
    return {"num_warps": warps, "enable_fp_fusion": True}


def sweep_options(itemsize: int, *, kl: bool) -> dict[str, int]:
    """Compiler options of `sweep` for one size of logit. Without a limit of its own the compiler
    aims at a higher occupancy and spills a few words to get there."""
    return {"maxnreg": 128 if itemsize == 4 else 224 if kl else 152}


def _parts(n: int, width: int, tiles: Tiles) -> tuple[int, int]:
    tile = 4 * tiles.lanes
    wanted = tiles.parts or (1 if n >= FEW_ROWS else min(MAX_PARTS, FEW_ROWS * 2 // max(n, 1)))
    per_part = max(1, triton.cdiv(triton.cdiv(width, wanted), tile)) * tile
    return max(1, triton.cdiv(width, per_part)), per_part


def _before(logits: Tensor, previous: Tensor | Previous | None, tiles: Tiles) -> Previous | None:
    if previous is None or isinstance(previous, Previous):
        return previous
    known = logit_stats(previous, moments=False, tiles=tiles)
    place = torch.arange(len(logits), device=logits.device)
    return Previous(previous, known.lse, place, known.top1_id, known.top1_logit)
