"""Between host and device without one waiting for the other: pinned memory, and copies that a
stream makes alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor


def current(device: torch.device) -> AbstractContextManager[object]:
    """`device` as CUDA's current one while the context lasts; nothing where it is no CUDA device.

    Events, pinned memory and some kernels go by the current device, not by where their tensors lie.
    """
    if device.type == "cuda":
        return torch.cuda.device(device)
    return contextlib.nullcontext()


def on_device(
    values: list[int] | list[float], device: torch.device, dtype: torch.dtype = torch.int64
) -> Tensor:
    """A host list as a tensor on `device`; on CUDA the call returns before the copy is done."""
    host = torch.tensor(values, dtype=dtype)
    if device.type != "cuda":
        return host
    pinned = host.pin_memory()
    return pinned.to(device, non_blocking=True)


def host_array(tensor: Tensor) -> np.ndarray:
    """A copy on the host as the store takes it: numpy, bfloat16 as its uint16 bits. Waits for the
    device."""
    host = tensor.detach().cpu()
    return _array_of(host).copy()


def _array_of(host: Tensor) -> np.ndarray:
    if host.dtype == torch.bfloat16:
        host = host.view(torch.uint16)
    return host.numpy()


class HostCopies:
    """Copies of one device's tensors on the host, made beside its work.

    On CUDA a stream of its own makes them, into pinned memory that torch's allocator uses over and
    over, while the next step runs. On a CPU there is nothing to overlap, and they are made at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)

    def array(self, tensor: Tensor) -> np.ndarray:
        """`host_array(tensor)`, whose values are there once `ready()()` has returned; `tensor` may
        change at once."""
        if self._stream is None:
            return host_array(tensor)
        kept = tensor.detach().clone()
        self._stream.wait_stream(torch.cuda.current_stream(kept.device))
        with torch.cuda.stream(self._stream):
            host = kept.to("cpu", non_blocking=True)
        kept.record_stream(self._stream)
        return _array_of(host)

    def ready(self) -> Callable[[], None]:
        """A function that waits for all copies asked for until now."""
        if self._stream is None:
            return at_once
        event = self._stream.record_event()
        wait: Callable[[], None] = event.synchronize
        return wait


def at_once() -> None:
    """Waits for nothing."""
