"""A journal of likelihoods, from which a stopped command goes on.

One line of CSV for each problem, flushed to the disk before the next begins; an HDF5 file of the
same when all are done.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from ..config import ConfigError
from ..store.counts import count_text
from ..store.disk import replace_file, storage_error, write_all, write_file
from ..store.errors import DamagedRun
from ..store.format.stamp import is_intact, stamped
from .line import Line, csv_row, hdf5_image, header, is_header, line_of

logger = logging.getLogger(__name__)


class Journal:
    """`<name>.csv` in a directory, with its settings in `<name>.json`; one process at a time (the
    caller's lock)."""

    def __init__(self, directory: Path, name: str, settings: dict[str, Any]) -> None:
        """Begin, or go on with what is there. ConfigError where it was made with other settings."""
        self.path = directory / f"{name}.csv"
        self._hdf5 = directory / f"{name}.h5"
        self._settings = settings
        _keep_settings(directory / f"{name}.json", settings)
        self.lines = _whole_lines(self.path)
        _replace(self.path, _csv(self.lines))

    def add(self, line: Line) -> None:
        """Append one line; it is on the disk when this returns."""
        row = csv_row(line).encode()
        try:
            self._append(row)
        except OSError as error:
            raise storage_error(error, self.path, needed=len(row)) from error
        self.lines.append(line)

    def _append(self, row: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            write_all(descriptor, row)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def finish(self) -> Path:
        """Write the HDF5 file of all lines, in the order of the problems, whole or not at all;
        returns its path."""
        in_order = sorted(self.lines, key=lambda line: line.place)
        _replace(self._hdf5, hdf5_image(in_order, self._settings))
        return self._hdf5


def _replace(path: Path, content: bytes) -> None:
    replace_file(path, lambda temporary: write_file(temporary, content))


def _keep_settings(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings, or compare them with those that are there; ConfigError where they
    differ."""
    if not path.exists():
        content = json.dumps(stamped(settings), indent=2, ensure_ascii=False) + "\n"
        _replace(path, content.encode())
        return
    stored = _settings_in(path)
    other = [
        f"{key}: {stored.get(key)!r} there, {value!r} now"
        for key, value in settings.items()
        if stored.get(key) != value
    ]
    if other:
        raise ConfigError(
            f"{path}: made with other settings ({'; '.join(other)}); give another --out"
        )


def _settings_in(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text("utf-8"))
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or not is_intact(settings):
        raise DamagedRun(
            f"{path} is damaged; move it and {path.stem}.csv away, or give another --out"
        )
    return settings


def _whole_lines(path: Path) -> list[Line]:
    """The lines of a journal; one that is damaged, or that a crash cut short, is dropped and
    measured again."""
    if not path.exists():
        return []
    text = path.read_bytes().decode("utf-8", "replace")
    whole = text[: text.rfind("\n") + 1]
    rows = whole.split("\n")[:-1]
    if not rows or not is_header(rows[0]):
        raise ConfigError(f"{path}: not a file of likelihoods; move it away or give another --out")

    lines: dict[str, Line] = {}
    dropped = 0
    for row in rows[1:]:
        line = line_of(row)
        if line is None:
            dropped += 1
        else:
            lines[line.problem_id] = line
    if dropped:
        lines_text = count_text(dropped, "damaged line")
        logger.warning("%s: %s measured again", path, lines_text)
    return list(lines.values())


def _csv(lines: list[Line]) -> bytes:
    rows = "".join(csv_row(line) for line in lines)
    return (header() + rows).encode()
