"""Training the bundled model: what is masked, that it learns, and that a killed training goes on
exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from diffengine.engine.models.bundled.export import export
from diffengine.engine.models.bundled.objective import SHARES, batch_pool, validation_batches
from diffengine.engine.models.bundled.tokenizer import EOS, MASK, prompt_text
from diffengine.engine.models.bundled.train import train
from diffengine.engine.models.loading import load_model
from diffengine.engine.runs.run import BUNDLED


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))


def test_any_text_encodes_and_digits_stand_alone(tokenizer: Tokenizer) -> None:
    for text in ("12345", "Ein Äpfel 苹果 🍎\r\n\t\x00", "a" * 500, ""):
        encoded = tokenizer.encode(text)
        assert tokenizer.decode(encoded.ids) == text
    assert [tokenizer.decode([i]) for i in tokenizer.encode("907").ids] == ["9", "0", "7"]


def test_the_training_prompt_is_the_chat_templates(tokenizer: Tokenizer, bundled_model) -> None:
    question = "Ann has 5 rocks. How many?"
    messages = [{"role": "user", "content": question}]
    text = bundled_model.tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )
    assert text == prompt_text(question)
    assert (
        bundled_model.tokenizer.encode(text, add_special_tokens=False) == tokenizer.encode(text).ids
    )


def test_a_batch_masks_only_responses_and_weighs_what_is_masked(tokenizer: Tokenizer) -> None:
    assert sum(SHARES.values()) == 1
    for batch in batch_pool(tokenizer, seed=1, pool=0, batch_size=16):
        masked = batch.input_ids == MASK
        assert torch.equal(batch.input_ids[~masked], batch.target_ids[~masked])
        assert not (batch.target_ids == MASK).any()
        assert (batch.weight[~masked] == 0).all()
        torch.testing.assert_close(batch.weight.sum(1), torch.ones(16))
        assert (batch.target_ids[:, -1] == EOS).all()


def test_a_pool_is_a_function_of_seed_and_number(tokenizer: Tokenizer) -> None:
    one, same, other = (batch_pool(tokenizer, seed=1, pool=p, batch_size=4) for p in (3, 3, 4))
    assert all(torch.equal(a.input_ids, b.input_ids) for a, b in zip(one, same, strict=True))
    assert not all(
        a.input_ids.shape == b.input_ids.shape and torch.equal(a.input_ids, b.input_ids)
        for a, b in zip(one, other, strict=True)
    )


def test_a_killed_training_goes_on_exactly_and_learns(tmp_path: Path) -> None:
    settings = {"batch_size": 8, "seed": 0, "device": torch.device("cpu"), "save_every": 4}
    whole = torch.load(train(tmp_path / "whole", steps=12, **settings), weights_only=True)
    state = tmp_path / "parts" / "state.pt"

    class Killed(Exception):
        pass

    from diffengine.engine.models.bundled import train as module

    original, calls = module.loss_of, 0

    def dies(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 15:
            raise Killed
        return original(*arguments)

    module.loss_of = dies
    try:
        with pytest.raises(Killed):
            train(tmp_path / "parts", steps=12, **settings)
    finally:
        module.loss_of = original
    assert 0 < torch.load(state, weights_only=True)["step"] < 12
    train(tmp_path / "parts", steps=12, **settings)
    resumed = torch.load(state, weights_only=True)
    assert resumed["step"] == whole["step"] == 12
    for name, weight in whole["average"].items():
        assert torch.equal(weight, resumed["average"][name]), name
    losses = [
        json.loads(line)["validation_nats"] for line in (tmp_path / "whole" / "log.jsonl").open()
    ]
    assert losses[-1] < losses[0]
    export(tmp_path / "whole", tmp_path / "checkpoint")
    loaded = load_model(tmp_path / "checkpoint", device="cpu")
    expected = whole["average"]["model.embed_tokens.weight"].to(torch.bfloat16).float()
    assert torch.equal(loaded.network.model.embed_tokens.weight, expected)


def test_the_shipped_checkpoint_is_small_and_in_lladas_format() -> None:
    files = {p.name: p.stat().st_size for p in BUNDLED.iterdir()}
    assert sum(files.values()) < 12_000_000
    config = json.loads((BUNDLED / "config.json").read_text())
    assert config["architectures"] == ["LLaDAModelLM"]
    assert set(files) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_last_validation_loss_is_the_one_in_the_log(
    tokenizer: Tokenizer, bundled_model
) -> None:
    from diffengine.engine.models.bundled.train import build_model, loss_of

    log = [json.loads(line) for line in (BUNDLED.parent / "training_log.jsonl").open()]
    network = build_model(tokenizer.get_vocab_size(), seed=0)
    network.load_state_dict(bundled_model.network.state_dict(), strict=False)
    batches = validation_batches(tokenizer, n=256, batch_size=64)
    with torch.no_grad():
        loss = sum(loss_of(network, b, torch.device("cpu")).item() for b in batches) / len(batches)
    assert loss == pytest.approx(
        log[-1]["validation_nats"], abs=2e-3
    )  # the shipped weights are rounded to bfloat16
