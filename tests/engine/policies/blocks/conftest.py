"""The tiny random model of the block canvas's tests."""

from __future__ import annotations

import pytest

from diffengine.engine.models.loading import MaskedDiffusionModel, load_model

from ...decoding.blocks.conftest import write_sdar


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> MaskedDiffusionModel:
    """A random model in SDAR's format, with confidences of every size."""
    return load_model(write_sdar(tmp_path_factory.mktemp("tiny") / "model", seed=3), device="cpu")
