"""How much arithmetic a forward pass is, and how much of it the device could do: the two sides of
an MFU.

Counted are the matrix products of network and head, attention included, over rows that somebody
reads; padding is not, nor anything elementwise, the angles of the rotary embedding among it: an
outer product that transformers 5.17 writes as a matrix product and 5.23 as what it is. One
multiply-add is two FLOPs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import torch

from .experts import expert_count, expert_width, has_experts, shared_width

GEMM_SIZE = {"cpu": 1024, "cuda": 8192}
REPEATS = 5


def network_flops(
    config: Any,
    lengths: Sequence[int],
    *,
    asked: Sequence[int] | None = None,
    renewed: int | None = None,
) -> int:
    """FLOPs of the layers of a Llama-shaped network over rows of these lengths, each attending to
    itself.

    `config` is transformers': hidden_size, intermediate_size, num_hidden_layers,
    num_attention_heads, num_key_value_heads, and what `has_experts` asks. Of each row only `asked`
    tokens go through the last layer, its keys and values apart, and only `renewed` tokens of all
    through the first layer's projections; all, where it is not said.
    """
    tokens = sum(lengths)
    asked = lengths if asked is None else asked
    renewed = tokens if renewed is None else renewed
    layers: int = config.num_hidden_layers
    width: int = config.hidden_size
    heads: int = config.num_attention_heads
    size: int = getattr(config, "head_dim", None) or width // heads

    # multiply-adds of a token
    query = width * size * heads
    output = query
    key_value: int = 2 * width * size * config.num_key_value_heads
    mlps = [mlp_multiply_adds(config, layer) for layer in range(layers)]
    # and how many tokens of all layers take part in each
    mapped = (layers - 1) * tokens + sum(asked)
    projected = renewed + (layers - 1) * tokens
    queries = renewed
    if layers > 1:
        queries += (layers - 2) * tokens + sum(asked)

    pairs = 0
    for length, part in zip(lengths, asked, strict=True):
        pairs += length * ((layers - 1) * length + part)
    attention = 2 * pairs * heads * size

    multiply_adds = queries * query + projected * key_value + mapped * output + attention
    multiply_adds += tokens * sum(mlps[:-1]) + sum(asked) * mlps[-1]
    return 2 * multiply_adds


def flops_of_tokens(config: Any, *, tokens: int, pairs: int) -> int:
    """FLOPs of the layers over `tokens` tokens that all go through everything, with `pairs` of
    query and key in each layer; `config` as of `network_flops`."""
    layers: int = config.num_hidden_layers
    width: int = config.hidden_size
    heads: int = config.num_attention_heads
    size: int = getattr(config, "head_dim", None) or width // heads
    projections: int = 2 * width * size * (heads + config.num_key_value_heads)
    mlps = sum(mlp_multiply_adds(config, layer) for layer in range(layers))
    attention = 2 * layers * pairs * heads * size
    return 2 * (tokens * (layers * projections + mlps) + attention)


def mlp_multiply_adds(config: Any, layer: int) -> int:
    """Multiply-adds of a token in the gated MLP of a layer, or in its router, the experts that it
    chooses and the MLP that is beside them."""
    width: int = config.hidden_size
    dense: int = 3 * width * config.intermediate_size
    if not has_experts(config, layer):
        return dense
    router = width * expert_count(config)
    through = config.num_experts_per_tok * expert_width(config) + shared_width(config)
    return router + 3 * width * int(through)


def head_flops(rows: int, *, width: int, vocabulary: int) -> int:
    """FLOPs of projecting `rows` hidden states onto the vocabulary."""
    return 2 * rows * width * vocabulary


def operands(n: int, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Two matrices [n, n] of standard normal numbers, from a generator of their own."""
    generator = torch.Generator(device).manual_seed(0)
    a = torch.randn(n, n, generator=generator, dtype=dtype, device=device)
    b = torch.randn(n, n, generator=generator, dtype=dtype, device=device)
    return a, b


@functools.cache
def gemm_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second that the device reaches in a large square matrix product, the best of five;
    measured once.

    Of random numbers, as weights and activations are: a GPU flips fewer bits over ones, draws less
    power and clocks higher, so that they would make a ceiling that no network can reach.
    """
    n = GEMM_SIZE.get(device.type, GEMM_SIZE["cpu"])
    a, b = operands(n, device, dtype)
    best = float("inf")
    for _ in range(1 + REPEATS):  # the first warms up
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best
