"""Ray for the length of a run: a private one on this machine or a cluster that is there; quiet,
offline, cleaned up.

What a killed command leaves in the temporary directory goes with the next start. Ray is imported
only here and in ray_access.py, which says who may reach it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...store.counts import count_text
from ...store.process import this_process
from .ray_access import RayNotPrivate, check_private, keeps_us_out, private_ray, warn_if_open

logger = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 80 << 20
SHORT_PATH = 18
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
LOGGING: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


class ClusterError(RuntimeError):
    """The workers that were asked for cannot be had; the message says why."""


@contextlib.contextmanager
def started_ray(address: str | None, *, workers: int, gpu: bool) -> Iterator[Any]:
    """Ray with a device for each of `workers`: its own on this machine, or the cluster at
    `address`.

    Its own listens on the loopback address alone and asks for a token; a cluster that asks for none
    is warned of. Raises ClusterError if it cannot be had or has too few devices.
    """
    ray = _import_ray()
    if address is not None and ":" in address and keeps_us_out(address):
        raise ClusterError(_token_wanted(address))

    with contextlib.ExitStack() as stack:
        stack.enter_context(_raylet_lines_to_the_log(ray))
        with _refusals_as_sentences(ray, address):
            if address is None:
                _start_private(ray, stack, workers=workers, gpu=gpu)
            else:
                stack.callback(ray.shutdown)
                ray.init(address=address, include_dashboard=None, **LOGGING)
                warn_if_open(ray)
        _check_devices(ray, workers, "GPU" if gpu else "CPU")
        yield ray


def _import_ray() -> Any:
    """Ray, told to be quiet before it looks. Raises ClusterError where it cannot be imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except Exception as error:  # absent, or beside a package that does not fit it
        raise ClusterError(
            f"several workers need the package ray, whose import gives {type(error).__name__}: "
            f"{error}; type `pip install ray`, or run on one device"
        ) from error
    return ray


@contextlib.contextmanager
def _refusals_as_sentences(ray: Any, address: str | None) -> Iterator[None]:
    """Whatever Ray raises where it cannot be started or reached, as a ClusterError."""
    try:
        yield
    except RayNotPrivate as error:
        raise ClusterError(f"Ray on this machine is not used: {error}") from error
    except ray.exceptions.AuthenticationError as error:
        raise ClusterError(_token_wanted(address)) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the cluster at {address}" if address else "Ray on this machine"
        raise ClusterError(
            f"cannot reach or start {where}: {error}; check it with `ray status`"
        ) from error


def _start_private(ray: Any, stack: contextlib.ExitStack, *, workers: int, gpu: bool) -> None:
    """Start a Ray of this run's own; `stack` ends it and removes its folder."""
    folder = Path(stack.enter_context(_folder()))
    stack.enter_context(private_ray(folder))
    stack.callback(ray.shutdown)
    ray.init(
        address="local",
        num_cpus=workers,
        num_gpus=workers if gpu else 0,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(folder / "r"),
        **LOGGING,
    )
    check_private(ray)


def _check_devices(ray: Any, workers: int, kind: str) -> None:
    offered = int(ray.cluster_resources().get(kind, 0))
    if offered < workers:
        raise ClusterError(
            f"--workers {workers} needs {count_text(workers, kind)}, but the cluster offers "
            f"{offered}; ask for {offered} or fewer"
        )


def _token_wanted(address: str | None) -> str:
    return (
        f"the cluster at {address} asks for a token: set RAY_AUTH_MODE=token and have the "
        "cluster's token in ~/.ray/auth_token (or in a file that RAY_AUTH_TOKEN_PATH names); see "
        "docs/cluster.md"
    )


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    # The path of a socket lies below it, and a socket's path has at most 107 bytes. Ray opens the
    # folder that it is given to everybody; this one, around it, is this user's alone.
    short = tempfile.gettempdir() if len(tempfile.gettempdir()) < SHORT_PATH else "/tmp"
    sweep_folders(Path(short))
    prefix = f"de-ray-{os.getpid()}-"
    with tempfile.TemporaryDirectory(
        prefix=prefix, dir=short, ignore_cleanup_errors=True
    ) as folder:
        yield folder


def sweep_folders(parent: Path) -> list[Path]:
    """Delete the folders of Ray that killed commands of this user left in `parent`; returns
    them."""
    swept = []
    for path in parent.glob("de-ray-*-*"):
        match = re.fullmatch(r"de-ray-(\d+)-\w+", path.name)
        if match is None or path.is_symlink():
            continue
        owner = this_process()._replace(pid=int(match[1]))
        if not owner.surely_dead:
            continue
        with contextlib.suppress(OSError):
            if path.stat().st_uid == os.getuid():
                shutil.rmtree(path, ignore_errors=True)
                swept.append(path)
    return swept


@contextlib.contextmanager
def _raylet_lines_to_the_log(ray: Any) -> Iterator[None]:
    """Ray prints `(raylet) ...` on stdout when a worker dies, whatever its log level; it belongs in
    the run's log."""
    module = ray._private.worker
    before = getattr(module, "print_to_stdstream", None)
    if before is None:  # another version, which prints elsewhere
        yield
        return

    def note(data: dict[str, Any], *_: Any, **__: Any) -> None:
        for line in data.get("lines", ()):
            logger.info("ray: %s", str(line).strip()[:500])

    module.print_to_stdstream = note
    try:
        yield
    finally:
        module.print_to_stdstream = before
