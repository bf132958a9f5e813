"""Diffusion language models that are known by name and not yet supported: what a refused checkpoint
is told.

One table from the architecture in config.json to the family. A family that becomes supported moves
to `FAMILIES`; nothing here loads anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class KnownFamily(NamedTuple):
    """A family by the name its authors use, and in which way it differs from the supported ones."""

    name: str
    differs: str


_BLOCKS = "it attends block by block"
_SHIFT = "its predictions stand one position to the right"

KNOWN = {
    "LLaDA2MoeModelLM": KnownFamily("LLaDA2.x", f"it is a mixture of experts and {_BLOCKS}"),
    "ILLaDAForCausalLM": KnownFamily(
        "iLLaDA", "its tensors and its mask token are named otherwise"
    ),
    "SDARForCausalLM": KnownFamily("SDAR (also TraDo, I-DLM)", _BLOCKS),
    "A2DQwen3LMHeadModel": KnownFamily(
        "A2D (Qwen3; Tiny-A2D, OPDLM)", "it attends fully or block by block"
    ),
    "_A2DQwen3LMHeadModel": KnownFamily(
        "A2D (Qwen3; Tiny-A2D, OPDLM)", "it attends fully or block by block"
    ),
    "A2DQwen2LMHeadModel": KnownFamily("A2D (Qwen2)", "it attends fully or block by block"),
    "A2DLlamaLMHeadModel": KnownFamily("A2D (Llama)", "it attends fully or block by block"),
    "Fast_dLLM_QwenForCausalLM": KnownFamily("Fast-dLLM v2", f"{_BLOCKS} and {_SHIFT}"),
    "NemotronLabsDiffusionModel": KnownFamily(
        "Nemotron-Labs-Diffusion", "it reads the prompt causally"
    ),
    "WeDLMForCausalLM": KnownFamily("WeDLM", "it attends causally in a permuted order"),
    "DiffusionGemmaForBlockDiffusion": KnownFamily(
        "DiffusionGemma", "its noise is uniform, without a mask token"
    ),
    "GiddForDiffusionLM": KnownFamily("GIDD", "its noise is uniform and its network its own"),
    "BD3LM": KnownFamily("BD3-LM", "its network (DiT) is its own"),
    "MDLM": KnownFamily("MDLM", "its network (DiT) is its own"),
    "DharaForMaskedDiffusion": KnownFamily("Dhara", "its network is its own"),
    "ModernBertForMaskedLM": KnownFamily(
        "ModernBERT-chat", "it is an encoder with layers of local attention"
    ),
}
"""Architecture to family; the strings are those of the checkpoints' config.json."""


def unsupported(architecture: str, supported: Iterable[str]) -> str:
    """Why a checkpoint of `architecture` is not loaded: known but not yet supported, or unknown;
    one sentence."""
    there_are = f"supported: {', '.join(supported)}"
    family = KNOWN.get(architecture)
    if family is not None:
        return (
            f"architectures is {architecture!r}, which is {family.name}: known, but not yet "
            "supported "
            f"({family.differs}); {there_are}"
        )
    return (
        f"architectures is {architecture!r}; {there_are}; it is unknown here, and a model that is "
        "no masked diffusion language model cannot be decoded by diffengine"
    )


def looks_like_hub_name(name: str) -> bool:
    """Whether `name` has the form of a repository on a model hub, `owner/name`, and not of a
    path."""
    return re.fullmatch(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]*", name) is not None


def hub_hint(name: str) -> str:
    """What to do about a repository's name in the place of a directory."""
    return (
        f"if {name} is a repository of the Hugging Face hub: nothing is downloaded here, fetch it "
        "first with "
        f"`hf download {name} --local-dir llada-8b` and give --model ./llada-8b"
    )
