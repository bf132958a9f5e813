"""Host values onto a device without waiting for it: pinned memory and a copy that the stream does on its own."""

from __future__ import annotations

import torch
from torch import Tensor


def on_device(values: list[int], device: torch.device, dtype: torch.dtype = torch.int64) -> Tensor:
    """A host list as a tensor on `device`; on CUDA the call returns before the copy is done."""
    host = torch.tensor(values, dtype=dtype)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
