"""Look at a checkpoint directory before anything is loaded: config, tensors' names and shapes,
whole files.

Reads safetensors headers by itself, so a truncated or foreign file is one clear message instead of
a crash halfway. Never imports or executes anything from the directory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..store.counts import count_text
from .family import CheckpointError

SAMPLE_BYTES = 1 << 20
SAMPLE_EVERY = 1 << 26
"""Of the weights, the fingerprint reads so many bytes out of so many."""

SOMETIMES_THERE = (
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
"""Files beside the tokenizer's own that decide how text becomes tokens; without them a checkpoint
keeps the fingerprint that it had before they counted."""

SHOWN = 10
"""Differences between tensors and config.json that a message lists."""


class TensorEntry(NamedTuple):
    """Where a tensor lies and what shape it has."""

    file: Path
    shape: tuple[int, ...]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of the checkpoint; raises CheckpointError naming the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: not found; a checkpoint directory needs {path.name}"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a checkpoint, sharded or not; raises CheckpointError."""
    files = [directory / name for name in _weight_names(directory)]
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{file}: not found{_pickle_hint(directory)}")
    return files


def _weight_names(directory: Path) -> list[str]:
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{index}: has no weight_map")
    return sorted(set(weight_map.values()))


def _pickle_hint(directory: Path) -> str:
    if not any(directory.glob("*.bin")):
        return ""
    return "; pickled *.bin weights are not read, convert them to safetensors"


def tensor_entries(files: list[Path]) -> dict[str, TensorEntry]:
    """Every tensor in the files, from their headers alone; raises CheckpointError on a truncated or
    foreign file."""
    entries: dict[str, TensorEntry] = {}
    for file in files:
        for name, info in _header(file).items():
            if name in entries:
                raise CheckpointError(f"{file}: tensor {name} is also in {entries[name].file.name}")
            entries[name] = TensorEntry(file, tuple(info["shape"]))
    return entries


def _header(file: Path) -> dict[str, Any]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = _header_length(stream, file, size)
        content = stream.read(length)
    try:
        header: dict[str, Any] = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise CheckpointError(f"{file}: not a safetensors file (its header is not JSON)") from None

    header.pop("__metadata__", None)
    end = max((info["data_offsets"][1] for info in header.values()), default=0)
    expected = 8 + length + end
    if expected != size:
        raise CheckpointError(
            f"{file}: truncated: {count_text(size, 'byte')} on disk, {expected} expected; copy or "
            "download it again"
        )
    return header


def _header_length(stream: BinaryIO, file: Path, size: int) -> int:
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > size - 8:
        raise CheckpointError(
            f"{file}: truncated or not safetensors: {count_text(size, 'byte')}, header says "
            f"{length}"
        )
    return length


def check_tensors(
    entries: Mapping[str, TensorEntry],
    expected: Mapping[str, tuple[int, ...]],
    renames: Mapping[str, str],
) -> None:
    """Compare renamed checkpoint tensors with the stock model's; raises CheckpointError with every
    difference."""
    sources: dict[str, str] = {}
    wrong = []
    for name in entries:
        stock = rename(name, renames)
        if stock in sources:
            wrong.append(f"tensors {sources[stock]} and {name} are both needed as {stock}")
        sources[stock] = name
    for name, shape in expected.items():
        if name not in sources:
            wrong.append(f"missing tensor {original_name(name, renames)} (needed as {name})")
            continue
        source = sources[name]
        entry = entries[source]
        if entry.shape != shape:
            wrong.append(
                f"{entry.file.name}: {source} has shape {list(entry.shape)}, config.json implies "
                f"{list(shape)}"
            )
    for name, source in sources.items():
        if name not in expected:
            wrong.append(f"{entries[source].file.name}: unexpected tensor {source}")
    if wrong:
        raise CheckpointError(_differences(wrong, entries))


def _differences(wrong: list[str], entries: Mapping[str, TensorEntry]) -> str:
    directory: Path | str = "the checkpoint"
    if entries:
        directory = next(iter(entries.values())).file.parent
    lines = [f"{directory}: the tensors do not fit config.json:", *wrong[:SHOWN]]
    if len(wrong) > SHOWN:
        lines.append(f"... and {len(wrong) - SHOWN} more")
    return "\n  ".join(lines)


def rename(name: str, renames: Mapping[str, str]) -> str:
    """The stock name of a checkpoint tensor."""
    for pattern, replacement in renames.items():
        name = re.sub(pattern, replacement, name)
    return name


def original_name(name: str, renames: Mapping[str, str]) -> str:
    """The checkpoint's name of the stock tensor `name`: `rename` undone, from its last pattern to
    its first.

    Only patterns that stand for one text, perhaps at the beginning of a name, can be undone; others
    are passed over.
    """
    for pattern, replacement in reversed(list(renames.items())):
        body = pattern.removeprefix("^")
        literal = re.sub(r"\\(.)", r"\1", body)
        if re.escape(literal) != body:
            continue
        if not pattern.startswith("^"):
            name = name.replace(replacement, literal)
        elif name.startswith(replacement):
            name = literal + name.removeprefix(replacement)
    return name


def fingerprint(directory: Path, files: list[Path]) -> str:
    """A sha256 over config, tokenizer, file sizes and 1 MiB out of every 64 MiB of the weights:
    fast at 16 GB."""
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        path = directory / name
        digest.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
    for name in SOMETIMES_THERE:
        path = directory / name
        if path.is_file():
            digest.update(name.encode() + path.read_bytes())
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as stream:
            for start in range(0, size, SAMPLE_EVERY):
                stream.seek(start)
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()
