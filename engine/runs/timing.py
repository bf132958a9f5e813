"""How fast a device decodes: a few timed steps of the largest batch that prompts make, in as much
memory as there is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..config import ConfigError, RunConfig
from ..decoding.setup import Setup
from ..models.loading import MaskedDiffusionModel
from ..prompts.prompt import Prompt
from ..store.counts import count_text
from .device import by_length, free_cached_memory

TIMED_STEPS = 2


class Timing(NamedTuple):
    """Tokens a second of the timed steps, and the token budget they were taken at."""

    rate: float
    budget: int


def timed_steps(
    prompts: Sequence[Prompt],
    model: MaskedDiffusionModel,
    config: RunConfig,
    *,
    budget: int,
    keeps: bool = True,
) -> Timing:
    """Steps of the largest batch that these prompts make within `budget`, after one to warm up.

    As a run does, halves the budget once where memory runs out; raises ConfigError where half is
    too much as well.
    """
    for tried in (budget, max(1, budget // 2)):
        with contextlib.suppress(torch.OutOfMemoryError):
            return _timed(prompts, model, config, budget=tried, keeps=keeps)
        free_cached_memory(model.device)  # here, where the frames that held the batch are gone
    raise ConfigError(
        f"out of memory in a timed step, with {count_text(budget, 'token')} in flight and with "
        "half of that; a run would fail alike: give a smaller --token-budget, a shorter "
        "--gen-length, or another device"
    )


def _timed(
    prompts: Sequence[Prompt],
    model: MaskedDiffusionModel,
    config: RunConfig,
    *,
    budget: int,
    keeps: bool,
) -> Timing:
    ordered = by_length(prompts)[::-1]
    decoder = Setup(model, config, keeps=keeps).decoder(ordered, budget=budget)
    canvas = decoder.canvas
    waiting = iter(ordered)
    taken = 0.0
    tokens = 0
    for i in range(1 + TIMED_STEPS):
        if not canvas.fill(waiting):
            break
        now = canvas.passed_tokens
        started = time.perf_counter()
        decoder.step()
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        if i > 0 or not canvas.rows:
            taken = taken + time.perf_counter() - started
            tokens = tokens + now
    return Timing(tokens / taken, budget)
