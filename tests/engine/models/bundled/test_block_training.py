"""Training the bundled block model: what a noisy block sees and learns, that the engine's passes are
those it was trained on, and what is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from diffengine.engine.config import RunConfig, resolve
from diffengine.engine.decoding.block_canvas import BlockCanvas
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.bundled import BUNDLED_BLOCK
from diffengine.engine.models.bundled import train as training
from diffengine.engine.models.bundled.block_objective import (
    SHARES,
    BlockBatch,
    block_batch_pool,
    block_validation_batches,
    seen_by,
)
from diffengine.engine.models.bundled.export import export
from diffengine.engine.models.bundled.tokenizer import EOS, MASK
from diffengine.engine.models.bundled.train import build_model, loss_of, train
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt

LENGTH = 8


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(BUNDLED_BLOCK / "tokenizer.json"))


@pytest.fixture(scope="module")
def block_model() -> MaskedDiffusionModel:
    return load_model(BUNDLED_BLOCK, device="cpu")


def clean_length(batch: BlockBatch) -> int:
    """How many tokens come before the noisy ones."""
    return int(batch.positions.max()) + 1


def test_a_noisy_block_sees_itself_and_the_clean_ones_before_it() -> None:
    clean, first = 12, 4
    seen = seen_by(clean, first, 4)
    blocks = [position // 4 for position in [*range(clean), *range(first, clean)]]
    for query, query_block in enumerate(blocks):
        for key, key_block in enumerate(blocks):
            if query < clean:
                expected = key < clean and key_block <= query_block
            elif key < clean:
                expected = key_block < query_block
            else:
                expected = key_block == query_block
            assert seen[query, key] == expected, (query, key)


def test_a_batch_masks_only_noisy_responses_and_weighs_what_is_masked(tokenizer: Tokenizer) -> None:
    assert sum(SHARES.values()) == 1
    for batch in block_batch_pool(tokenizer, block_length=LENGTH, seed=1, pool=0, batch_size=16):
        width = clean_length(batch)
        assert width % LENGTH == 0
        assert not (batch.input_ids[:, :width] == MASK).any()
        masked = batch.input_ids == MASK
        assert torch.equal(batch.input_ids[~masked], batch.target_ids[~masked])
        assert not (batch.target_ids == MASK).any()
        assert ((batch.weight > 0) == masked).all()
        torch.testing.assert_close(batch.weight.sum(1), torch.ones(16))
        noisy = batch.target_ids[:, width:]
        assert torch.equal(noisy, batch.target_ids[:, width - noisy.shape[1] : width])
        assert torch.equal(batch.positions[width:], torch.arange(width - noisy.shape[1], width))


def test_the_last_block_is_learnt_to_its_end_and_no_further(tokenizer: Tokenizer) -> None:
    (batch,) = block_validation_batches(tokenizer, block_length=LENGTH, n=8, batch_size=8)
    width = clean_length(batch)
    ends = []
    for row in range(8):
        content = (batch.target_ids[row, :width] != EOS).nonzero().max().item() + 1
        ends.append(-(-(content + 1) // LENGTH) * LENGTH)
        learnt = batch.positions[batch.weight[row] > 0]
        assert learnt.max() < ends[-1]
    assert max(ends) == width


@torch.inference_mode()
def test_the_engines_passes_are_those_of_the_training(
    tokenizer: Tokenizer, block_model: MaskedDiffusionModel
) -> None:
    """The states of every noisy block, from one training pass and from the canvas."""
    (batch,) = block_validation_batches(tokenizer, block_length=LENGTH, n=1, batch_size=1)
    width = clean_length(batch)
    first = width - (batch.input_ids.shape[1] - width)
    network = build_model(tokenizer.get_vocab_size(), seed=0, block_length=LENGTH)
    network.load_state_dict(block_model.network.state_dict(), strict=False)
    expected = network.model(
        batch.input_ids, position_ids=batch.positions[None], allowed=batch.allowed
    ).last_hidden_state[0, width:]

    clean = batch.target_ids[0, :width].tolist()
    noisy = batch.input_ids[0, width:].tolist()
    n_prompt = int((batch.weight[0] > 0).nonzero().min()) - width + first
    config = config_of(block_model, gen_length=width - n_prompt)
    for place in range(0, len(noisy), LENGTH):
        start = first + place
        if start + LENGTH <= n_prompt:
            continue
        canvas = canvas_at(block_model, config, clean[: max(start, n_prompt)])
        canvas.generated = torch.tensor([noisy[place : place + LENGTH]])
        packed = canvas.pack()
        states = block_model.hidden_read(
            packed.token_ids, packed.positions, packed.packing, packed.reads
        )
        torch.testing.assert_close(
            states, expected[place : place + LENGTH], rtol=0, atol=2e-5, msg=f"block at {start}"
        )


def config_of(model: MaskedDiffusionModel, **settings: int) -> RunConfig:
    """A run's settings with this model's defaults."""
    given = {"policy": "sdar", **settings}
    return resolve(given, checkpoint=model.sampler_defaults, model="m", dtype="float32")


def canvas_at(model: MaskedDiffusionModel, config: RunConfig, ids: list[int]) -> BlockCanvas:
    """A canvas on which the tokens `ids` are the prompt of one row."""
    prompt = Prompt(Problem("p", "", None), 0, 0, tuple(ids), ())
    canvas = Setup(model, config).decoder([prompt], budget=10**6).canvas
    assert isinstance(canvas, BlockCanvas)
    canvas.fill(iter([prompt]))
    return canvas


class Killed(Exception):
    pass


def test_training_learns_and_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"batch_size": 8, "seed": 0, "device": torch.device("cpu"), "block_length": LENGTH}
    whole = torch.load(
        train(tmp_path / "whole", steps=10, save_every=5, **settings), weights_only=True
    )
    left = iter(range(12))

    def dies(*arguments: object) -> torch.Tensor:
        if next(left, None) is None:
            raise Killed
        return loss_of(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(training, "loss_of", dies)
        with pytest.raises(Killed):
            train(tmp_path / "parts", steps=10, save_every=5, **settings)
    state = torch.load(tmp_path / "parts" / "state.pt", weights_only=True)
    assert state["step"] == 5
    train(tmp_path / "parts", steps=10, save_every=5, **settings)
    parts = torch.load(tmp_path / "parts" / "state.pt", weights_only=True)
    for name, weight in whole["average"].items():
        assert torch.equal(weight, parts["average"][name]), name
    losses = [
        json.loads(line)["validation_nats"] for line in (tmp_path / "whole" / "log.jsonl").open()
    ]
    assert losses[-1] < losses[0]
    export(tmp_path / "whole", tmp_path / "checkpoint", block_length=LENGTH)
    loaded = load_model(tmp_path / "checkpoint", device="cpu")
    assert loaded.sampler_defaults["block_length"] == LENGTH
    expected = whole["average"]["model.embed_tokens.weight"].to(torch.bfloat16).float()
    assert torch.equal(loaded.network.model.embed_tokens.weight, expected)


def test_the_shipped_checkpoint_is_small_and_in_sdars_format() -> None:
    files = {p.name: p.stat().st_size for p in BUNDLED_BLOCK.iterdir()}
    assert sum(files.values()) < 12_000_000
    config = json.loads((BUNDLED_BLOCK / "config.json").read_text())
    assert config["architectures"] == ["SDARForCausalLM"]
    assert set(files) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_last_validation_loss_is_the_one_in_the_log(
    tokenizer: Tokenizer, block_model: MaskedDiffusionModel
) -> None:
    log = [json.loads(line) for line in (BUNDLED_BLOCK.parent / "block_training_log.jsonl").open()]
    network = build_model(tokenizer.get_vocab_size(), seed=0, block_length=LENGTH)
    network.load_state_dict(block_model.network.state_dict(), strict=False)
    batches = block_validation_batches(tokenizer, block_length=LENGTH, n=256, batch_size=64)
    with torch.no_grad():
        loss = sum(loss_of(network, b, torch.device("cpu")).item() for b in batches) / len(batches)
    # The shipped weights are rounded to bfloat16.
    assert loss == pytest.approx(log[-1]["validation_nats"], abs=2e-3)
