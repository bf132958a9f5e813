"""The packages that a run or an analysis can do without, imported so that a broken one is an absent
one with a reason.

That a package is there says little: numba beside a numpy of the wrong year raises AttributeError,
faiss without CUDA's libraries OSError or RuntimeError. Whoever uses such a package asks here and
has a way without it. Standard library alone, so that the analyses may import this on a laptop.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from types import ModuleType
from typing import NamedTuple

logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """A package as it was met: the module, or None and why. `installed` tells a broken one from an
    absent one."""

    module: ModuleType | None
    installed: bool
    reason: str


def optional_part(name: str, *, instead: str) -> Part:
    """The module `name`. Where it is installed and raises, one warning says what it raised and what
    is done `instead`.

    The first answer holds for the process. Raises nothing that an import raises, save what ends a
    process.
    """
    part = _import(name)
    if part.installed and part.module is None:
        _warn_once(f"{name} is installed but {part.reason}; {instead}")
    return part


def warn_failed_use(name: str, error: Exception, *, instead: str) -> str:
    """Warn once that `name` imported but raised `error` when it was used; returns the sentence, for
    the results."""
    message = f"{name} failed when it was used ({in_short(error)}); {instead}"
    _warn_once(message)
    return message


def in_short(error: BaseException) -> str:
    """`error` in one line: its type and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def forget() -> None:
    """Forget what was imported and warned of, for tests that plant packages."""
    _import.cache_clear()
    _warn_once.cache_clear()


@functools.cache
def _import(name: str) -> Part:
    top = name.partition(".")[0]
    if importlib.util.find_spec(top) is None:
        return Part(None, False, "is not installed")
    try:
        return Part(importlib.import_module(name), True, "")
    except Exception as error:  # whatever a package that does not fit its neighbours raises
        return Part(None, True, f"does not import ({in_short(error)})")


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning(message)
