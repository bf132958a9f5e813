"""Which code serves a tensor: Triton for one on a GPU, plain torch for the rest. Same signatures,
same meaning.

Triton is imported when the first such tensor comes. TRITON_INTERPRET=1, which must be set before
triton is imported anywhere, sends tensors of the CPU through the same kernels, slowly. float64 is
always the specification's.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from . import layers, noise, reference

P = ParamSpec("P")
R = TypeVar("R")


def served_by_triton(logits: Tensor) -> bool:
    """Whether the kernels take `logits`, by its device and dtype."""
    if logits.dtype == torch.float64:
        return False
    if os.environ.get("TRITON_INTERPRET") == "1":
        return True
    return logits.device.type == "cuda" and importlib.util.find_spec("triton") is not None


def by_device(
    specification: Callable[Concatenate[Tensor, P], R], *, kernel: str
) -> Callable[Concatenate[Tensor, P], R]:
    """`specification`, or `kernel` ("module:function" of this package, imported when needed) where
    it takes the logits.

    Both have the same parameters, so that nothing is said of them here;
    tests/kernels/test_dispatch.py compares them.
    """
    module, _, name = kernel.partition(":")

    @functools.wraps(specification)
    def serve(logits: Tensor, /, *arguments: P.args, **options: P.kwargs) -> R:
        if not served_by_triton(logits):
            return specification(logits, *arguments, **options)
        served = importlib.import_module(f".{module}", __package__)
        compute: Callable[..., R] = getattr(served, name)
        # Triton launches on the current device, wherever the tensors lie.
        with torch.cuda.device_of(logits):
            return compute(logits, *arguments, **options)

    return serve


logit_stats = by_device(reference.logit_stats, kernel="triton_rows.launch:logit_stats")
gumbel_argmax = by_device(noise.gumbel_argmax, kernel="triton_rows.gumbel:gumbel_argmax")
token_probability = by_device(
    reference.token_probability, kernel="triton_rows.launch:token_probability"
)
add_rms_norm = by_device(layers.add_rms_norm, kernel="triton_rows.layers:add_rms_norm")
rotated = by_device(layers.rotated, kernel="triton_rows.layers:rotated")
gated = by_device(layers.gated, kernel="triton_rows.layers:gated")
