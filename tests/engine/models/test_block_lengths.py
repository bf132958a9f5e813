"""How long the blocks of a checkpoint are: what its files say, in which order, and what cannot be."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.models.block_lengths import block_length_of
from diffengine.engine.models.bundled import NAMES
from diffengine.engine.models.family import Blocks, CheckpointError
from diffengine.engine.models.loading import load_model

BLOCKS = Blocks(length=32, keys=("block_size", "block_length"))

SAID: list[tuple[dict[str, Any], dict[str, Any], dict[str, int]]] = [
    ({}, {}, {"block_length": 32}),
    ({"block_size": 4}, {}, {"block_length": 4}),
    ({"block_length": 8}, {}, {"block_length": 8}),
    ({"block_size": 8, "block_length": 8}, {}, {"block_length": 8}),
    ({"block_size": None}, {}, {"block_length": 32}),
    ({"bd_size": 4}, {}, {"block_length": 32}),
    ({"block_size": 4}, {"block_length": 16}, {}),
    ({"block_size": 4}, {"block_length": None}, {"block_length": 4}),
]


@pytest.mark.parametrize(("config", "sampler", "expected"), SAID, ids=str)
def test_the_sampler_then_the_config_then_the_family(
    config: dict[str, Any], sampler: dict[str, Any], expected: dict[str, int]
) -> None:
    """Nothing is said where the sampler's own settings have it already."""
    assert block_length_of(BLOCKS, config, sampler) == expected
    assert block_length_of(None, config, sampler) == {}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"block_size": 0}, "block_size is 0, expected 1 or more"),
        ({"block_length": -4}, "block_length is -4, expected 1 or more"),
        ({"block_size": "4"}, "block_size must be a int, got '4'"),
        ({"block_size": 4.0}, "block_size must be a int, got 4.0"),
        ({"block_size": True}, "block_size must be a int, got True"),
        ({"block_size": 4, "block_length": 8}, "says block_size 4 and block_length 8, but blocks"),
    ],
)
@pytest.mark.parametrize("sampler", [{}, {"block_length": 4}], ids=str)
def test_what_cannot_be_is_refused(
    config: dict[str, Any], says: str, sampler: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match=rf"config\.json: {says}"):
        block_length_of(BLOCKS, config, sampler)


def test_a_checkpoint_is_refused_with_its_path_and_its_length_is_a_default(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = NAMES["bundled-block"]
    for file in source.iterdir():
        if file.is_file():
            (tmp_path / file.name).symlink_to(file)
    config = json.loads((source / "config.json").read_text())
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).unlink()

    def loaded(sampler: dict[str, Any], **changes: Any) -> Any:
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
        (tmp_path / "generation_config.json").write_text(json.dumps(sampler))
        return load_model(tmp_path, device="cpu", weights=False).sampler_defaults

    with caplog.at_level(logging.WARNING):
        assert loaded({}, block_size=16)["block_length"] == 16
        assert loaded({"block_length": 4}, block_size=16)["block_length"] == 4
    assert caplog.messages == []  # block_size is heard of, whoever has the last word
    with pytest.raises(CheckpointError) as caught:
        loaded({}, block_size=0)
    assert f"{tmp_path}/config.json: block_size is 0" in str(caught.value)
