"""What goes between host and device is a copy that no later change of its source reaches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffengine.kernels.transfer import HostCopies, host_array, on_device

DTYPES = [torch.float32, torch.int32, torch.uint8, torch.bool, torch.bfloat16]


def sample(dtype: torch.dtype, device: str = "cpu") -> torch.Tensor:
    return torch.tensor([[0.0, 1.0, 1.5], [2.0, -0.0, 3.25]], device=device).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_copy_is_the_tensor_as_the_store_takes_it(dtype: torch.dtype) -> None:
    source = sample(dtype)
    expected = source.view(torch.uint16) if dtype == torch.bfloat16 else source
    copies = HostCopies(torch.device("cpu"))
    for array in (host_array(source), copies.array(source), copies.array(source.T).T):
        assert array.dtype == expected.numpy().dtype
        assert array.tolist() == expected.tolist()
        assert not np.shares_memory(array, expected.numpy())


def test_on_a_cpu_nothing_has_to_be_waited_for() -> None:
    copies, source = HostCopies(torch.device("cpu")), sample(torch.float32)
    array = copies.array(source)
    source.zero_()
    copies.ready()()
    assert array[1, 0] == 2.0


def test_a_list_arrives_in_order_and_dtype() -> None:
    there = on_device([3, 1, 2], torch.device("cpu"), torch.int32)
    assert (there.tolist(), there.dtype) == ([3, 1, 2], torch.int32)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_on_cuda_a_copy_is_of_the_moment_it_was_asked_for(dtype: torch.dtype) -> None:
    copies = HostCopies(torch.device("cuda"))
    source = sample(dtype, "cuda").repeat(1000, 1000)
    expected = host_array(source)
    torch.cuda.set_sync_debug_mode("error")
    try:
        array, ready = copies.array(source), copies.ready()
        source.zero_()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    ready()
    assert np.array_equal(array, expected)
