"""Decoding at LLaDA-8B's shape with random weights made on the device, against the published loop
at batch 1.

    python -m diffengine.bench.llada_8b

One JSON line. A first form: the weights mean nothing, the time does. The reference loop runs one
problem at a time on a full canvas, at temperature 0, with the literal softmax over all logits, and
copies nothing to the host; ours is the model's packed forward with the chunked head, ring and
statistics. Tokens are not compared here; tests/engine does that.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..engine.models.attention import NAME, packed_attention, packing_of
from ..kernels.head import Head, Rows, Sampling
from ..kernels.ring import LogitRing
from .measure import hardware, wait

STEPS = 6


@dataclass(frozen=True)
class Shape:
    """A network and the batch it decodes, all problems of one length; the defaults are
    LLaDA-8B's."""

    layers: int = 32
    width: int = 4096
    inner: int = 12288
    heads: int = 32
    vocabulary: int = 126464
    problems: int = 32
    prompt: int = 100
    generated: int = 128


def random_network(shape: Shape, device: torch.device, dtype: torch.dtype) -> Any:
    """A stock Llama of this shape, bidirectional and packed, with random weights made on the
    device."""
    import transformers

    transformers.AttentionInterface.register(NAME, packed_attention)
    config = transformers.LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        tie_word_embeddings=False,
    )
    config.update({"is_causal": False, "use_cache": False})
    config._attn_implementation = NAME
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return transformers.LlamaForCausalLM(config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


@torch.inference_mode()
def decoding_report(shape: Shape, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Seconds per problem-step of both, and the share of ours that the head and the statistics
    take."""
    network = random_network(shape, device, dtype)
    n = shape.problems
    length = shape.prompt + shape.generated
    ids = torch.randint(shape.vocabulary, (n * length,), device=device)
    positions = torch.arange(length, device=device).repeat(n)
    read = torch.arange(n * length, device=device).view(n, length)[:, shape.prompt :].flatten()
    ring = LogitRing(n * shape.generated, shape.vocabulary, dtype=dtype, device=device)
    head = Head(network.lm_head.weight, sampling=Sampling(), ring=ring)
    packing = packing_of([length] * n, device)

    def forward(some: Tensor, places: Tensor, packed: Any) -> Tensor:
        out = network.model(some[None], position_ids=places[None], packing=packed, use_cache=False)
        hidden: Tensor = out.last_hidden_state[0]
        return hidden

    place = torch.arange(n * shape.generated, device=device)
    first = torch.zeros(n * shape.generated, dtype=torch.bool, device=device)

    def step() -> None:
        head.step(Rows(forward(ids, positions, packing)[read], place=place, first=first), topk=16)

    one = packing_of([length], device)

    def reference() -> None:
        hidden = forward(ids[:length], positions[:length], one)
        logits = hidden @ network.lm_head.weight.T
        token = logits.argmax(-1)
        logits.softmax(-1).gather(-1, token[:, None])

    ours = _seconds(step, device)
    backbone = _seconds(lambda: forward(ids, positions, packing), device)
    alone = _seconds(reference, device)
    return {
        "hardware": hardware(device),
        "shape": asdict(shape),
        "ours_seconds_per_problem_step": ours / n,
        "reference_seconds_per_problem_step": alone,
        "head_and_statistics_share": (ours - backbone) / ours,
        "speed_up": alone * n / ours,
    }


def _seconds(call: Any, device: torch.device) -> float:
    call()
    wait(device)
    began = time.perf_counter()
    for _ in range(STEPS):
        call()
    wait(device)
    return (time.perf_counter() - began) / STEPS


def main() -> None:
    """Measure at LLaDA-8B's shape, where there is a GPU that holds it."""
    if not torch.cuda.is_available():
        sys.exit("decoding at LLaDA-8B's shape needs a GPU of 40 GB or more; none is here")
    report = decoding_report(Shape(), torch.device("cuda"), torch.bfloat16)
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
