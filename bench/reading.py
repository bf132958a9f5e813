"""What it saves to leave out what nobody reads: the stock class's whole pass against the one that
decoding makes, for the decoders of each family, in turns.

    OMP_NUM_THREADS=1 python -m diffengine.bench.reading

One JSON line a family: medians in ms, their ratio, the ratio of their FLOPs, and the largest
difference between states that are read (of size 1). Random weights of a small width; prompts as
long as GSM8K's.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..engine.models.attention import NAME, packed_attention, packing_of
from ..engine.models.forward import Forward
from ..engine.models.reading import ReadingForward
from ..engine.models.reads import reads_of
from .measure import hardware, wait

ROUNDS = 9

SIZES: dict[str, Any] = {
    "vocab_size": 560,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "head_dim": 32,
}


@dataclass(frozen=True)
class Decoder:
    """A stock class with a config of it, and where its family reads predictions."""

    family: str
    stock_class: str
    read_offset: int
    more: Mapping[str, Any]


DECODERS = (
    Decoder("LLaDA", "LlamaForCausalLM", 0, {"num_key_value_heads": 8}),
    Decoder("Dream", "Qwen2ForCausalLM", -1, {"num_key_value_heads": 2}),
    Decoder("A2D", "Qwen3ForCausalLM", 0, {"num_key_value_heads": 4}),
    Decoder(
        "RND1",
        "Qwen3MoeForCausalLM",
        -1,
        {
            "num_key_value_heads": 2,
            "moe_intermediate_size": 192,
            "num_experts": 16,
            "num_experts_per_tok": 4,
        },
    ),
)


@dataclass(frozen=True)
class Batch:
    """Rows of these prompts, each with as many generated tokens."""

    prompts: tuple[int, ...] = (112, 131, 148, 159, 171, 190, 214)
    generated: int = 48


def random_network(decoder: Decoder, device: torch.device) -> Any:
    """The stock class, bidirectional and packed, with random weights."""
    import transformers

    transformers.AttentionInterface.register(NAME, packed_attention)
    cls = getattr(transformers, decoder.stock_class)
    config = cls.config_class(
        **SIZES, **decoder.more, is_causal=False, use_cache=False, attn_implementation=NAME
    )
    torch.manual_seed(0)
    return cls(config).eval().requires_grad_(False).to(device)


@torch.inference_mode()
def savings(decoder: Decoder, batch: Batch, device: torch.device) -> dict[str, Any]:
    """Both passes over one batch whose generated tokens change from pass to pass."""
    network = random_network(decoder, device)
    lengths = [prompt + batch.generated for prompt in batch.prompts]
    packing = packing_of(lengths, device)
    reads = reads_of(
        lengths,
        packing,
        rows=len(lengths),
        each=batch.generated,
        offset=decoder.read_offset,
    )
    positions = torch.cat([torch.arange(length) for length in lengths]).to(device)
    ids = torch.randint(SIZES["vocab_size"], (sum(lengths),), device=device)
    passes = {"whole": Forward(network), "read": ReadingForward(network)}

    def timed(name: str) -> torch.Tensor:
        return _timed(
            lambda: passes[name].hidden_read(ids, positions, packing, reads), times[name], device
        )

    times: dict[str, list[float]] = {name: [] for name in passes}
    difference = 0.0
    for _ in range(2 + ROUNDS):
        ids[reads.written] = torch.randint_like(ids[reads.written], SIZES["vocab_size"])
        apart = timed("whole") - timed("read")
        difference = max(difference, float(apart.abs().max()))

    whole = statistics.median(times["whole"][2:])
    read = statistics.median(times["read"][2:])
    return {
        "family": decoder.family,
        "stock_class": decoder.stock_class,
        "whole_ms": round(whole, 2),
        "read_ms": round(read, 2),
        "faster": round(whole / read, 3),
        "flops": round(passes["whole"].flops(reads) / passes["read"].flops(reads), 3),
        "largest_difference": difference,
    }


def _timed(
    call: Callable[[], torch.Tensor], times: list[float], device: torch.device
) -> torch.Tensor:
    """What the call gives; how long it took goes to `times`, in ms."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    wait(device)
    began = clock()
    states = call()
    wait(device)
    times.append(1e3 * (clock() - began))
    return states


def main() -> None:
    """Measure each family's decoder on the GPU, if there is one, else on the CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sys.stdout.write(json.dumps({"hardware": hardware(device)}) + "\n")
    for decoder in DECODERS:
        sys.stdout.write(json.dumps(savings(decoder, Batch(), device)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
