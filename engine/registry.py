"""Tables of things by name: policies, families, metrics, estimators, panels, commands.

A row is `"llada": "diffengine.engine.policies.llada:LLaDAPolicy"`; nothing is imported until its
row is asked for. Adding a thing of ours is one file and one row. Strangers need no row: an
installed package offers its things through Python entry points; `module:attribute` names a thing
outright.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

OURS = "diffengine"


class UnknownNameError(KeyError):
    """A name that is not in the table; the message lists the names and the nearest one."""

    def __str__(self) -> str:
        return str(self.args[0])


class PluginError(ValueError):
    """Code from outside that cannot be used; the message says whose and why."""


class Row(NamedTuple):
    """One thing: where it is (`module:attribute`), which package brought it, in which version.

    A module that belongs to no installed package has `package` "" and the beginning of its file's
    sha256 for a version, so that a run still says which code it used.
    """

    name: str
    target: str
    package: str
    version: str


class Plugin(TypedDict):
    """What a run or an analysis keeps of a thing that is not ours: which, where it was found, and
    whose it is, in which version."""

    kind: str
    name: str
    target: str
    package: str
    version: str


class Registry(Mapping[str, str]):
    """A table of `name -> "module:attribute"` for one kind of thing.

    `kind`: what one of them is called in messages. `group`: the entry points that add to the table,
    such as "diffengine.policies"; without it nobody else can.
    """

    def __init__(self, kind: str, rows: Mapping[str, str], *, group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._ours = dict(rows)
        self._all: dict[str, Row] | None = None

    def __getitem__(self, name: str) -> str:
        return self.row(name).target

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, name: str) -> Row:
        """What is known of `name`, which may be a `module:attribute`.

        Raises UnknownNameError, PluginError (no such module or attribute).
        """
        if name not in self._rows and ":" in name and self.group is not None:
            _import(self.kind, name)
            return _row_of_module(name)
        if name not in self._rows:
            raise UnknownNameError(
                f"no {self.kind} is called {name!r}; there are: "
                f"{', '.join(self._rows)}.{nearest(name, self._rows)}"
            )
        return self._rows[name]

    def plugin(self, row: Row) -> Plugin:
        """The record of a thing of this table that is not ours."""
        return Plugin(
            kind=self.kind,
            name=row.name,
            target=row.target,
            package=row.package,
            version=row.version,
        )

    def load(self, name: str) -> Any:
        """Import and return what `name` stands for, or what `module:attribute` names outright.

        Raises UnknownNameError, PluginError.
        """
        row = self.row(name)
        if row.package == OURS:
            module, _, attribute = row.target.partition(":")
            return getattr(importlib.import_module(module), attribute)
        return _import(self.kind, row.target)

    @property
    def _rows(self) -> dict[str, Row]:
        if self._all is None:
            self._all = self._read()
        return self._all

    def _read(self) -> dict[str, Row]:
        version = _version(OURS)
        rows = {name: Row(name, target, OURS, version) for name, target in self._ours.items()}
        if self.group is None:
            return rows

        from importlib import metadata  # not at the start: every command would wait for it

        for point in metadata.entry_points(group=self.group):
            package = point.dist.name if point.dist else ""
            if point.name in rows:
                other = rows[point.name].package
                raise PluginError(
                    f"two packages name a {self.kind} {point.name!r}: {other} and {package}; "
                    "uninstall one of them, or name the thing as module:attribute"
                )
            rows[point.name] = Row(point.name, point.value, package, _version(package))
        return rows


def nearest(name: str, known: Iterable[str]) -> str:
    """The sentence "Did you mean 'x'?" with a space before it, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _import(kind: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # a stranger's module may raise anything while it is imported
        raise PluginError(
            f"{kind} {target!r}: module {module!r} cannot be imported ({type(error).__name__}: "
            f"{error}); install its package or set PYTHONPATH"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise PluginError(f"{kind} {target!r}: module {module!r} has no {attribute!r}")
        found = getattr(found, part)
    return found


def _row_of_module(target: str) -> Row:
    module, _, _ = target.partition(":")
    if module.partition(".")[0] == OURS:
        return Row(target, target, OURS, _version(OURS))
    from importlib import metadata

    packages = metadata.packages_distributions().get(module.partition(".")[0], [])
    if packages:
        return Row(target, target, packages[0], _version(packages[0]))
    file = getattr(importlib.import_module(module), "__file__", None)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    return Row(target, target, "", f"sha256:{digest[:12]}")


def _version(package: str) -> str:
    if package == OURS:
        from .. import __version__

        return __version__
    from importlib import metadata

    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        # ValueError: an entry point of a package without a name
        return ""
