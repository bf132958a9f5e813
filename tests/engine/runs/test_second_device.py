"""What runs on the second of two GPUs: nothing goes by the current device, which is the first. The
GPUs are pretended.

torch's own guards ask `_exchange_device`, so a pretended driver that keeps the current device shows
what a launch meets.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffengine.engine.decoding.loop import Decoder
from diffengine.engine.decoding.phases import Phases
from diffengine.kernels import dispatch
from diffengine.kernels.transfer import HostCopies, current
from diffengine.kernels.triton_rows import launch

SECOND = torch.device("cuda:1")
ROOT = Path(__file__).resolve().parents[3]
BY_THE_CURRENT_DEVICE = {
    "current_stream", "synchronize", "mem_get_info", "memory_reserved", "memory_allocated", "Stream", "get_device_name",
    "max_memory_allocated", "reset_peak_memory_stats", "default_stream", "get_device_properties",
}  # fmt: skip


class Driver:
    """Two GPUs, the first of them current."""

    def __init__(self) -> None:
        self.current = 0

    def exchange(self, device: int) -> int:
        before = self.current
        if device >= 0:
            self.current = device
        return before


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    pretended = Driver()
    monkeypatch.setattr(torch.cuda, "_exchange_device", pretended.exchange)
    monkeypatch.setattr(torch.cuda, "_maybe_exchange_device", pretended.exchange)
    return pretended


def tensor_on_second() -> Any:
    """As much of a CUDA tensor as the dispatch looks at."""
    return SimpleNamespace(dtype=torch.float32, device=SECOND, is_cuda=True, get_device=lambda: 1)


def test_a_kernel_is_launched_on_its_tensors_device(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(launch, "logit_stats", lambda logits: seen.append(driver.current))
    dispatch.logit_stats(tensor_on_second())
    assert (seen, driver.current) == ([1], 0)

    def failing(logits: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(launch, "logit_stats", failing)
    with pytest.raises(torch.OutOfMemoryError):
        dispatch.logit_stats(tensor_on_second())
    assert driver.current == 0


def test_a_step_runs_with_the_models_device_current(driver: Driver) -> None:
    seen: list[int] = []

    class SeenError(Exception):
        pass

    class Looking:
        def admit(self, canvas: object) -> None:
            seen.append(driver.current)
            raise SeenError

    nothing: Any = None
    looking: Any = Looking()
    for device in (SECOND, torch.device("cpu")):
        with pytest.raises(SeenError):
            model: Any = SimpleNamespace(device=device)
            Decoder(model, nothing, nothing, nothing, looking, nothing).step()
    assert (seen, driver.current) == ([1, 0], 0)
    with current(SECOND):
        assert driver.current == 1
    assert driver.current == 0


def test_phases_are_timed_on_their_own_devices_stream(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams: list[Any] = []

    class Event:
        def __init__(self, **options: Any) -> None:
            assert options == {"enable_timing": True}

        def record(self, stream: Any = None) -> None:
            streams.append(stream)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: ("stream of", device))
    phases = Phases(SECOND)
    phases.mark("forward")
    phases.mark("policy")
    assert streams == [("stream of", SECOND)] * 2


def test_copies_to_the_host_are_made_by_a_stream_of_the_device(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "Stream", asked.append)
    HostCopies(SECOND)
    assert asked == [SECOND]


def calls_without_a_device(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name.startswith("torch.cuda.") and name.split(".")[-1] in BY_THE_CURRENT_DEVICE:
            if not node.args and not node.keywords:
                yield f"{name}() at line {node.lineno}"
        if name == "event.record" and not node.args:
            yield f"{name}() at line {node.lineno}"


def test_nothing_asks_cuda_without_saying_which_device() -> None:
    files = [
        path for part in ("engine", "kernels", "bench") for path in (ROOT / part).rglob("*.py")
    ]
    silent = {path.name: list(calls_without_a_device(path.read_text())) for path in files}
    assert {name: calls for name, calls in silent.items() if calls} == {}
    assert list(calls_without_a_device("torch.cuda.synchronize()\nevent.record()")) != []
