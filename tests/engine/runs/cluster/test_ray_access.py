"""Nobody outside this machine reaches a run's Ray, nobody without its token is let in, and an open
cluster is said."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

import pytest

from diffengine.engine.runs.cluster.ray_access import LOOPBACK_SETTING, PROBE, is_loopback

FLAGS = ["--steps", "12", "--gen-length", "12", "--block-length", "4", "--token-budget", "300"]
LISTENING = "0A"


class Listener(NamedTuple):
    """A listening TCP socket and the process that holds it."""

    host: str
    port: int
    process: int
    command: str


def listening_sockets() -> dict[str, tuple[str, int]]:
    """Address and port of every listening TCP socket of the machine, by its inode."""
    sockets = {}
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] != LISTENING:
                continue
            host, port = fields[1].split(":")
            # The kernel prints each 32-bit word in the machine's own order.
            words = [int(host[i : i + 8], 16).to_bytes(4, "big") for i in range(0, len(host), 8)]
            packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
            sockets[fields[9]] = socket.inet_ntop(family, packed), int(port, 16)
    return sockets


def family_of(process: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    family = [process]
    for member in family:
        family += children.get(member, [])
    return family


def listeners(processes: list[int]) -> list[Listener]:
    sockets, seen = listening_sockets(), []
    for process in processes:
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
            for descriptor in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inode = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor))
                    if inode and inode[1] in sockets:
                        seen.append(Listener(*sockets[inode[1]], process, command))
    return seen


def reachable_from_elsewhere(host: str) -> bool:
    address = ip_address(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return not address.is_loopback


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The command with two workers, while it decodes."""
    out = tmp_path_factory.mktemp("run")
    command = [
        sys.executable,
        "-P",
        "-m",
        "diffengine",
        "run",
        "--problems",
        "generated:1500",
        "--workers",
        "2",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [*command, *FLAGS, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        deadline = time.monotonic() + 120
        while (
            sum("ready: process" in path.read_text() for path in (out / "logs").glob("w*.log")) < 2
        ):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def gcs(running: subprocess.Popen[str]) -> str:
    """The address of the run's Ray."""
    return next(
        f"127.0.0.1:{s.port}"
        for s in listeners(family_of(running.pid))
        if "gcs_server" in s.command
    )


def raylet_environment(driver: int) -> dict[str, str]:
    for process in family_of(driver):
        command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0]
        if command.endswith(b"/raylet"):
            environment = Path(f"/proc/{process}/environ").read_text()
            return dict(line.split("=", 1) for line in environment.split("\0") if "=" in line)
    raise AssertionError("the run has no raylet")


def ask(address: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-P", "-c", PROBE, address]
    return subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, timeout=60
    )


def test_nothing_of_a_run_listens_outside_this_machine(running: subprocess.Popen[str]) -> None:
    sockets = listeners(family_of(running.pid))
    kinds = ("gcs_server", "/raylet ", "ray::Worker", "diffengine run")
    assert all(any(kind in s.command for s in sockets) for kind in kinds), sockets
    assert sum("ray::Worker" in s.command for s in sockets) == 2
    assert [s for s in sockets if reachable_from_elsewhere(s.host)] == []


def test_the_check_of_sockets_sees_one_that_listens_to_the_world() -> None:
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with socket.socket(family) as open_door:
            open_door.bind((host, 0))
            open_door.listen()
            seen = [s for s in listeners([os.getpid()]) if s.port == open_door.getsockname()[1]]
            assert [s.host for s in seen] == [host] and reachable_from_elsewhere(host)
    assert not reachable_from_elsewhere("::ffff:127.0.0.1") and not reachable_from_elsewhere("::1")


def test_only_the_token_opens_a_run_and_only_its_user_can_read_it(
    running: subprocess.Popen[str], gcs: str
) -> None:
    environment = raylet_environment(running.pid)
    path = Path(environment["RAY_AUTH_TOKEN_PATH"])
    token = path.read_text()
    assert len(token) >= 32
    assert (path.stat().st_mode & 0o077, path.parent.stat().st_mode & 0o077) == (0, 0)
    for process in family_of(running.pid):
        with contextlib.suppress(OSError):
            seen = (
                Path(f"/proc/{process}/cmdline").read_text()
                + Path(f"/proc/{process}/environ").read_text()
            )
            assert token not in seen
    without = ask(gcs, {"RAY_AUTH_MODE": "disabled"})
    assert "let in" not in without.stdout and "AuthenticationError" in without.stderr
    wrong = ask(gcs, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64})
    assert "let in" not in wrong.stdout and "AuthenticationError" in wrong.stderr
    right = ask(
        gcs, {name: value for name, value in environment.items() if name.startswith("RAY_")}
    )
    assert "let in" in right.stdout, right.stderr


def test_the_agent_that_speaks_http_refuses_whoever_has_no_token(
    running: subprocess.Popen[str],
) -> None:
    agents = [s for s in listeners(family_of(running.pid)) if "RuntimeEnvAgent" in s.command]
    assert agents
    for agent in agents:
        request = urllib.request.Request(
            f"http://127.0.0.1:{agent.port}/get_or_create_runtime_env", data=b""
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code in (401, 403)


def test_a_cluster_that_asks_for_a_token_is_one_sentence(
    running: subprocess.Popen[str], gcs: str, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "diffengine",
        "run",
        "--problems",
        "generated:2",
        "--workers",
        "1",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    more = [*FLAGS, "--out", str(tmp_path / "run"), "--cluster", gcs]
    done = subprocess.run(
        [*command, *more],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment
        | {
            "HOME": str(tmp_path),
            LOOPBACK_SETTING: "0",
        },  # else Ray makes 127.0.0.1 another address
    )
    assert done.returncode == 1
    assert "asks for a token: set RAY_AUTH_MODE=token" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "address, inside",
    [
        ("127.0.0.1:6379", True),
        ("[::1]:6379", True),
        ("localhost:6379", True),
        ("192.0.2.7:6379", False),
        ("[::]:6379", False),
        ("0.0.0.0:6379", False),
        ("head:6379", False),
    ],
)
def test_which_addresses_stay_inside(address: str, inside: bool) -> None:
    assert is_loopback(address) is inside
