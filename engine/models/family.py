"""What a model family has to say about itself so that the loader can load it into a stock
transformers class.

Knows no family. A family translates its config.json into the stock class's configuration, renames
its tensors, and refuses every config value that the translation does not cover.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded as it is; the message names the file, the field and what
    to do."""


class TokenIds(NamedTuple):
    """The ids that decoding needs to know by name. `eot` is None in families without an end-of-turn
    token."""

    mask: int
    eos: int
    eot: int | None


class Family(NamedTuple):
    """One model family.

    `stock_class` names a class of `transformers`. `renames` maps regular expressions over
    checkpoint tensor names to names in the stock class. `stock_config` turns config.json into that
    class's config arguments and raises CheckpointError on anything uncovered. `n_candidates` is the
    number of ids that are tokens (the rest pad the head).
    """

    stock_class: str
    renames: Mapping[str, str]
    stock_config: Callable[[Mapping[str, Any]], dict[str, Any]]
    n_candidates: Callable[[Mapping[str, Any]], int]
    fp32_rope: bool


def refuse_unless(config: Mapping[str, Any], expected: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise CheckpointError if a field of `config` has a value outside `expected` (an absent field
    is fine)."""
    for field, allowed in expected.items():
        if field in config and config[field] not in allowed:
            names = " or ".join(repr(a) for a in allowed)
            raise CheckpointError(
                f"config.json: {field} is {config[field]!r}, but this family is supported with "
                f"{names} only"
            )


def required(config: Mapping[str, Any], field: str, kind: type = int) -> Any:
    """The value of a field that must be there with the right type; raises CheckpointError."""
    value = config.get(field)
    if isinstance(value, bool) and kind is not bool:
        value = None
    if not isinstance(value, (int, float) if kind is float else kind):
        raise CheckpointError(
            f"config.json: {field} must be a {kind.__name__}, got {config.get(field)!r}"
        )
    return value
