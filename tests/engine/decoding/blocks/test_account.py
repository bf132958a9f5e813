"""How much goes through the network: the closed form, what was counted, and what torch counts."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from typing import Any

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffengine.engine.decoding.block_layout import BlockLayout
from diffengine.engine.decoding.phases import Phases
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.family import Blocks
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.kernels.matrix_product import safe_rows

from ...models.test_flops import angle_flops
from .test_exact import KINDS, rule_of, settings_of
from .twin import Twin
from .watched import config_of, of_blocks, prompt_of, watched

PROMPT, GENERATED = 100, 256
FULL_CANVAS = (PROMPT + GENERATED) * GENERATED
FROM_END = Blocks(length=32, from_prompt_end=True)
FROM_START = Blocks(length=32)


def test_what_was_foreseen_for_a_prompt_of_100_tokens_and_256_generated_ones() -> None:
    """One token a step. The published loops feed every finished block once more, apart; here that
    pass is the next block's first, and the last block needs none."""
    assert FULL_CANVAS == 91_136
    layout = BlockLayout(FROM_END, 32, GENERATED)
    steps = [32] * 8
    assert layout.passed_tokens(PROMPT, steps, keeps=False) == 62_464
    published = GENERATED * 32 + PROMPT + GENERATED  # passes of blocks, prompt, finished blocks
    assert layout.passed_tokens(PROMPT, steps, keeps=True) == published - 32 == 8_516

    # Counted from the prompt's first token, the first block has 4 tokens of it and the last one 4
    # generated ones, behind which it is decoded on to its end, or not.
    layout = BlockLayout(FROM_START, 32, GENERATED)
    until_256 = [28, *[32] * 7, 4]
    published = GENERATED * 32 + 96 + 9 * 32
    assert published == 8_576
    assert layout.passed_tokens(PROMPT, until_256, keeps=True) == published - 32 == 8_544
    whole = [28, *[32] * 8]
    assert layout.passed_tokens(PROMPT, whole, keeps=True) == 8_544 + 28 * 32


@pytest.mark.parametrize("length, times", [(4, 66), (8, 38), (16, 20), (32, 10.7), (64, 5.4)])
def test_how_many_times_fewer_than_the_full_canvas(length: int, times: float) -> None:
    """What was foreseen is of the published loops; the merged passes are one block fewer."""
    layout = BlockLayout(dataclasses.replace(FROM_END, length=length), length, GENERATED)
    merged = layout.passed_tokens(PROMPT, [length] * (GENERATED // length), keeps=True)
    assert FULL_CANVAS / (merged + length) == pytest.approx(times, rel=0.03)
    assert FULL_CANVAS / merged > FULL_CANVAS / (merged + length)


def test_passes_written_out() -> None:
    """The closed form against a row that is walked token by token."""
    for kind, length, prompt, keeps in itertools.product(
        sorted(KINDS), (1, 4, 7), (1, 6, 9), (0, 1)
    ):
        layout = BlockLayout(KINDS[kind][0], length, 10)
        tail = layout.tail(prompt)
        steps = [1 + block % 3 for block in range(layout.blocks_of(tail))]
        kept, passed = 0, 0
        for block, count in enumerate(steps):
            end = min(prompt - tail + (block + 1) * length, layout.tokens(prompt))
            for _ in range(count):
                passed += end - kept
                kept = prompt - tail + block * length if keeps else 0
        assert layout.passed_tokens(prompt, steps, keeps=bool(keeps)) == passed


@pytest.mark.parametrize("in_all, expected", [(100, [4, 4, 4, 4]), (9, [4, 4, 1, 0]), (4, [4, 0, 0, 0])])  # fmt: skip
def test_the_most_steps_of_each_block(in_all: int, expected: list[int]) -> None:
    layout = BlockLayout(Blocks(length=4), 4, 13)
    assert layout.most_steps(3, in_block=4, in_all=in_all) == expected
    assert layout.most_steps(4, in_block=4, in_all=in_all) == expected
    assert len(layout.most_steps(2, in_block=4, in_all=in_all)) == 4


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_count_is_the_closed_form(sdar: MaskedDiffusionModel, kind: str, keeps: bool) -> None:
    """Of one row at a time, padding apart; and no row makes more steps than are foreseen."""
    blocks, read_offset = KINDS[kind]
    model = of_blocks(sdar, blocks, read_offset=read_offset)
    config = config_of(4, 14, **settings_of(4, read_offset) | {"denoising_steps": 3})
    for length in (1, 6, 12):
        prompt = prompt_of(length)
        found = watched(model, config, [prompt], keeps=keeps)
        steps = Counter(seen.block for seen in found.steps[prompt.problem.id])
        layout = found.decoder.canvas.layout  # type: ignore[attr-defined]
        made = [steps[block] for block in sorted(steps)]
        assert found.phases.forwards == sum(made) == found.columns[prompt.problem.id]["n_forwards"]
        padded = passed = 0
        for block, count in enumerate(made):
            until = layout.passed_tokens(length, made[:block], keeps=keeps)
            first = layout.passed_tokens(length, [*made[:block], 1], keeps=keeps) - until
            whole = layout.passed_tokens(length, made[: block + 1], keeps=keeps) - until
            rest = (whole - first) // max(count - 1, 1)
            padded += max(first, safe_rows()) + (count - 1) * max(rest, safe_rows())
            passed += whole
        assert found.phases.tokens == found.phases.as_dict(gemm_rate=1.0)["packed_tokens"] == padded
        assert passed == layout.passed_tokens(length, made, keeps=keeps)
        most = layout.most_steps(
            length, in_block=config.sampler.most_steps_in_block, in_all=config.steps
        )
        assert len(most) == len(made) and all(a <= b for a, b in zip(made, most, strict=True))
        assert sum(most) <= config.steps


def test_a_batch_is_the_sum_of_its_rows_and_the_twins_count_without_a_cache(
    sdar: MaskedDiffusionModel,
) -> None:
    config = config_of(4, 14)
    prompts = [prompt_of(n, number=k) for k, n in enumerate(range(40, 70))]
    rule = rule_of(sdar, config)
    for keeps in (True, False):
        found = watched(sdar, config, prompts, keeps=keeps)
        layout = found.decoder.canvas.layout  # type: ignore[attr-defined]
        twin, expected = Twin(sdar.network), 0
        for prompt in prompts:
            steps = Counter(seen.block for seen in found.steps[prompt.problem.id])
            made = [steps[block] for block in sorted(steps)]
            expected += layout.passed_tokens(len(prompt.token_ids), made, keeps=keeps)
        # Rows leave one by one, so that the last passes are padded.
        assert expected <= found.phases.tokens <= expected + 4 * safe_rows()
    for prompt in prompts:
        twin.decode(prompt.token_ids, rule)
    assert twin.tokens == expected


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("changes", [{}, {"record": "masked"}], ids=str)
def test_the_flops_are_torchs(
    sdar: MaskedDiffusionModel, changes: dict[str, Any], keeps: bool
) -> None:
    """Step by step: prompts, open blocks alone, a block once more beside the next one."""
    config = config_of(8, 20, **changes)
    prompts = [prompt_of(n, number=k) for k, n in enumerate(range(17, 41))]
    ours = Phases(sdar.device)
    decoder = Setup(sdar, config, keeps=keeps).decoder(prompts, budget=1 << 20, phases=ours)
    assert decoder.canvas.fill(iter(prompts))
    compared = 0
    while len(decoder.canvas.rows) == len(prompts):
        before, tokens = ours.flops, decoder.canvas.passed_tokens
        read = sum(row.n_masked or 0 for row in decoder.canvas.rows) if changes else tokens
        assert tokens > safe_rows()
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as theirs:
            decoder.step()
        if read >= safe_rows():  # torch counts what the head is padded with
            assert ours.flops - before == theirs.get_total_flops() - angle_flops(theirs)
            compared += 1
    assert compared >= (10 if changes else 17)
