"""tokens.json: the text of every token id that occurs in a run, so that neither report nor analysis
needs a tokenizer.

One JSON object from id to text; beside the ids it has `run_id` and its checksum (see `stamp`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import DamagedRun
from ..format.stamp import STAMP, is_intact, stamped
from ..write.shard import shards_dir
from .run import read_info

TOKENS = "tokens.json"

RUN_ID = "run_id"
_RESTORE = "copy it again, or let the same `diffengine run` command make it anew"


def read_tokens(path: Path, *, run_id: str | None = None) -> dict[str, str]:
    """Texts by token id (a decimal string); empty where there is no such file.

    Raises DamagedRun if the file is not as it was written, or belongs to another run than `run_id`.
    """
    try:
        record = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DamagedRun(f"{path} is damaged: {error}; {_RESTORE}") from error
    if (
        not isinstance(record, dict)
        or not is_intact(record)
        or (RUN_ID in record and STAMP not in record)
    ):
        raise DamagedRun(f"{path} is damaged: its content is not that of its checksum; {_RESTORE}")
    if run_id is not None and record.get(RUN_ID, run_id) != run_id:
        raise DamagedRun(
            f"{path} belongs to the run {record[RUN_ID]}, this one is {run_id}; {_RESTORE}"
        )
    return {key: str(text) for key, text in record.items() if key.isdecimal()}


def run_tokens(run_dir: Path) -> dict[str, str]:
    """The texts of a run's tokens; empty where an old run, or one without a shard, keeps none.

    Raises DamagedRun if the file is damaged, of another run, or lost.
    """
    info = read_info(run_dir) if (run_dir / "run.json").is_file() else {}
    path = run_dir / TOKENS
    if info.get("has_tokens") and not path.exists() and is_lost(run_dir):
        raise DamagedRun(f"{path} is missing; {_RESTORE}")
    return read_tokens(path, run_id=info.get(RUN_ID))


def is_lost(run_dir: Path) -> bool:
    """Whether shards are there and no table of tokens, not even one of a worker at work."""
    return any(shards_dir(run_dir).glob("*.h5")) and not any(run_dir.glob("tokens*.json"))


def tokens_content(texts: Mapping[str, str], *, run_id: str) -> bytes:
    """The bytes of the file."""
    record = stamped({**texts, RUN_ID: run_id})
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")
