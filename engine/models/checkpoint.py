"""Look at a checkpoint directory before anything is loaded: config, tensors' names and shapes,
whole files.

Reads safetensors headers by itself, so a truncated or foreign file is one clear message instead of
a crash halfway. Never imports or executes anything from the directory. Knows no model family.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .family import CheckpointError

SAMPLE_BYTES = 1 << 20
SAMPLE_EVERY = 1 << 26


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
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise CheckpointError(f"{index}: has no weight_map")
        files = [directory / name for name in sorted(set(weight_map.values()))]
    else:
        files = [directory / "model.safetensors"]
    for file in files:
        if not file.is_file():
            pickled = any(directory.glob("*.bin"))
            hint = (
                "; pickled *.bin weights are not read, convert them to safetensors"
                if pickled
                else ""
            )
            raise CheckpointError(f"{file}: not found{hint}")
    return files


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
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > size - 8:
            raise CheckpointError(
                f"{file}: truncated or not safetensors: {size} bytes, header says {length}"
            )
        try:
            header = json.loads(stream.read(length))
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise CheckpointError(
                f"{file}: not a safetensors file (its header is not JSON)"
            ) from None
    header.pop("__metadata__", None)
    end = max((info["data_offsets"][1] for info in header.values()), default=0)
    if 8 + length + end != size:
        raise CheckpointError(
            f"{file}: truncated: {size} bytes on disk, {8 + length + end} expected; copy or "
            "download it again"
        )
    return header


def check_tensors(
    entries: Mapping[str, TensorEntry],
    expected: Mapping[str, tuple[int, ...]],
    renames: Mapping[str, str],
) -> None:
    """Compare renamed checkpoint tensors with the stock model's; raises CheckpointError with every
    difference."""
    found = {rename(name, renames): (name, entry) for name, entry in entries.items()}
    wrong = []
    for name, shape in expected.items():
        if name not in found:
            wrong.append(f"missing tensor {original_name(name, renames)} (needed as {name})")
        elif found[name][1].shape != shape:
            source, entry = found[name]
            wrong.append(
                f"{entry.file.name}: {source} has shape {list(entry.shape)}, config.json implies "
                f"{list(shape)}"
            )
    wrong += [
        f"{e.file.name}: unexpected tensor {s}" for n, (s, e) in found.items() if n not in expected
    ]
    if wrong:
        more = f"\n  ... and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        directory = next(iter(entries.values())).file.parent if entries else "the checkpoint"
        raise CheckpointError(
            f"{directory}: the tensors do not fit config.json:\n  " + "\n  ".join(wrong[:10]) + more
        )


def rename(name: str, renames: Mapping[str, str]) -> str:
    """The stock name of a checkpoint tensor."""
    for pattern, replacement in renames.items():
        name = re.sub(pattern, replacement, name)
    return name


def original_name(name: str, renames: Mapping[str, str]) -> str:
    """A checkpoint name that `rename` maps to `name`, by undoing the literal parts of the
    patterns."""
    for pattern, replacement in renames.items():
        if "(" in pattern:
            name = re.sub(r"\.self_attn\.([qkv]_proj)\.", r".\1.", name)
            continue
        literal = pattern.removeprefix("^").replace("\\", "")
        if pattern.startswith("^"):
            name = (
                literal + name.removeprefix(replacement) if name.startswith(replacement) else name
            )
        else:
            name = name.replace(replacement, literal)
    return name


def fingerprint(directory: Path, files: list[Path]) -> str:
    """A sha256 over config, tokenizer, file sizes and 1 MiB out of every 64 MiB of the weights:
    fast at 16 GB."""
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        path = directory / name
        digest.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as stream:
            for start in range(0, size, SAMPLE_EVERY):
                stream.seek(start)
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()
