"""A pass that leaves out what nobody reads against the stock class's plain forward: the same
values, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from diffengine.engine.decoding.canvas import Canvas, Room, RowFormat, Schedule
from diffengine.engine.models.attention import NAME, packed_attention, packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.models.reading import LAYERS, ReadingForward, forward_of, is_known
from diffengine.engine.models.reads import TILE, Reads, reads_of

COMMON = {
    "vocab_size": 80,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "is_causal": False,
    "use_cache": False,
    "attn_implementation": NAME,
}
MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "LlamaDecoderLayer": ("Llama", {}),
    "Qwen2DecoderLayer": ("Qwen2", {}),
    "Qwen3DecoderLayer": ("Qwen3", {"head_dim": 16}),
    "Qwen3MoeDecoderLayer": ("Qwen3Moe", {"head_dim": 16, **MIXTURE}),
}
CPU = torch.device("cpu")
LENGTHS = [12, 40, 40, 65, 67, 97, 129, 193, 194, 195, 225]
"""Groups of one row and of two; rows that leave one, two or three queries in the last tile of 32 or
64, and such that do not."""


def network_of(kind: str, **changes: Any) -> Any:
    """A stock network of random weights with packed attention."""
    transformers.AttentionInterface.register(NAME, packed_attention)
    config = getattr(transformers, f"{kind}Config")(**COMMON | changes)
    torch.manual_seed(3)
    network = getattr(transformers, f"{kind}ForCausalLM")(config).eval().requires_grad_(False)
    for name, weights in network.named_parameters():
        if "norm" in name or name.endswith("bias"):
            weights.add_(0.3 * torch.randn_like(weights))
        else:
            weights.mul_(4)
    return network


def stock(network: Any, ids: torch.Tensor, positions: torch.Tensor, packing: Any) -> torch.Tensor:
    with torch.inference_mode():
        out = network.model(
            ids[None], position_ids=positions[None], packing=packing, use_cache=False
        )
    return out.last_hidden_state[0]


def passes(
    network: Any, lengths: list[int], *, rows: int, each: int, offset: int = 0
) -> tuple[list[torch.Tensor], Reads]:
    """Differences [R, D] of the states that are read from the stock ones over three passes; written
    tokens change."""
    ids, positions = (
        torch.randint(0, 80, (sum(lengths),)),
        torch.cat([torch.arange(n) for n in lengths]),
    )
    packing = packing_of(lengths, ids.device)
    reads = reads_of(lengths, packing, rows=rows, each=each, offset=offset)
    forward = ReadingForward(network)
    apart = []
    for _ in range(3):
        ids[reads.written] = torch.randint(0, 80, (len(reads.written),))
        whole = stock(network, ids, positions, packing)
        apart.append(forward.hidden_read(ids, positions, packing, reads) - whole[reads.read])
    return apart, reads


def test_every_known_layer_is_tried() -> None:
    assert set(NETWORKS) == LAYERS


@pytest.mark.parametrize("offset", [0, -1])
@pytest.mark.parametrize("each", [1, 2, 3, 4, 12, 33, 35])
@pytest.mark.parametrize("name", NETWORKS)
def test_states_are_the_stock_ones_bit_for_bit(name: str, each: int, offset: int) -> None:
    kind, changes = NETWORKS[name]
    network = network_of(kind, **changes)
    assert is_known(network)
    lengths = [max(n, each - offset) for n in LENGTHS]
    for rows in (len(lengths), len(lengths) - 2):  # the last two are padding that nobody reads
        apart, reads = passes(network, lengths, rows=rows, each=each, offset=offset)
        assert len(reads.asked) < sum(lengths)
        for difference in apart:
            if (
                "num_experts" in changes
            ):  # an expert's product has as many rows as chose it: few, and others each time
                assert difference.abs().max() < 1e-5
            else:
                assert not difference.any()


@pytest.mark.parametrize("layers", [1, 2])
def test_one_layer_may_be_both_first_and_last(layers: int) -> None:
    apart, _ = passes(
        network_of("Llama", num_hidden_layers=layers), LENGTHS, rows=len(LENGTHS), each=12
    )
    assert not any(difference.any() for difference in apart)


def test_bfloat16_is_rounded_where_the_stock_class_rounds() -> None:
    network = network_of("Qwen3", head_dim=16).to(torch.bfloat16)
    apart, _ = passes(network, LENGTHS, rows=len(LENGTHS), each=12)
    assert not any(difference.any() for difference in apart)


def test_another_activation_is_the_stock_one() -> None:
    apart, _ = passes(network_of("Llama", hidden_act="gelu"), LENGTHS, rows=len(LENGTHS), each=12)
    assert not any(difference.any() for difference in apart)


def test_what_is_left_out() -> None:
    packing = packing_of([40, 65, 200, 50], CPU)
    reads = reads_of([40, 65, 200, 50], packing, rows=3, each=12)
    assert reads.counts == [
        12,
        65,
        12,
    ]  # 65 queries leave one in the last tile: that row is asked whole
    assert 65 % TILE == 1
    assert reads.packing.keys.groups == ((0, 1, 40), (40, 1, 65), (105, 1, 200))
    assert reads.packing.queries.groups == ((0, 1, 12), (12, 1, 65), (77, 1, 12))
    assert reads.packing.queries.offsets.tolist() == [0, 12, 77, 89, 89]
    assert torch.equal(reads.asked[reads.among], reads.read)
    assert reads.read.tolist() == [*range(28, 40), *range(93, 105), *range(293, 305)]
    assert torch.equal(reads.written, reads.read)
    few = reads_of([40, 50], packing_of([40, 50], CPU), rows=1, each=12)
    assert few.counts == [
        40
    ]  # too few rows for a matrix product whose last bits do not depend on their number
    assert len(few.asked) == 90


def test_what_is_read_one_position_before_it_is_written() -> None:
    packing = packing_of([40, 65, 200, 50], CPU)
    reads = reads_of([40, 65, 200, 50], packing, rows=3, each=12, offset=-1)
    assert reads.counts == [13, 65, 13]
    assert reads.written.tolist() == [*range(28, 40), *range(93, 105), *range(293, 305)]
    assert reads.read.tolist() == [*range(27, 39), *range(92, 104), *range(292, 304)]
    assert torch.equal(reads.asked[reads.among], reads.read)
    with pytest.raises(ValueError, match="expected a prompt of at least 1 token"):
        reads_of([40, 12], packing_of([40, 12], CPU), rows=2, each=12, offset=-1)


def test_prompts_are_projected_once_and_generated_tokens_each_time(
    bundled_model: MaskedDiffusionModel,
) -> None:
    network, seen = bundled_model.network, []
    project = network.model.layers[0].self_attn.k_proj
    hook = project.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    try:
        _, reads = passes(network, LENGTHS, rows=len(LENGTHS), each=12)
    finally:
        hook.remove()
    assert [n for n in seen if n > 1] == [sum(LENGTHS), len(reads.read), len(reads.read)]


def test_an_unknown_layer_runs_as_it_is(
    bundled_model: MaskedDiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, positions = torch.randint(10, 500, (100,)), torch.arange(100)
    packing = packing_of([100], ids.device)
    reads = reads_of([100], packing, rows=1, each=70)
    known = bundled_model.hidden_read(ids, positions, packing, reads)
    fewer = bundled_model.flops_read(reads)
    monkeypatch.setattr("diffengine.engine.models.reading.LAYERS", frozenset())
    plain = replace(bundled_model, forward=forward_of(bundled_model.network))
    assert torch.equal(plain.hidden_read(ids, positions, packing, reads), known)
    assert plain.flops_read(reads) > fewer


def test_another_network_meets_nothing_of_the_first() -> None:
    ids, positions, packing = (
        torch.arange(70),
        torch.arange(70),
        packing_of([70], torch.device("cpu")),
    )
    reads = reads_of([70], packing, rows=1, each=66)
    for network in (network_of("Llama"), network_of("Qwen2")):
        assert torch.equal(
            ReadingForward(network).hidden_read(ids, positions, packing, reads),
            stock(network, ids, positions, packing)[4:],
        )


def test_rows_that_enter_and_leave_bring_no_old_projections(
    bundled_model: MaskedDiffusionModel, prompts_of: Any
) -> None:
    prompts = prompts_of(bundled_model, 16)
    canvas = Canvas(
        RowFormat(gen_length=16, mask_id=5),
        Schedule(performed=[True] * 3),
        Room(rows=3, tokens=200),
        device=bundled_model.device,
    )
    waiting, steps = iter(prompts), 0
    while canvas.fill(waiting):
        packed = canvas.pack()
        states = bundled_model.hidden_read(
            packed.token_ids, packed.positions, packed.packing, packed.reads
        )
        whole = bundled_model.hidden(packed.token_ids, packed.positions, packed.packing)
        assert torch.equal(states, whole[packed.read_at])
        canvas.apply(_random_update(canvas))
        steps += 1
    assert steps > 3


def _random_update(canvas: Canvas) -> Any:
    from diffengine.engine.decoding.policy import Update

    token = torch.randint(10, 500, canvas.generated.shape)
    return Update(token, torch.rand(canvas.generated.shape) < 0.3)
