"""No tensor with (row, position, vocabulary) elements comes into being while decoding; only the
ring is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.loop import Decoder
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.kernels import ring
from diffengine.kernels.matrix_product import safe_rows

CHUNK, VOCABULARY = 32, 4096


class Allocations(TorchDispatchMode):
    """The element counts of all storages that operations return and that nobody held before."""

    def __init__(self, held: list[torch.Tensor]) -> None:
        super().__init__()
        self.held = {tensor.untyped_storage().data_ptr() for tensor in held}
        self.largest, self.where, self.operations = 0, "", 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        for tensor in tree_leaves(out):
            if (
                isinstance(tensor, torch.Tensor)
                and tensor.untyped_storage().data_ptr() not in self.held
            ):
                elements = tensor.untyped_storage().nbytes() // tensor.element_size()
                if elements > self.largest:
                    self.largest, self.where = elements, f"{func} gave {list(tensor.shape)}"
        return out


def held_by(model: MaskedDiffusionModel, decoder: Decoder) -> Iterator[torch.Tensor]:
    yield from model.network.parameters()
    yield from decoder.recorder._slots.tensors.values()
    if decoder.head.ring is not None:
        yield decoder.head.ring.logits


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> MaskedDiffusionModel:
    from ..conftest import write_random_checkpoint

    made = write_random_checkpoint(
        tmp_path_factory.mktemp("wide") / "model", embedding_size=VOCABULARY
    )
    return load_model(made, device="cpu")


@pytest.mark.parametrize("with_ring", [True, False])
@pytest.mark.parametrize(
    "settings", [{}, {"numerics": "reference"}, {"temperature": 0.7}, {"cfg_scale": 1.0}]
)
def test_only_chunks_of_logits_are_ever_made(
    wide_model: MaskedDiffusionModel,
    prompts_of: Any,
    settings: dict[str, Any],
    with_ring: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not with_ring:
        monkeypatch.setattr(ring, "LIMIT_BYTES", 0)
    config = RunConfig.of(model="m", steps=4, gen_length=48, block_length=48, **settings)
    prompts = prompts_of(wide_model, 48)
    decoder = Setup(wide_model, config).decoder(prompts, budget=2048)
    decoder.head.chunk_rows = CHUNK
    rows = len(prompts) * config.gen_length
    if with_ring:
        assert decoder.head.ring is not None
        assert decoder.head.ring.logits.shape == (
            rows,
            VOCABULARY,
        )  # what docs/kernels.md says is held, and no more
    else:
        assert decoder.head.ring is None
    with Allocations(list(held_by(wide_model, decoder))) as seen:
        assert len(list(decoder.decode(iter(prompts)))) == len(prompts)
    assert seen.operations > 1000
    chunk = max(CHUNK, safe_rows()) * VOCABULARY  # a chunk is padded, docs say why
    assert CHUNK * VOCABULARY <= seen.largest <= chunk < rows * VOCABULARY / 4, seen.where
