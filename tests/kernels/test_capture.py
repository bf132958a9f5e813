"""A step of the head asks the device nothing: it can be captured in a CUDA graph, and replays to
the same numbers.

Without a GPU the step runs on torch's meta device, whose tensors have no values: whatever would
wait for one, or take a shape from one, is an error there. The kernels are left out; they are
launched with shapes alone.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffengine.kernels import dispatch
from diffengine.kernels.head import Head, Rows, Sampling
from diffengine.kernels.ring import LogitRing
from diffengine.kernels.shaping import Shaping
from diffengine.kernels.triton_rows import gumbel as gumbel_kernel
from diffengine.kernels.triton_rows import launch

N, D, V = 64, 256, 4096
SAMPLINGS = {
    "greedy": Sampling(exclude_id=5, n_candidates=4000),
    "noise": Sampling(exclude_id=5, temperature=0.7),
    "exact noise": Sampling(temperature=0.7, literal=True),
    "suppressed": Sampling(suppress=(3, 9), confidence_suppress=(7,)),
    "literal": Sampling(literal=True),
    "shaped": Sampling(
        exclude_id=5, temperature=0.7, shaping=Shaping(top_p=0.9, top_k=40, score="entropy")
    ),
    "shaped greedy": Sampling(exclude_id=5, shaping=Shaping(top_p=0.9, score="margin")),
    "shaped literal": Sampling(literal=True, shaping=Shaping(top_k=9, top_k_first=True)),
}


def made(sampling: Sampling, device: str, dtype: torch.dtype) -> tuple[Head, Rows]:
    generator = None if device == "meta" else torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device, dtype=dtype)

    weight = draw(V, D)
    head = Head(
        weight,
        sampling=sampling,
        guidance=0.5,
        chunk_rows=48,
        ring=LogitRing.if_it_fits(2 * N, weight),
    )
    place = torch.arange(N, device=device) * 2
    return head, Rows(
        draw(N, D),
        draw(N, D),
        None,
        torch.zeros(N, 2, dtype=torch.int64, device=device),
        torch.ones(N, 3, dtype=torch.int64, device=device),
        place,
        torch.zeros(N, dtype=torch.bool, device=device),
    )


class OnlyThere(TorchDispatchMode):
    """Fails where an operation makes or takes a tensor of the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor):
                assert tensor.device.type == "meta", f"{func} met a tensor of the {tensor.device}"
        return out


class Launched:
    """Stands for a kernel: `kernel[grid](...)` does nothing."""

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *arguments, **options: None


@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_step_waits_for_no_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "served_by_triton", lambda logits: True)
    for module, kernels in (
        (launch, ("sweep", "finish", "topk_from_lanes")),
        (gumbel_kernel, ("gumbel_sweep",)),
    ):
        for kernel in kernels:
            monkeypatch.setattr(module, kernel, Launched())
    head, rows = made(SAMPLINGS[name], "meta", torch.bfloat16)
    with OnlyThere():
        stats, proposal = head.step(rows, topk=4)
        head.step(rows, topk=4)
    assert stats.kl.shape == proposal.token.shape == (N,) and stats.topk_id.shape == (N, 4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_captured_step_replays_to_the_same_numbers(name: str) -> None:
    (plain, rows), (head, _) = (made(SAMPLINGS[name], "cuda", torch.bfloat16) for _ in range(2))
    states = torch.randn(5, N, D, device="cuda", dtype=torch.bfloat16)
    head.step(rows._replace(hidden=states[0]), topk=4)  # compiles the kernels
    plain.step(rows._replace(hidden=states[0]), topk=4)
    torch.cuda.set_sync_debug_mode("error")
    try:
        expected = [plain.step(rows._replace(hidden=state), topk=4) for state in states[1:]]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = head.step(rows, topk=4)
    for state, wanted in zip(states[1:], expected, strict=True):
        rows.hidden.copy_(state)
        graph.replay()
        torch.cuda.synchronize()
        for ours, theirs in zip((*found[0], *found[1]), (*wanted[0], *wanted[1]), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    assert found[0].kl.isfinite().all()
