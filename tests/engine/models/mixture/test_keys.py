"""No key of a mixture's published config is unheard of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from diffengine.engine.models.loading import load_model


@pytest.mark.parametrize("family", ["LLaDA-MoE", "RND1", "SDAR-MoE"])
def test_no_published_key_is_unheard_of(
    mixture: Callable[..., Path], family: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_model(mixture(family), device="cpu", weights=False)
    assert caplog.messages == []
