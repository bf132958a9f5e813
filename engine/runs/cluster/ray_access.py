"""Who may reach a Ray: nobody outside this machine and without the token, where it is ours; a
warning, where it is not.

Whoever reaches a Ray may run code as its user. Ours listens on the loopback address alone, where
other users of the machine still are, so each one also has a fresh token in a file that only its
user can read.
"""

from __future__ import annotations

import contextlib
import importlib
import ipaddress
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

TOKEN_BYTES = 32
PROBE_SECONDS = 15.0

LOOPBACK_SETTING = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's name for "other machines may join": on Windows and macOS it is off, and Ray listens on the
loopback address."""

PROBE = (
    "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]); print('let in')"
)
"""A client without a token; Ray raises AuthenticationError where it asks for one."""


class RayNotPrivate(RuntimeError):
    """Ray would listen to other machines or ask for no token; the message says which."""


@contextlib.contextmanager
def private_ray(folder: Path) -> Iterator[None]:
    """While it lasts, a Ray that is started listens on the loopback address and asks for a token of
    its own.

    The token lies in `folder`, which must be this user's alone; its value stands on no command line
    and in no environment. What the environment said before of tokens is put back at the end.
    """
    token = folder / "token"
    descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(TOKEN_BYTES))
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_TOKEN": None}
    with _environment({**settings, LOOPBACK_SETTING: "0"}):
        with _loopback_constant():
            _read_again()
            try:
                yield
            finally:
                token.unlink(missing_ok=True)
    _read_again()


def check_private(ray: Any) -> None:
    """Raise RayNotPrivate unless the Ray that was just started is what `private_ray` is for."""
    address = str(ray.get_runtime_context().gcs_address)
    if not is_loopback(address):
        raise RayNotPrivate(
            f"ray {ray.__version__} listens on {address}, not on the loopback address alone"
        )
    raylet = importlib.import_module("ray._raylet")
    if raylet.get_authentication_mode() != raylet.AuthenticationMode.TOKEN:
        raise RayNotPrivate(f"ray {ray.__version__} asks for no token")


def is_loopback(address: str) -> bool:
    """Whether `HOST:PORT` can be reached from this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def warn_if_open(ray: Any) -> bool:
    """Try the cluster that is connected without a token, and warn loudly if it lets such a client
    in."""
    address = str(ray.get_runtime_context().gcs_address)
    if not lets_strangers_in(address):
        return False
    logger.warning(
        "SECURITY: the Ray cluster at %s asks for no token: whoever reaches its ports can run code "
        "as you. Start it with RAY_AUTH_MODE=token on every machine (docs/cluster.md), or keep its "
        "ports behind a firewall",
        address,
    )
    return True


def lets_strangers_in(address: str) -> bool:
    """Whether the Ray at `HOST:PORT` answers a client that has no token."""
    environment = {}
    for name, value in os.environ.items():
        if not name.startswith("RAY_AUTH_"):
            environment[name] = value
    environment["RAY_AUTH_MODE"] = "disabled"
    return "let in" in _probe(address, environment)


def keeps_us_out(address: str) -> bool:
    """Whether the Ray at `HOST:PORT` wants a token that this process, as its environment is, does
    not show.

    Ray itself would try for half a minute and then say only that it could not connect.
    """
    return "AuthenticationError" in _probe(address, dict(os.environ))


def _probe(address: str, environment: dict[str, str]) -> str:
    """What a client with this environment says of the Ray at `HOST:PORT`."""
    command = [sys.executable, "-P", "-c", PROBE, address]
    try:
        client = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "no answer"
    return client.stdout + client.stderr


def _read_again() -> None:
    """Ray reads mode and token once in a process; a second Ray of this process has another
    token."""
    raylet = importlib.import_module("ray._raylet")
    if not hasattr(raylet, "AuthenticationTokenLoader"):
        raise RayNotPrivate(
            "this version of ray has no token authentication; install ray 2.60 or newer"
        )
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _loopback_constant() -> Iterator[None]:
    """The setting is read when Ray is imported, which may have been long ago."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
