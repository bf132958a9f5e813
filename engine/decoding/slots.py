"""Memory on the device for the trajectories of the problems on the canvas, one slot for each.

One tensor for each variable that is recorded at every step, and one for what the canvas showed.
Nothing is allocated while a run goes on: a slot is emptied and used again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..store.format.schema import missing
from ..store.format.variable import Variable

SEEN_MASKED = "seen_masked"
"""Not stored: which positions were masked when a step saw them."""
SEEN_MASKED_BYTES = torch.bool.itemsize

_TORCH_TYPES = {
    "int32": torch.int32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "float32": torch.float32,
}


class Slots:
    """Tensors [slot, step, position, ...] by the name of their variable."""

    def __init__(
        self,
        variables: Sequence[Variable],
        *,
        capacity: int,
        sizes: Mapping[str, int],
        dtypes: Mapping[str, torch.dtype],
        device: torch.device,
    ) -> None:
        """`sizes` of all dimensions of the variables; `dtypes` of what the schema calls `model` and
        `logits`."""
        types = {**_TORCH_TYPES, **dtypes}
        self.tensors = {}
        for row in variables:
            shape = (capacity, *(sizes[dim] for dim in row.dims))
            dtype = types[row.dtype]
            self.tensors[row.name] = torch.full(shape, missing(dtype), dtype=dtype, device=device)

        cells = (capacity, sizes["step"], sizes["position"])
        self.tensors[SEEN_MASKED] = torch.zeros(cells, dtype=torch.bool, device=device)

    def clear(self, slot: int) -> None:
        """Make every value of a slot a missing one."""
        for tensor in self.tensors.values():
            tensor[slot] = missing(tensor.dtype)

    def write(self, slots: Tensor, steps: Tensor, values: Mapping[str, Tensor]) -> None:
        """Write one step of several rows: their `slots` [B], their `steps` [B] and, for each
        variable, values [B * G, ...] or [B, G, ...]. Raises KeyError for a variable without any."""
        for name, tensor in self.tensors.items():
            shape = (len(slots), *tensor.shape[2:])
            tensor[slots, steps] = values[name].reshape(shape).to(tensor.dtype)

    def row(self, slot: int) -> dict[str, Tensor]:
        """What the slot holds, [step, position, ...] each; views, no copies."""
        return {name: tensor[slot] for name, tensor in self.tensors.items()}
