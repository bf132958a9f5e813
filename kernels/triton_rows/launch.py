"""Launches the Triton statistics: allocates what they write, chooses tiles and parts, and returns
LogitStats.

Same signature and meaning as `reference.logit_stats`. No host synchronisation, no atomics. Shapes:
N rows, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from ..previous import Previous
from ..reference import LogitStats
from .finish import finish
from .parts import FIELDS
from .sweep import sweep
from .topk import topk_from_lanes

FEW_ROWS = 512
"""Below this one program per row cannot fill a large GPU, and the vocabulary is split."""
MAX_PARTS = 16
ROWS_FINISHED = 32
"""Rows that one program of `finish` merges."""


@dataclass(frozen=True)
class Tiles:
    """Lanes per tile, warps per program, parts of the vocabulary (0: chosen from the number of
    rows)."""

    lanes: int = 1024
    warps: int = 4
    parts: int = 0


class Question(NamedTuple):
    """What the statistics are of, and which of them the kernels are compiled for."""

    logits: Tensor  # [N, V]
    targets: Tensor | None  # [N, A]
    y: Previous
    compiled: dict[str, bool]


class Scratch(NamedTuple):
    """What the sweep leaves for the kernels after it."""

    part: Tensor  # [N, parts, FIELDS] float32
    arg: Tensor  # [N, parts] int32
    lane_max: Tensor  # [N, parts, lanes] float32; empty unless the k largest are asked for


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
    floats = torch.empty(8, n, dtype=torch.float32, device=logits.device)
    stats = _empty_stats(logits, targets, floats, min(topk, vocabulary))
    if n == 0:
        return stats

    tiles = tiles or tiles_for(logits.dtype)
    before = _before(logits, previous, tiles)
    # A kernel that compares nothing reads none of these, but needs tensors of these types.
    y = before or Previous(logits, stats.lse, stats.top1_id)
    compiled = {"MOMENTS": moments, "KL": before is not None}
    width = vocabulary if n_candidates is None else min(n_candidates, vocabulary)
    parts, per_part = _parts(n, width, tiles)
    scratch = _scratch(logits, parts, tiles.lanes if topk else 0)
    sweep[(n, parts)](
        logits,
        y.logits,
        y.place,
        *scratch,
        logits.stride(0),
        y.logits.stride(0),
        vocabulary,
        width,
        -1 if exclude_id is None else exclude_id,
        per_part,
        LANES=tiles.lanes,
        LANE_MAXIMA=topk > 0,
        KEEP=keep and isinstance(previous, Previous),
        **compiled,
        **_options(tiles.warps),
        **sweep_options(logits.dtype.itemsize, kl=before is not None),
    )
    _finish(Question(logits, targets, y, compiled), scratch, floats, stats)
    if topk:
        _topk(logits, scratch.lane_max, stats)
    return stats


def _empty_stats(logits: Tensor, targets: Tensor | None, floats: Tensor, k: int) -> LogitStats:
    """LogitStats of memory that nobody has written; `floats` [8, N] in the order in which `finish`
    writes them."""
    n = len(logits)
    device = logits.device
    lse, entropy, kl, top1_logit, top1_prob, margin, mean, std = floats.unbind()
    n_targets = 0 if targets is None else targets.shape[1]
    return LogitStats(
        lse=lse,
        entropy=entropy,
        kl=kl,
        top1_id=torch.empty(n, dtype=torch.int64, device=device),
        top1_logit=top1_logit,
        top1_prob=top1_prob,
        margin=margin,
        mean=mean,
        std=std,
        target_logprob=torch.empty(n, n_targets, dtype=torch.float32, device=device),
        topk_id=torch.empty(n, k, dtype=torch.int64, device=device),
        topk_logit=torch.empty(n, k, dtype=logits.dtype, device=device),
        status=torch.empty(n, dtype=torch.uint8, device=device),
    )


def _scratch(logits: Tensor, parts: int, lanes: int) -> Scratch:
    n = len(logits)
    device = logits.device
    return Scratch(
        part=torch.empty(n, parts, FIELDS.value, dtype=torch.float32, device=device),
        arg=torch.empty(n, parts, dtype=torch.int32, device=device),
        lane_max=torch.empty(n, parts, lanes, dtype=torch.float32, device=device),
    )


def _finish(question: Question, scratch: Scratch, floats: Tensor, stats: LogitStats) -> None:
    n, parts = scratch.arg.shape
    targets = question.targets
    finish[(triton.cdiv(n, ROWS_FINISHED),)](
        question.logits,
        stats.top1_id[:, None] if targets is None else targets.contiguous(),
        question.y.place,
        question.y.lse,
        scratch.part,
        scratch.arg,
        floats,
        stats.top1_id,
        stats.target_logprob,
        stats.status,
        n,
        parts,
        question.logits.stride(0),
        stats.target_logprob.shape[1],
        ROWS=ROWS_FINISHED,
        **question.compiled,
        **_options(1),
    )


def _topk(logits: Tensor, lane_max: Tensor, stats: LogitStats) -> None:
    n, parts, lanes = lane_max.shape
    vocabulary = logits.shape[1]
    k = stats.topk_id.shape[1]
    topk_from_lanes[(n,)](
        logits,
        lane_max,
        stats.topk_id,
        stats.topk_logit,
        logits.stride(0),
        vocabulary,
        parts,
        k,
        LANES=lanes,
        K=triton.next_power_of_2(k),
        DEPTH=triton.next_power_of_2(triton.cdiv(vocabulary, lanes)),
        **_options(1),
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
    if itemsize == 4:
        return {"maxnreg": 128}
    return {"maxnreg": 224 if kl else 152}


def _parts(n: int, width: int, tiles: Tiles) -> tuple[int, int]:
    """Parts of a row and columns of each, a multiple of four tiles, for n >= 1 rows."""
    parts = tiles.parts
    if parts == 0:
        parts = 1 if n >= FEW_ROWS else min(MAX_PARTS, FEW_ROWS * 2 // n)
    tile = 4 * tiles.lanes
    per_part = max(1, triton.cdiv(triton.cdiv(width, parts), tile)) * tile
    return max(1, triton.cdiv(width, per_part)), per_part


def _before(logits: Tensor, previous: Tensor | Previous | None, tiles: Tiles) -> Previous | None:
    if previous is None or isinstance(previous, Previous):
        return previous
    lse = logit_stats(previous, moments=False, tiles=tiles).lse
    return Previous(previous, lse, torch.arange(len(logits), device=logits.device))
