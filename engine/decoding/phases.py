"""Where the seconds of decoding go: forward, head and statistics, policy, record, finish; and how
much was computed.

On a CPU by the clock; on CUDA by events on the stream, read when a problem leaves: no step waits
for the device.
"""

from __future__ import annotations

import time
from typing import Any

import torch

NAMES = ("forward", "head_and_statistics", "policy", "record", "finish", "between")


class Phases:
    """Seconds by phase, forward passes and packed tokens of one device. `mark(name)` ends the phase
    `name`."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = dict.fromkeys(NAMES, 0.0)
        self.forwards = 0
        self.tokens = 0
        self.rows = 0
        self.flops = 0
        self._cuda = device.type == "cuda"
        self._device = device
        self._events: list[tuple[str, Any]] = []
        self._last = time.perf_counter()

    def mark(self, name: str) -> None:
        """The time since the mark before belongs to `name`."""
        if self._cuda:
            make_event: Any = torch.cuda.Event  # whose constructor has no annotations
            event = make_event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            self._events.append((name, event))
            return
        now = time.perf_counter()
        self.seconds[name] += now - self._last
        self._last = now

    def count(self, *, tokens: int, rows: int, flops: int) -> None:
        """One forward pass over `tokens` packed tokens, padding included, with `rows` rows of the
        head behind it."""
        self.forwards = self.forwards + 1
        self.tokens = self.tokens + tokens
        self.rows = self.rows + rows
        self.flops += flops

    def settle(self, *, wait: bool = False) -> None:
        """Read the events that the device has reached; with `wait` all of them."""
        while len(self._events) > 1 and (wait or self._events[1][1].query()):
            (_, before), (name, after) = self._events[:2]
            after.synchronize()
            self.seconds[name] += before.elapsed_time(after) / 1000
            del self._events[0]

    def as_dict(self, *, gemm_rate: float) -> dict[str, Any]:
        """Plain values for the run record. `gemm_rate` in FLOPs a second is the ceiling that the
        MFU is a share of."""
        self.settle(wait=True)
        seconds = sum(self.seconds.values())
        return {
            "seconds": {k: round(v, 4) for k, v in self.seconds.items()},
            "forwards": self.forwards,
            "packed_tokens": self.tokens,
            "head_rows": self.rows,
            "flops": self.flops,
            "gemm_flops_per_second": round(gemm_rate),
            "mfu_share_of_gemm": round(self.flops / seconds / gemm_rate, 4) if seconds else None,
        }
