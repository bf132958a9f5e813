"""Values of a record as text, numbers and columns, each refused in words for whoever wrote the
file."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_EXACT_FLOAT = 2.0**53
"""Below it every whole number is a float of its own."""


class RecordError(ValueError):
    """Why a record is not a problem, in words for whoever wrote the file."""


def as_text(value: object, key: str) -> str:
    """`value` itself if it is a string that is text; raises RecordError naming `key`."""
    if not isinstance(value, str):
        raise RecordError(f"`{key}` is a JSON {json_type(value)}, expected a string")
    if not value.strip():
        raise RecordError(f"`{key}` is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise RecordError(
            f"`{key}` holds half a surrogate pair (U+{code:04X}), which is not text"
        ) from None
    return value


def as_scalar(value: object, key: str) -> str:
    """A string or number as a stripped string; a float that is a whole number loses its `.0`.
    Raises RecordError."""
    if isinstance(value, str):
        return as_text(value, key).strip()
    if isinstance(value, Decimal) and value.is_finite():
        return format(value.normalize(), "f")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(
            f"`{key}` is a JSON {json_type(value)}, expected a string, a number or null"
        )
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordError(f"`{key}` is {value}, expected a finite number")
        if value.is_integer() and abs(value) < _EXACT_FLOAT:
            return str(int(value))
        return repr(value)
    return str(value)


def as_column(value: object) -> Any:
    """`value` as JSON can hold it: NaN is null, bytes are their number, dates and decimals are
    text."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_column(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_column(item) for item in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes that were not kept"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def key_names(record: Mapping[str, object]) -> str:
    """The first keys of a record, for a message."""
    return ", ".join(f"`{str(key)[:40]}`" for key in list(record)[:8]) or "none"


def json_type(value: object) -> str:
    """What JSON calls the kind of a value."""
    if isinstance(value, bool):
        return "boolean"
    names = {
        dict: "object",
        list: "list",
        str: "string",
        int: "number",
        float: "number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
