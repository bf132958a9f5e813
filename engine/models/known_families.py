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
    """A family by the name its authors use, and why its checkpoints are not run."""

    name: str
    why: str


_BLOCKS = "it attends block by block"
_UNIFORM = "its noise is uniform over the vocabulary, without a mask token"
_DIT = "its network is a DiT, which no stock class has"

KNOWN = {
    "DreamForCausalLM": KnownFamily("Dream-Reasoner", _BLOCKS),
    "WeDLMForCausalLM": KnownFamily(
        "WeDLM",
        "it attends causally over tokens reordered so that masks come last, so that what a token "
        "sees changes with each commit",
    ),
    "DiffusionGemmaForBlockDiffusion": KnownFamily(
        "DiffusionGemma", f"{_UNIFORM}, in an encoder and a decoder"
    ),
    "GiddForDiffusionLM": KnownFamily("GIDD", f"{_UNIFORM}, and no stock class has its network"),
    "BD3LM": KnownFamily("BD3-LM", f"{_BLOCKS} and {_DIT}"),
    "MDLM": KnownFamily("MDLM", _DIT),
    "DharaForMaskedDiffusion": KnownFamily("Dhara", "no stock class has its network"),
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
            f"supported ({family.why}); {there_are}"
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
    folder = name.rpartition("/")[2]
    return (
        f"if {name} is a repository of the Hugging Face hub: nothing is downloaded here, fetch it "
        f"first with `hf download {name} --local-dir {folder}` and give --model ./{folder}"
    )
