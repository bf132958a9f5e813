"""LLaDA2's sampler against the published loop written out slowly: commits, edits and the end of each
block, in whole decodings of a small model; and what a policy that edits asks of a run."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from diffengine.engine.cli.command_line import group
from diffengine.engine.config import ConfigError
from diffengine.engine.decoding.policy import EVERY_STEP
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies.llada2_options import LLaDA2Options
from diffengine.engine.store import open_run

from ...decoding.blocks.conftest import write_sdar
from .block_steps import MASK, Open, canvas_of, decide, policy_of
from .block_twin import Seen, llada2, llada2_commits, llada2_edits
from .rows import assert_every_step_is_the_twins, config_of, decoded, prompt_of

PROBABILITIES = (0.0, 0.2, 0.5, 0.5, 0.9, 0.95, 1.0)

SCHEDULES: list[dict[str, Any]] = [
    {},
    {"steps_per_block": 3},
    {"minimal_topk": 4},
    {"num_to_transfer": 1},
    {"num_to_transfer": 3},
]


def laid_out(draw: random.Random, length: int) -> list[Open]:
    """Blocks with tails of every length and any number of masks, none included."""
    blocks = []
    for tail in range(length):
        for share in (0.0, 0.0, 0.4, 1.0):
            tokens = [draw.randrange(4) for _ in range(length)]
            for place in range(tail, length):
                if draw.random() < share:
                    tokens[place] = MASK
            steps = draw.randrange(length)
            blocks.append(Open(tokens, tail, steps, full_steps=draw.randrange(steps + 1)))
    return blocks


@pytest.mark.parametrize("length", [4, 8])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_every_step_writes_what_the_published_one_does(
    schedule: dict[str, Any], length: int
) -> None:
    draw = random.Random(f"{schedule} {length}")
    n_edits = n_commits = 0
    for threshold, editing in itertools.product((0.0, 0.5, 0.95, 1.0), (None, 0.0, 0.5, 0.9, 1.0)):
        policy: Any = policy_of(
            "llada2",
            block_length=length,
            threshold=threshold,
            editing_threshold=editing,
            **schedule,
        )
        blocks = laid_out(draw, length)
        canvas = canvas_of(blocks)
        shape = canvas.generated.shape
        token = torch.tensor([draw.randrange(4) for _ in range(shape.numel())]).view(shape)
        p = torch.tensor(draw.choices(PROBABILITIES, k=shape.numel())).view(shape)
        update = decide(policy, canvas, token, p, torch.zeros(shape))
        assert (update.revised is None) == (editing is None) == (update.closed is None)
        for row, block in enumerate(blocks):
            pairs = zip(token[row].tolist(), p[row].tolist(), strict=True)
            seen = [Seen(t, sure, 0.0) for t, sure in pairs]
            options = policy.options
            commits = llada2_commits(block.tokens, seen, block.steps, options, MASK)
            assert set(update.commit[row].nonzero().flatten().tolist()) == commits
            n_commits += len(commits)
            if update.revised is not None:
                edits = llada2_edits(block.tokens, seen, block.tail, options, MASK)
                assert set(update.revised[row].nonzero().flatten().tolist()) == edits
                n_edits += len(edits)
    assert n_edits > 100 and n_commits > 100


PLAIN: list[dict[str, Any]] = [
    {"block_length": 4, "threshold": 0.3},
    {"block_length": 8, "threshold": 0.95, "steps_per_block": 3},
    {"block_length": 8, "threshold": 0.3, "num_to_transfer": 2, "temperature": 1.0, "top_k": 9},
]
EDITING: list[dict[str, Any]] = [
    {"block_length": 4, "threshold": 0.3, "editing_threshold": 0.3, "max_post_steps": 5},
    {"block_length": 4, "threshold": 0.2, "editing_threshold": 0.0, "max_post_steps": 0},
    {"block_length": 4, "threshold": 0.2, "editing_threshold": 0.0, "max_post_steps": 1},
    {"block_length": 4, "threshold": 0.9, "editing_threshold": 0.9, "max_post_steps": 16},
    {"block_length": 8, "threshold": 0.3, "editing_threshold": 0.25, "num_to_transfer": 1},
    {"block_length": 8, "threshold": 0.3, "editing_threshold": 0.2, "temperature": 0.8, "seed": 4,
     "max_post_steps": 3},
]  # fmt: skip


@pytest.mark.parametrize("settings", [*PLAIN, *EDITING], ids=str)
def test_every_step_of_a_decoding_is_the_twins(
    tiny: MaskedDiffusionModel, settings: dict[str, Any]
) -> None:
    """Tokens, commits and revised positions, and the number of passes of each block."""
    config = config_of("llada2", gen_length=9, **settings)
    length = settings["block_length"]
    lengths = (2, length + 1) if "temperature" in settings else range(1, length + 2)
    rows = assert_every_step_is_the_twins(tiny, config, [prompt_of(n) for n in lengths], llada2)
    n_revised = sum(len(step.revised) for steps in rows for step in steps)
    assert n_revised > 0 or settings.get("editing_threshold") in (None, 0.9)


def test_an_editing_threshold_that_nothing_passes_costs_one_pass_a_block(
    tiny: MaskedDiffusionModel,
) -> None:
    """The one that finds nothing to edit; the text is that without editing."""
    prompts = [prompt_of(n) for n in (1, 4, 6)]
    settings = {"block_length": 4, "gen_length": 8, "threshold": 0.3}
    plain = decoded(tiny, config_of("llada2", **settings), prompts)
    never = decoded(tiny, config_of("llada2", editing_threshold=1.0, **settings), prompts)
    for prompt in prompts:
        without, with_it = plain[prompt.problem.id], never[prompt.problem.id]
        assert without["token"][-1].tolist() == with_it["token"][-1].tolist()
        n_blocks = -(-(8 + len(prompt.token_ids) % 4) // 4)
        assert int(with_it["n_forwards"]) == int(without["n_forwards"]) + n_blocks
        assert not with_it["revised"].any() and "revised" not in without


@pytest.mark.parametrize("record", ["all", "masked"])
def test_a_row_does_not_depend_on_its_mates(tiny: MaskedDiffusionModel, record: str) -> None:
    """Alone, with others, in a place that somebody left in the middle of editing; and with
    statistics recorded of masked positions alone."""
    settings = {"editing_threshold": 0.2, "max_post_steps": 3, "threshold": 0.3}
    config = config_of("llada2", block_length=4, gen_length=9, record=record, **settings)
    prompts = [prompt_of(n) for n in (1, 2, 3, 7, 9, 10)]
    together = decoded(tiny, config, prompts)
    narrow = decoded(tiny, config, prompts[::-1], budget=40)
    whole = config_of("llada2", block_length=4, gen_length=9, **settings)
    steps = set()
    for prompt in prompts:
        name = prompt.problem.id
        alone = decoded(tiny, whole, [prompt])[name]
        steps.add(int(alone["n_forwards"]))
        for other in (together[name], narrow[name]):
            for column in ("token", "committed", "revised"):
                np.testing.assert_array_equal(other[column], alone[column])
    assert len(steps) > 2, "rows end at steps of their own"


SHAPES = sorted(itertools.product((4, 8), (1, 3, 4), (None, 0.0), (0, 1, 4)), key=str)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_every_block_ends_within_the_steps_that_it_can_use(threshold: float) -> None:
    """Proposals that change in every step, so that editing never settles: the bound holds, and where
    nothing is sure it is reached."""
    for length, count, editing, limit in SHAPES:
        policy: Any = policy_of(
            "llada2",
            block_length=length,
            num_to_transfer=count,
            threshold=threshold,
            editing_threshold=editing,
            max_post_steps=limit,
        )
        for tail in range(length):
            canvas = canvas_of([Open([1] * tail + [MASK] * (length - tail), tail)])
            row, steps = canvas.rows[0], 0
            while row.block == 0:
                token = torch.full((1, length), 2 + steps % 2)
                p = torch.full((1, length), 0.5)
                update = decide(policy, canvas, token, p, torch.zeros(1, length))
                canvas.apply(update)
                steps += 1
                assert steps < 100
            most = policy.options.most_steps_in_block
            masks = -(-(length - tail) // count) if threshold == 1 else 1
            assert steps == masks + (limit if editing is not None else 0) <= most
            assert steps == most or tail or threshold == 0


def test_a_run_has_as_many_steps_as_its_blocks_can_use() -> None:
    given = {"gen_length": 64, "block_length": 32}
    assert LLaDA2Options.resolved(given, {}).steps == 3 * 32
    edited = LLaDA2Options.resolved(given | {"editing_threshold": 0.5}, {})
    assert edited.steps == 3 * (32 + 16)
    assert edited.revises and not LLaDA2Options.resolved(given, {}).revises


def test_the_published_defaults() -> None:
    options = LLaDA2Options()
    assert (options.threshold, options.eos_early_stop, options.minimal_topk) == (0.95, False, 1)
    assert (options.block_length, options.split_among) == (32, 32)
    assert (options.temperature, options.top_k, options.top_p) == (0.0, 0, 1.0)
    short = LLaDA2Options.resolved({"gen_length": 16}, {})
    assert short.split_among == 16, "steps = min(32, gen_length / minimal_topk) of the block's 32"


def test_what_editing_asks_of_a_run() -> None:
    edits = policy_of("llada2", block_length=4, editing_threshold=0.5)
    assert edits.reads_committed and edits.looks_back == EVERY_STEP
    plain = policy_of("llada2", block_length=4)
    assert not plain.reads_committed and plain.looks_back == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps_per_block": 33}, "steps_per_block is 33, block_length 32; .* use 32 or fewer"),
        ({"minimal_topk": 200}, "minimal_topk is 200, gen_length 128; .* use 128 or less"),
        ({"num_to_transfer": 2, "steps_per_block": 8}, "num_to_transfer is 2 .* leave one out"),
        ({"editing_threshold": -0.1}, "editing_threshold is -0.1; it must be between 0 and 1"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LLaDA2Options(**options)


def test_a_run_with_editing_is_sound(tmp_path: Path) -> None:
    """From the command line to the file and back: `revised` says where the text changed."""
    out = tmp_path / "run"
    arguments = ["--problems", "generated:3", "--gen-length", "9", "--device", "cpu", "--out", out]
    editing = ["--policy", "llada2", "--editing-threshold", "0.2", "--threshold", "0.3"]
    runner = CliRunner()
    model = write_sdar(tmp_path / "model", seed=3)
    command = ["run", "--model", model, *arguments, *editing, "--max-post-steps", "3"]
    done = runner.invoke(group, [str(word) for word in command])
    assert done.exit_code == 0, done.output
    run = open_run(out)
    token, revised = run["token"][:], run["revised"][:] > 0
    before, after = token[:, :-1], token[:, 1:]
    changed = (before != after) & (before != 5) & (before >= 0) & (after >= 0)
    assert revised.any()
    np.testing.assert_array_equal(changed, revised[:, 1:])
    verified = runner.invoke(group, ["verify", str(out)])
    assert verified.exit_code == 0, verified.output
