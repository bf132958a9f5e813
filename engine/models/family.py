"""What a model family says of itself: all that loading, prompting and decoding need to know of it.

A family names a stock transformers class, translates config.json into that class's arguments and
the checkpoint's tensor names into its names, and refuses every config value that the translation
does not cover. Nothing else in the engine names a family's tensors, tokens or config keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..registry import PluginError, Row

ATTENTIONS = ("full", "blocks")
"""Kinds of attention that the engine runs: "full" lets every token of a row see the whole row;
"blocks" lets it see its own block and those before, as the family's `Blocks` say."""

READ_OFFSETS = (0, -1)
"""Where a prediction may stand: at its own position, or at the one before."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded as it is; the message names the file, the field and what
    to do."""


class TokenIds(NamedTuple):
    """The ids that decoding needs to know by name. `eot` is None in families without an end-of-turn
    token."""

    mask: int
    eos: int
    eot: int | None


@dataclass(frozen=True)
class TokenName:
    """Where a checkpoint says which id a token has: under `key` of config.json, or as the token
    `text` of its tokenizer; `published` is the id that the family's authors name outside of both.

    Whatever is there must agree. Of several ids in config.json the first counts. An absent key is
    refused unless `key_optional` or `optional`, an id that is nowhere unless `optional`, or unless
    there is a `fallback`: what the published code takes where the checkpoint says nothing.
    """

    key: str | None = None
    text: str | None = None
    optional: bool = False
    key_optional: bool = False
    published: int | None = None
    fallback: int | None = None


@dataclass(frozen=True, kw_only=True)
class TokenNames:
    """Where the special tokens are found: mask, end of sequence, end of turn, padding."""

    mask: TokenName
    eos: TokenName
    eot: TokenName = TokenName(optional=True)
    pad: TokenName = TokenName(optional=True)


@dataclass(frozen=True)
class Stacked:
    """Stock tensors, one a layer, that each stack matrices of the checkpoint: of every expert one
    or more, the latter under each other.

    `stock` ends the stock tensor's name; `parts` end the names of the matrices, with {} for the
    expert's number.
    """

    stock: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """Tensors of the checkpoint, one a layer, that are several stock tensors under each other.

    `whole` ends the checkpoint's name after the renames, `parts` those of the stock tensors, in the
    order of their rows.
    """

    whole: str
    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """How a family that attends block by block counts its blocks, and what their tokens see.

    Generation goes from block to block. The block at work is open: its tokens see each other and
    all before them, and nothing sees what comes behind it. Blocks that are full do not change any
    more, so their keys and values can be kept.
    """

    length: int
    """Tokens of a block where the checkpoint does not say."""

    keys: tuple[str, ...] = ()
    """Where config.json may say it."""

    from_prompt_end: bool = False
    """Whether the prompt's end is a border between blocks. Else they are counted from the prompt's
    first token, and the first block that is generated may begin with the prompt's last tokens."""

    whole_last: bool = True
    """Whether the last block is as long as the others; what it has beyond `gen_length` is decoded
    and not kept. Else it ends with `gen_length`."""

    causal_context: bool = False
    """Whether a token of the prompt or of a full block sees only those before it, not the rest of
    its own block."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One model family."""

    stock_class: str
    """Name of a class of `transformers`."""

    stock_config: Callable[[Mapping[str, Any]], dict[str, Any]]
    """From config.json to arguments of the stock class's config; raises CheckpointError on a value
    that is not covered."""

    renames: Mapping[str, str]
    """Regular expressions over the checkpoint's tensor names, with what each becomes on the way to
    the stock class's names; applied in this order."""

    n_candidates: Callable[[Mapping[str, Any]], int]
    """From config.json to the number of ids that are tokens; rows of the head beyond them pad it.
    """

    tokens: TokenNames
    """Where the special tokens are found."""

    read_offset: int = 0
    """The prediction of position p is read at position p + read_offset: 0, or -1 for a family whose
    predictions stand one position before their token."""

    attention: str = "full"
    """Which tokens see each other, one of `ATTENTIONS`."""

    blocks: Blocks | None = None
    """Of a family whose attention is "blocks"."""

    tied: tuple[str, ...] = ("lm_head.weight",)
    """Stock names of the tensors that repeat the embedding where the stock config says
    `tie_word_embeddings`; a checkpoint may leave them out."""

    stacked: tuple[Stacked, ...] = ()
    """Which stock tensors stack matrices of the checkpoint, in a mixture of experts; the names of
    the matrices are compared after `renames`."""

    split: tuple[Split, ...] = ()
    """Which tensors of the checkpoint are several stock tensors."""

    adapted: Callable[[Any], Any] | None = None
    """Of the stock class's network, one whose `model` gives the states that its `lm_head.weight`
    projects, where those of the stock class do not."""

    forward: Callable[[Any], Any] | None = None
    """The `engine.models.forward.Forward` of such a network; chosen by the layers where none is
    named."""

    float32_rope: bool = False
    """Whether the rotations stay in float32 in a model of another dtype."""

    chat_template: str | None = None
    """The jinja2 text that makes prompts for checkpoints without a chat template of their own."""

    policy: str = "llada"
    """The sampler that its authors publish with it, by its name in `POLICIES`: what a run decodes
    with when nobody names a policy."""

    template_variables: Mapping[str, Any] = field(default_factory=dict)
    """What a chat template is told besides messages and special tokens, as the family's own sampler
    tells it."""

    byte_pair_tokenizer: str | None = None
    """Name of the class of `transformers` that reads vocab.json and merges.txt, for checkpoints
    without tokenizer.json."""

    harmless: frozenset[str] = frozenset()
    """Keys of config.json that `stock_config` passes over because they change nothing in inference;
    of others that it passes over the user is told."""

    kind: Callable[[Path, Mapping[str, Any]], Family] | None = None
    """Where checkpoints of one architecture are of several kinds: the family of the kind that the
    checkpoint in a directory is, with this config.json. Raises CheckpointError where what is there
    contradicts itself."""

    refuse: Callable[[Path, Mapping[str, Any]], None] | None = None
    """Raises CheckpointError where the directory's name or its other files say that the checkpoint
    of this config.json is none of this family's."""


def checked_family(thing: object, row: Row) -> Family:
    """`thing`, which the table of families has in `row`, if it is a family that can be run.

    Raises PluginError naming the package and what is wrong.
    """
    what = f"model architecture {row.name!r} ({row.target}, {row.package or 'no package'})"
    if not isinstance(thing, Family):
        raise PluginError(
            f"{what} is a {type(thing).__name__}, expected a "
            "diffengine.engine.models.family.Family; make it one"
        )
    if thing.attention not in ATTENTIONS:
        raise PluginError(
            f"{what} has attention {thing.attention!r}, expected {_either(ATTENTIONS)}; other "
            "kinds are not run yet"
        )
    if (thing.attention == "blocks") != isinstance(thing.blocks, Blocks):
        raise PluginError(
            f"{what} has attention {thing.attention!r} and blocks {thing.blocks!r}; expected "
            "Blocks(...) where, and only where, attention is 'blocks'"
        )
    if thing.read_offset not in READ_OFFSETS:
        raise PluginError(
            f"{what} has read_offset {thing.read_offset!r}, expected {_either(READ_OFFSETS)}"
        )
    if not isinstance(thing.policy, str):
        raise PluginError(f"{what} has policy {thing.policy!r}, expected the name of one")
    for called, name in (("mask", thing.tokens.mask), ("eos", thing.tokens.eos)):
        if name.optional or (name.key, name.text, name.published) == (None, None, None):
            raise PluginError(
                f"{what} does not say where its {called} is found; give TokenName a key or a "
                "text, not optional"
            )
    return thing


def refuse_unless(config: Mapping[str, Any], expected: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise CheckpointError if a field of `config` has a value outside `expected` (an absent field
    is fine)."""
    for key, allowed in expected.items():
        if key in config and config[key] not in allowed:
            raise CheckpointError(
                f"config.json: {key} is {config[key]!r}, but this family is supported with "
                f"{_either(allowed)} only"
            )


def required(config: Mapping[str, Any], field: str, kind: type = int) -> Any:
    """The value of a field that must be there with the right type; raises CheckpointError."""
    value = config.get(field)
    if isinstance(value, bool) and kind is not bool:
        value = None
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted):
        raise CheckpointError(
            f"config.json: {field} must be a {kind.__name__}, got {config.get(field)!r}"
        )
    return value


def _either(values: tuple[Any, ...]) -> str:
    return " or ".join(repr(value) for value in values)
