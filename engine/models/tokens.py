"""A checkpoint's tokenizer, and the ids of the tokens that decoding knows by name.

The tokenizer is read from tokenizer.json, or from the byte pairs of vocab.json and merges.txt by a
class of transformers that the family names; no code of the checkpoint runs and nothing is asked on
stdin.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..registry import PluginError
from .checkpoint import read_json
from .family import CheckpointError, Family, TokenIds, TokenName, TokenNames, required

BYTE_PAIR_FILES = ("vocab.json", "merges.txt")


def load_tokenizer(directory: Path, family: Family) -> Any:
    """The tokenizer of the checkpoint in `directory`; its `chat_template` is None where it has
    none. Raises CheckpointError, and PluginError where the family names a class that is not there.
    """
    # The class is named outright: AutoTokenizer would ask on stdin whether to run the checkpoint's
    # own code.
    cls = _class_for(directory, family)
    try:
        tokenizer: Any = cls.from_pretrained(
            str(directory), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the tokenizers library raises nothing more particular
        what = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{directory}: its tokenizer cannot be read ({type(error).__name__}: {what}); copy or "
            "download its files again"
        ) from None
    if not tokenizer.chat_template:
        tokenizer.chat_template = None
    return tokenizer


def _class_for(directory: Path, family: Family) -> Any:
    """The class of transformers that reads the files that are there."""
    import transformers

    name = "PreTrainedTokenizerFast"
    if family.byte_pair_tokenizer is None or (directory / "tokenizer.json").is_file():
        read_json(directory / "tokenizer.json")
    else:
        name = family.byte_pair_tokenizer
        _check_byte_pairs(directory)
    read_json(directory / "tokenizer_config.json")
    cls: Any = getattr(transformers, name, None)
    if cls is None:
        raise PluginError(
            f"tokenizer class {name!r} is not in transformers {transformers.__version__}; install "
            "a transformers that has it"
        )
    return cls


def _check_byte_pairs(directory: Path) -> None:
    for name in BYTE_PAIR_FILES:
        if not (directory / name).is_file():
            raise CheckpointError(
                f"{directory / name}: not found; a checkpoint directory needs tokenizer.json, or "
                f"{' and '.join(BYTE_PAIR_FILES)}"
            )
    read_json(directory / "vocab.json")
    try:
        (directory / "merges.txt").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{directory}/merges.txt: not text ({error})") from None


def special_tokens(
    names: TokenNames, config: Mapping[str, Any], tokenizer: Any, directory: Path
) -> TokenIds:
    """The ids of the named tokens in the checkpoint of `directory`.

    Raises CheckpointError where one is missing, where config.json and the tokenizer disagree, or
    where the mask is also the end of sequence or padding.
    """

    mask = _id_of(names.mask, config, tokenizer, directory)
    eos = _id_of(names.eos, config, tokenizer, directory)
    eot = _id_of(names.eot, config, tokenizer, directory)
    pad = _id_of(names.pad, config, tokenizer, directory)
    if mask is None or eos is None:
        raise CheckpointError(f"{directory}: its family names no mask or no end of sequence")
    if mask in (eos, pad):
        raise CheckpointError(
            f"{directory}/{_source(names.mask)} {mask} is also eos or pad; they must differ"
        )
    return TokenIds(mask, eos, eot)


def check_within(ids: TokenIds, n_candidates: int, directory: Path) -> None:
    """Raise CheckpointError where a token lies outside of the model's vocabulary."""
    for called, token_id in ids._asdict().items():
        if token_id is not None and not 0 <= token_id < n_candidates:
            raise CheckpointError(
                f"{directory}: its {called} token is {token_id}, but config.json says that there "
                f"are {n_candidates} tokens; the tokenizer and the weights do not belong together"
            )


def _id_of(
    name: TokenName, config: Mapping[str, Any], tokenizer: Any, directory: Path
) -> int | None:
    """The id that whatever is there agrees on, or None where nothing is and nothing must be."""
    said: dict[str, int] = {}
    configured = _by_key(name, config, directory)
    if configured is not None:
        said[f"config.json says {name.key} {configured}"] = configured
    if name.text is not None:
        token_id = _by_text(name.text, tokenizer)
        if token_id is not None:
            said[f"{_tokenizer_file(directory)} has {name.text} = {token_id}"] = token_id
    if name.published is not None:
        said[f"its family's authors say {name.published}"] = name.published

    if len(set(said.values())) > 1:
        raise CheckpointError(f"{directory}: {', but '.join(said)}")
    for token_id in said.values():
        return token_id
    if name.optional or name.fallback is not None:
        return name.fallback
    raise CheckpointError(
        f"{directory}/{_tokenizer_file(directory)}: has no token {name.text}, which this family "
        "needs"
    )


def _by_key(name: TokenName, config: Mapping[str, Any], directory: Path) -> int | None:
    if name.key is None:
        return None
    value = config.get(name.key)
    if value is None and (name.optional or name.key_optional):
        return None
    if isinstance(value, list) and value:
        value = value[0]
    try:
        return int(required({name.key: value}, name.key))
    except CheckpointError as error:
        raise CheckpointError(f"{directory}/{error}") from None


def _by_text(text: str, tokenizer: Any) -> int | None:
    """The id that the tokenizer gives the token, or None where it has no such token."""
    token_id = tokenizer.convert_tokens_to_ids(text)
    # For what it does not have, a tokenizer gives the id of another token.
    if token_id is None or tokenizer.convert_ids_to_tokens(token_id) != text:
        return None
    return int(token_id)


def _tokenizer_file(directory: Path) -> str:
    whole = "tokenizer.json"
    return whole if (directory / whole).is_file() else "tokenizer_config.json"


def _source(name: TokenName) -> str:
    if name.key is not None:
        return f"config.json: {name.key}"
    return f"tokenizer.json: {name.text}"
