"""No step of decoding waits for the device: nothing in it needs a value on the host, whatever the
sampler.

On a CPU nothing waits, so operations that would are refused as they are dispatched; on CUDA the
driver itself says. The statistics are left out: a CPU has its own way to them, and
tests/kernels/test_capture.py asks this of a GPU's.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.canvas import Canvas
from diffengine.engine.decoding.loop import Decoder
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.policies import dream
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs.run import BUNDLED
from diffengine.kernels import head, transfer

WAITING = {
    "_local_scalar_dense", "nonzero", "nonzero_numpy", "argwhere", "masked_select", "_unique2", "unique_dim",
    "unique_consecutive", "equal", "is_nonzero", "bincount", "count_nonzero", "repeat_interleave.Tensor",
}  # fmt: skip
FROM_HOST = {"tensor", "as_tensor", "from_numpy", "asarray"}
TO_HOST = {"item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__"}

GRID: dict[str, dict[str, Any]] = {
    "greedy": {},
    "more steps than tokens": {"steps": 10},
    "random": {"remasking": "random"},
    "warm": {"temperature": 0.7},
    "guided": {"cfg_scale": 1.5},
    "no eos": {"logits_eos_inf": True},
    "eos last": {"confidence_eos_eot_inf": True},
    "eos last warm": {"confidence_eos_eot_inf": True, "temperature": 0.5},
    "full": {"save_logits": "full"},
    "nothing kept": {"save_logits": "none"},
    "dream": {"policy": "dream"},
    "dream warm": {"policy": "dream", "temperature": 0.8, "top_p": 0.9, "top_k": 7},
    "dream margin": {"policy": "dream", "alg": "topk_margin", "top_p": 0.9},
    "dream entropy": {"policy": "dream", "alg": "entropy", "temperature": 0.5, "alg_temp": 0.1},
}
CASES = [
    (name, record, numerics)
    for name, record, numerics in itertools.product(
        GRID, ["all", "masked"], ["default", "reference"]
    )
    # There the published count is a share of the masks that are left, which the host asks for.
    if not (numerics == "reference" and "alg" in GRID[name])
]


class Refusing(TorchDispatchMode):
    """Raises at an operation that needs a value of the device on the host."""

    asleep = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.asleep:
            return func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        overload = f"{name}.{func._overloadname}"
        if name in WAITING or overload in WAITING:
            raise AssertionError(f"{overload} would wait for the device")
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            for index in args[1]:
                if index is not None and index.dtype in (torch.bool, torch.uint8):
                    raise AssertionError(f"{overload} with a mask would wait for the device")
        return func(*args, **(kwargs or {}))


class RefusingCopies(TorchFunctionMode):
    """Raises where a tensor's value goes to the host, or a host list to the device by another way
    than `transfer.on_device`, whose memory is pinned."""

    allowed = False
    asleep = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = "" if self.asleep else getattr(func, "__name__", "")
        if name in FROM_HOST and not self.allowed:
            raise AssertionError(f"torch.{name} makes a tensor in memory that is not pinned")
        if name in TO_HOST:
            raise AssertionError(f"{name} would wait for the device")
        if name in ("__getitem__", "__setitem__"):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(one, list) for one in index):
                raise AssertionError(f"{name} with a list copies it from memory that is not pinned")
        return func(*args, **(kwargs or {}))


def config_of(changes: dict[str, Any], record: str, numerics: str) -> RunConfig:
    settings = {"steps": 6, "gen_length": 6, "record": record, "numerics": numerics}
    if "policy" not in changes:
        settings["block_length"] = 3
    return RunConfig.of(model="test", **(settings | changes))


def step_to_the_end(decoder: Decoder, prompts: list[Prompt]) -> int:
    """Steps of a canvas whose rows leave and enter half way; the number of steps."""
    waiting, steps = iter(prompts), 0
    while decoder.canvas.fill(waiting):
        decoder.step()
        steps += 1
    return steps


@pytest.mark.parametrize(("name", "record", "numerics"), CASES)
def test_no_step_needs_a_value_on_the_host(
    bundled_model: MaskedDiffusionModel,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    record: str,
    numerics: str,
    prompts_of: Any,
) -> None:
    config = config_of(GRID[name], record, numerics)
    prompts = prompts_of(bundled_model, config.gen_length)[:4]
    decoder = Setup(bundled_model, config).decoder(prompts, budget=70)
    copies, refusing, real = RefusingCopies(), Refusing(), torch.tensor

    def unwatched(work: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            copies.asleep = refusing.asleep = True
            try:
                return work(*arguments, **options)
            finally:
                copies.asleep = refusing.asleep = False

        return call

    monkeypatch.setattr(head, "logit_stats", unwatched(head.logit_stats))
    # Of the host alone: no tensor of the device is in it.
    monkeypatch.setattr(dream, "noise_of_problem", unwatched(dream.noise_of_problem))

    def pinned(values: list[int], **more: Any) -> torch.Tensor:
        copies.allowed = True
        try:
            return real(values, **more)
        finally:
            copies.allowed = False

    monkeypatch.setattr(transfer, "torch", SimpleNamespace(tensor=pinned))
    with copies, refusing:
        assert step_to_the_end(decoder, prompts) > config.gen_length


FREE: dict[str, dict[str, Any]] = {
    "threshold": {"threshold": 0.6},
    "factor": {},
    "entropy_threshold": {},
    "entropy_bound": {"temperature": 0.5},
    "margin": {"temperature": 0.5},
    "klass": {"confidence_threshold": 0.3, "kl_threshold": 0.3},
    "prophet": {"gap_early": 2.0, "gap_middle": 1.0},
}


@pytest.mark.parametrize(("name", "record"), list(itertools.product(FREE, ["all", "masked"])))
def test_a_free_schedule_waits_for_the_number_of_masks_and_for_nothing_else(
    bundled_model: MaskedDiffusionModel,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    record: str,
    prompts_of: Any,
) -> None:
    config = RunConfig.of(
        model="test", policy=name, gen_length=6, block_length=3, record=record, **FREE[name]
    )
    prompts = prompts_of(bundled_model, config.gen_length)[:4]
    decoder = Setup(bundled_model, config).decoder(prompts, budget=70)
    copies, refusing, real = RefusingCopies(), Refusing(), torch.tensor
    waits = [0]

    def pinned(values: list[int], **more: Any) -> torch.Tensor:
        copies.allowed = True
        try:
            return real(values, **more)
        finally:
            copies.allowed = False

    def unwatched(function: Any, count: list[int]) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            copies.asleep = refusing.asleep = True
            count[0] += 1
            try:
                return function(*arguments, **options)
            finally:
                copies.asleep = refusing.asleep = False

        return call

    monkeypatch.setattr(head, "logit_stats", unwatched(head.logit_stats, [0]))
    monkeypatch.setattr(Canvas, "_count_on_device", unwatched(Canvas._count_on_device, waits))
    monkeypatch.setattr(transfer, "torch", SimpleNamespace(tensor=pinned, bfloat16=torch.bfloat16))
    with copies, refusing:
        steps = step_to_the_end(decoder, prompts)
    assert waits == [steps]


@pytest.mark.parametrize("sin", [
    lambda x: x.sum().item(), lambda x: bool((x > 0).all()), lambda x: x[x > 0], lambda x: x.nonzero(),
    lambda x: x.masked_select(x > 0), lambda x: x.unique(), lambda x: x.tolist(), lambda x: x[[0, 1]],
    lambda x: x.new_zeros(3).index_put_((x > 0,), x.sum()), lambda x: torch.tensor([1, 2]),
])  # fmt: skip
def test_the_check_sees_what_it_should(sin: Any) -> None:
    x = torch.arange(3.0)
    with pytest.raises(AssertionError, match="would wait|not pinned"), RefusingCopies(), Refusing():
        sin(x)


@pytest.mark.parametrize(("name", "record", "numerics"), CASES)
def test_the_host_counts_masked_positions_as_the_device_does(
    bundled_model: MaskedDiffusionModel, name: str, numerics: str, record: str, prompts_of: Any
) -> None:
    config = config_of(GRID[name], record, numerics)
    prompts = prompts_of(bundled_model, config.gen_length)
    decoder = Setup(bundled_model, config).decoder(prompts, budget=120)
    waiting, known = iter(prompts), 0
    while decoder.canvas.fill(waiting):
        counts = (decoder.canvas.generated == decoder.canvas.mask_id).sum(1).tolist()
        for row, count in zip(decoder.canvas.rows, counts, strict=True):
            assert row.n_masked in (count, None)
            known += row.n_masked is not None and 0 < row.n_masked < config.gen_length
        at = decoder.canvas.masked_at()
        if at is not None:
            assert torch.equal(at, decoder.canvas.masked.nonzero().squeeze(1))
        decoder.step()
    assert (known > 0) == (numerics == "default")


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "record", "numerics"), CASES)
def test_on_cuda_no_step_synchronises(
    name: str, numerics: str, record: str, prompts_of: Any
) -> None:
    model = load_model(BUNDLED, device="cuda")
    config = config_of(GRID[name], record, numerics).changed(dtype="bfloat16")
    prompts = prompts_of(model, config.gen_length)
    step_to_the_end(
        Setup(model, config).decoder(prompts, budget=70), prompts
    )  # compiles and warms up
    decoder = Setup(model, config).decoder(prompts, budget=70)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert step_to_the_end(decoder, prompts) > config.gen_length
    finally:
        torch.cuda.set_sync_debug_mode("default")
