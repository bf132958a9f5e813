"""A checksum inside a JSON object: whoever reads it back knows whether it is as it was written.

The key `sha256` holds the digest of the other keys. An object without it was written by a version
that kept none and is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

STAMP = "sha256"


def stamped(record: Mapping[str, Any], *, key: str = STAMP) -> dict[str, Any]:
    """The object with its checksum as last key."""
    bare = {name: value for name, value in record.items() if name != key}
    return {**bare, key: _digest(bare)}


def is_intact(record: Mapping[str, Any], *, key: str = STAMP) -> bool:
    """Whether the object agrees with its checksum; True where it carries none."""
    bare = {name: value for name, value in record.items() if name != key}
    return key not in record or record[key] == _digest(bare)


def _digest(record: Mapping[str, Any]) -> str:
    """sha256 of the object as JSON: keys sorted, ASCII, no spaces."""
    text = json.dumps(record, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
