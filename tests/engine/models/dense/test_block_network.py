"""Dense families that attend block by block: what decoding reads is one dense forward of the stock
class under a mask that is written out, with a cache and without; and the decoder by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.block_canvas import BlockCanvas
from diffengine.engine.decoding.canvas import Room
from diffengine.engine.decoding.make_canvas import make_canvas
from diffengine.engine.decoding.policy import Update
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.policies import make_policy
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt

sys.path.append(str(Path(__file__).parent))
from by_hand import Decoder, weights_of
from dense_configs import BY_BLOCKS

FAMILIES = list(BY_BLOCKS)
FROM_PROMPT_END = [family for family in FAMILIES if family.endswith("bd3lm")]
SHIFTED = ["Fast-dLLM v2"]
LENGTHS = [1, 4, 9, 14, 23]
GEN_LENGTH = 11
BLOCK = 4
STOCK = {"Fast-dLLM v2": "Qwen2", "A2D-Qwen2 bd3lm": "Qwen2", "A2D-Llama bd3lm": "Llama"}


class Row:
    """One problem as the rule has it, without any of our arithmetic: all its tokens, and which of
    them see which."""

    def __init__(self, family: str, prompt: Prompt, mask: int) -> None:
        self.start = len(prompt.token_ids)
        self.end = self.start + GEN_LENGTH
        block = [self.block_of(family, place) for place in range(self.end + BLOCK)]
        whole = len([b for b in block if b <= block[self.end - 1]])
        length = self.end if family in FROM_PROMPT_END else whole
        self.block = block[:length]
        self.tokens = [*prompt.token_ids, *[mask] * (length - self.start)]
        self.mask = mask

    def block_of(self, family: str, place: int) -> int:
        """Counted from the prompt's end, or from its first token."""
        return (place - self.start if family in FROM_PROMPT_END else place) // BLOCK

    @property
    def allowed(self) -> Tensor:
        """Which tokens [L, L] see which: those of their block and of blocks before."""
        rows = [[seen <= own for seen in self.block] for own in self.block]
        return torch.tensor(rows)

    @property
    def open(self) -> list[int]:
        """The places of the first block with a mask."""
        first = self.tokens.index(self.mask)
        return [place for place, b in enumerate(self.block) if b == self.block[first]]

    @property
    def over(self) -> bool:
        return self.mask not in self.tokens


def stock_network(family: str, directory: Path) -> Any:
    """The stock class as transformers makes it of the published config and tensors, in float64."""
    content = json.loads((directory / "config.json").read_text())
    for key in ("architectures", "auto_map", "dtype", "torch_dtype", "model_type"):
        content.pop(key, None)
    content.pop("attn_implementation", None)
    name = STOCK.get(family, "Qwen3")
    config = getattr(transformers, f"{name}Config").from_dict(
        content | {"use_cache": False}, attn_implementation="sdpa"
    )
    network = getattr(transformers, f"{name}ForCausalLM")(config).eval().requires_grad_(False)
    missing, unexpected = network.load_state_dict(weights_of(directory), strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected
    return network.double()


def dense_states(network: Any, row: Row) -> Tensor:
    """Final states [L, D] of the whole sequence, its masks to come included, in one forward."""
    seen = torch.zeros(len(row.block), len(row.block), dtype=torch.float64)
    seen = seen.masked_fill(~row.allowed, -torch.inf)[None, None]
    ids = torch.tensor([row.tokens])
    states: Tensor = network.model(input_ids=ids, attention_mask=seen).last_hidden_state[0]
    return states


def prompts(lengths: list[int] = LENGTHS) -> list[Prompt]:
    generator = torch.Generator().manual_seed(3)
    made = []
    for number, length in enumerate(lengths):
        ids = torch.randint(6, 290, (length,), generator=generator).tolist()
        problem = Problem(id=f"p{number}", question="?", answer="1")
        made.append(Prompt(problem, number, number, tuple(ids), (21,)))
    return made


def commits(canvas: BlockCanvas, generator: torch.Generator) -> Update:
    """Random tokens at about half of each open block's masks, and at its first."""
    masked = canvas.generated == canvas.mask_id
    chosen = torch.rand(masked.shape, generator=generator) < 0.4
    chosen |= masked.cumsum(-1) == 1
    token = torch.randint(6, 290, masked.shape, generator=generator)
    return Update(token, chosen & masked)


def passes(
    model: MaskedDiffusionModel, rows: dict[str, Row], entering: list[Prompt], *, keeps: bool
) -> Iterator[tuple[str, list[int], Tensor]]:
    """A whole decoding of random commits, in which rows enter as others leave: at every pass, of
    each problem, the places whose predictions are read, and the states there."""
    config = RunConfig.of(
        model="test", policy="sdar", gen_length=GEN_LENGTH, block_length=BLOCK, denoising_steps=4
    )
    policy = make_policy("sdar", config.sampler, model.token_ids, n_candidates=model.n_candidates)
    canvas = make_canvas(model, config, policy, Room(rows=3, tokens=90), keeps=keeps)
    assert isinstance(canvas, BlockCanvas)
    generator = torch.Generator().manual_seed(8)
    waiting = iter(entering)
    while canvas.fill(waiting):
        packed = canvas.pack()
        states = model.hidden_read(
            packed.token_ids, packed.positions, packed.packing, packed.reads
        ).unflatten(0, (-1, BLOCK))
        unread = set(canvas.unread())
        update = commits(canvas, generator)
        for number, line in enumerate(canvas.rows):
            row = rows[line.prompt.problem.id]
            read = [p for p in range(BLOCK) if number * BLOCK + p not in unread]
            places = row.open
            yield line.prompt.problem.id, [places[p] for p in read], states[number, read]
            for place, commit, token in zip(
                places, update.commit[number], update.token[number], strict=False
            ):
                if commit:
                    row.tokens[place] = int(token)
        canvas.apply(update)


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_every_pass_is_one_dense_forward_under_the_mask(
    dense: Callable[..., Path], family: str, keeps: bool
) -> None:
    path = dense(family)
    model = load_model(path, device="cpu")
    model.network.double()
    stock = stock_network(family, path)
    rows = {p.problem.id: Row(family, p, model.token_ids.mask) for p in prompts()}
    seen = 0
    for problem, places, states in passes(model, rows, prompts(), keeps=keeps):
        expected = dense_states(stock, rows[problem])
        at = [max(place + model.read_offset, 0) for place in places]
        torch.testing.assert_close(states, expected[at], atol=1e-12, rtol=1e-12)
        seen += len(places)
    assert all(row.over for row in rows.values()) and seen > 100


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_the_stock_class_under_the_mask_is_the_published_network(
    dense: Callable[..., Path], family: str
) -> None:
    """The decoder by hand, whose rotations are in float64; transformers' are in float32."""
    path = dense(family)
    stock = stock_network(family, path)
    by_hand = Decoder(path)
    for prompt in prompts():
        row = Row(family, prompt, 5)
        expected = by_hand.logits(torch.tensor(row.tokens), row.allowed)
        logits = stock.lm_head(dense_states(stock, row))
        torch.testing.assert_close(logits, expected, atol=3e-5, rtol=3e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_and_shift_are_the_published_ones(
    dense: Callable[..., Path], family: str
) -> None:
    model = load_model(dense(family), device="cpu", weights=False)
    blocks = model.family.blocks
    assert blocks is not None and model.family.attention == "blocks"
    assert model.read_offset == (-1 if family in SHIFTED else 0)
    assert blocks.from_prompt_end == (family in FROM_PROMPT_END)
    assert blocks.whole_last != blocks.from_prompt_end
    assert not blocks.causal_context


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_in_bfloat16_a_first_pass_is_the_stock_class_bit_by_bit(
    dense: Callable[..., Path], family: str
) -> None:
    """The published networks rotate in their own dtype, as the stock class does, by frequencies
    that stay in float32."""
    path = dense(family)
    model = load_model(path, device="cpu", dtype="bfloat16")
    assert {weights.dtype for weights in model.network.parameters()} == {torch.bfloat16}
    stock = stock_network(family, path)
    inverse = stock.model.rotary_emb.inv_freq.float()
    assert torch.equal(model.network.model.rotary_emb.inv_freq, inverse)
    stock = stock.to(torch.bfloat16)
    stock.model.rotary_emb.inv_freq = inverse

    prompt = prompts([70])[0]
    row = Row(family, prompt, model.token_ids.mask)
    _, places, states = next(passes(model, {prompt.problem.id: row}, [prompt], keeps=True))
    length = places[-1] + 1
    ids = torch.tensor([row.tokens[:length]])
    expected = stock.model(input_ids=ids, attention_mask=row.allowed[None, None, :length, :length])
    at = [place + model.read_offset for place in places]
    assert torch.equal(states, expected.last_hidden_state[0, at])
