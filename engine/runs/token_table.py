"""Who keeps tokens.json: the table grows with the shards, workers' tables come together, a lost one
is made anew.

What the file looks like stands in `store/read/tokens.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..store import DamagedRun, open_run
from ..store.disk import replace_content
from ..store.format.schema import VARIABLES
from ..store.read.tokens import TOKENS, is_lost, read_tokens, tokens_content

logger = logging.getLogger(__name__)

WITH_TOKENS = tuple(name for name, row in VARIABLES.items() if row.is_token_id)


class TokenTable:
    """The texts of all token ids that occur in the shards one process writes, kept in one file."""

    def __init__(self, path: Path, text: Callable[[int], str], *, run_id: str) -> None:
        """Goes on with what is at `path`; DamagedRun if that is not as it was written."""
        self._path = path
        self._text_of = text
        self._run_id = run_id
        self._text = read_tokens(path, run_id=run_id)
        self._saved = len(self._text)

    def add(self, columns: Mapping[str, Any]) -> None:
        """Note the ids that occur in a shard's columns."""
        for name in WITH_TOKENS:
            for token in np.unique(columns[name]) if name in columns else ():
                if token >= 0 and str(token) not in self._text:
                    self._text[str(token)] = self._text_of(int(token))

    def save(self) -> None:
        """Write the file if it has grown. Raises StorageError."""
        if len(self._text) == self._saved:
            return
        _write(self._path, self._text, self._run_id)
        self._saved = len(self._text)


def settle_tokens(out: Path, text: Callable[[int], str], *, run_id: str) -> None:
    """Bring the workers' tables together in tokens.json and delete them; make a lost or damaged one
    anew.

    Only while no worker writes. Raises StorageError.
    """
    parts = sorted(out.glob("tokens-*.json"))
    try:
        if is_lost(out):
            raise DamagedRun(f"{out / TOKENS} is missing")
        known: dict[str, str] = {}
        for path in (out / TOKENS, *parts):
            known |= read_tokens(path, run_id=run_id)
    except DamagedRun as error:
        logger.warning("%s: written anew from the shards", error)
        known = {str(token): text(token) for token in _ids_in_shards(out)}
        _write(out / TOKENS, known, run_id)
    if parts:
        _write(out / TOKENS, known, run_id)
    for path in parts:
        path.unlink(missing_ok=True)


def _write(path: Path, texts: Mapping[str, str], run_id: str) -> None:
    replace_content(path, tokens_content(texts, run_id=run_id))


def _ids_in_shards(out: Path) -> Iterable[int]:
    found: set[int] = set()
    with open_run(out) as run:
        names = [name for name in WITH_TOKENS if name in run]
        for block in run.blocks(names):
            for name in names:
                found.update(np.unique(block[name]).tolist())
    return sorted(token for token in found if token >= 0)
