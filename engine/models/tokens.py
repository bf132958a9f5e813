"""A checkpoint's tokenizer, and the ids of the tokens that decoding knows by name.

The tokenizer is read from tokenizer.json; no code of the checkpoint runs and nothing is asked on
stdin.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoint import read_json
from .family import CheckpointError, TokenIds, TokenName, TokenNames, required


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of the checkpoint in `directory`; its `chat_template` is None where it has
    none. Raises CheckpointError."""
    from transformers import PreTrainedTokenizerFast

    for name in ("tokenizer.json", "tokenizer_config.json"):
        read_json(directory / name)
    # The class is named outright: AutoTokenizer would ask on stdin whether to run the checkpoint's
    # own code.
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(
        str(directory), local_files_only=True, trust_remote_code=False
    )
    if not tokenizer.chat_template:
        tokenizer.chat_template = None
    return tokenizer


def special_tokens(
    names: TokenNames, config: Mapping[str, Any], tokenizer: Any, directory: Path
) -> TokenIds:
    """The ids of the named tokens in the checkpoint of `directory`.

    Raises CheckpointError where one is missing, where config.json and tokenizer.json disagree, or
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


def _id_of(
    name: TokenName, config: Mapping[str, Any], tokenizer: Any, directory: Path
) -> int | None:
    configured = _by_key(name, config, directory)
    if name.text is None:
        return configured
    return _by_text(name, configured, tokenizer, directory)


def _by_key(name: TokenName, config: Mapping[str, Any], directory: Path) -> int | None:
    if name.key is None:
        return None
    if name.optional and config.get(name.key) is None:
        return None
    try:
        return int(required(config, name.key))
    except CheckpointError as error:
        raise CheckpointError(f"{directory}/{error}") from None


def _by_text(
    name: TokenName, configured: int | None, tokenizer: Any, directory: Path
) -> int | None:
    """The id that the tokenizer gives the token, which must be the configured one if there is
    one."""
    token_id = tokenizer.convert_tokens_to_ids(name.text)
    if token_id == tokenizer.unk_token_id:
        token_id = None
    if token_id is None:
        if configured is None and not name.optional:
            raise CheckpointError(
                f"{directory}/tokenizer.json: has no token {name.text}, which this family needs"
            )
        return configured
    if configured not in (None, token_id):
        raise CheckpointError(
            f"{directory}: config.json says {name.key} {configured}, but tokenizer.json has "
            f"{name.text} = {token_id}"
        )
    return int(token_id)


def _source(name: TokenName) -> str:
    if name.key is not None:
        return f"config.json: {name.key}"
    return f"tokenizer.json: {name.text}"
