"""What the daemon says to systemd, and what it takes from it, with the test in systemd's place; needs no root."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import trio

from ivrd.daemon.systemd import Manager, inherit, knock
from ivrd.errors import ServeError
from ivrd.simulator.process import open_exchange
from tests.service import IVRD, Service, until

APP = '[apps.menu]\nhandler = "menu:main"\nworkers = 1'
FILES = {"menu.py": "async def main(call):\n    await call.set(DONE='yes')\n"}
SO_TIMESTAMPNS = 35  # which Python's socket module does not name


class Systemd:
    """The receiving end of sd_notify; use it as a context manager. A thread reads at once, for few messages fit.

    Attributes:
        sent_at: when the message heard last was sent, in seconds of the wall clock; the kernel's stamp, which does not
            depend on when a test gets its turn.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind(address.replace("@", "\0", 1))
        self._said: queue.SimpleQueue[tuple[float, list[str]]] = queue.SimpleQueue()
        self.sent_at = 0.0
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._say(b"")
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        while True:
            message, ancillary, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(16))
            if not message:
                return
            ((_, _, stamp),) = ancillary
            seconds, nanoseconds = struct.unpack("ll", stamp)
            self._said.put((seconds + nanoseconds / 1e9, message.decode().split("\n")))

    def _say(self, message: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
            mouth.sendto(message, self._socket.getsockname())

    def hear(self) -> list[str]:
        """The next message, in lines."""
        self.sent_at, lines = self._said.get(timeout=60)
        return lines

    def hear_until(self, line: str) -> list[str]:
        """Messages up to one that begins with this; that one is returned."""
        while not (message := self.hear())[0].startswith(line):
            pass
        return message

    def waiting(self) -> list[list[str]]:
        """What has been said and not heard yet."""
        self._say(b"end")
        return list(iter(self.hear, ["end"]))


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@ivrd-test-{os.getpid()}"
    with Systemd(address) as manager:
        yield manager


def test_a_daemons_life_as_systemd_hears_it(systemd: Systemd) -> None:
    env = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "2000000"}
    with Service(APP, files=FILES, env=env) as ivrd:
        ready = systemd.hear_until("READY=1")
        assert ready[1].startswith("STATUS=0 calls, 1 workers")
        systemd.hear_until("WATCHDOG=1")
        before = systemd.sent_at
        systemd.hear_until("WATCHDOG=1")
        assert systemd.sent_at - before > 0.5, "it is fed far too often"

        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert ivrd.ctl("reload").returncode == 0
        reloading = systemd.hear_until("RELOADING=1")
        name, _, stamp = reloading[1].partition("=")
        assert name == "MONOTONIC_USEC"
        assert before < int(stamp) < time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        systemd.hear_until("READY=1")

        # Nothing of this reaches a worker: it would speak in the daemon's name.
        (worker,) = ivrd.workers("menu")
        environment = Path(f"/proc/{worker}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment
        assert b"WATCHDOG" not in environment

        ivrd.terminate()
        stopping = systemd.hear_until("STOPPING=1")
        name, _, microseconds = stopping[1].partition("=")
        assert name == "EXTEND_TIMEOUT_USEC"
        assert int(microseconds) > 300_000_000, "less than drain_timeout"


def test_the_watchdog_starves_when_no_call_gets_in(systemd: Systemd) -> None:
    with Service(APP, files=FILES, env={"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "1000000"}) as ivrd:
        systemd.hear_until("WATCHDOG=1")
        # The loop goes on, but the door is a wall: nobody takes connections off this socket.
        ivrd.socket.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as wall:
            wall.bind(str(ivrd.socket))
            wall.listen()
            ivrd.wait_lines("watchdog_not_fed", 2)
            systemd.waiting()
            ivrd.wait_lines("watchdog_not_fed", 5)
            assert ivrd.status()["pid"] == ivrd.pid
            assert ["WATCHDOG=1"] not in systemd.waiting()


async def test_without_systemd_nothing_is_said() -> None:
    manager = Manager.from_environment({"WATCHDOG_USEC": "1000"})
    await manager.ready("well")
    async with manager.reloading():
        pass
    await manager.attend(lambda: pytest.fail("nobody looks at it"), "/nonexistent")


async def test_a_watchdog_meant_for_another_process_is_not_fed(systemd: Systemd) -> None:
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1", "HOME": "/"}
    manager = Manager.from_environment(environment)
    assert environment == {"HOME": "/"}
    with trio.move_on_after(0.3):
        await manager.attend(lambda: "well", "/nonexistent")
    assert systemd.waiting() == [["STATUS=well"]]


async def test_a_systemd_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    await Manager(str(tmp_path / "nobody")).ready("well")


async def test_a_status_is_one_line(systemd: Systemd) -> None:
    await Manager(systemd.address).ready("an app says:\nMAINPID=1")
    assert systemd.waiting() == [["READY=1", "STATUS=an app says: MAINPID=1"]]


async def test_nobody_at_the_socket(tmp_path: Path) -> None:
    assert not await knock(str(tmp_path / "nobody"))


# Sockets that are handed in


def activated(ivrd: Service, *listen: str) -> subprocess.Popen[str]:
    """`ivrd serve` as a socket unit's service starts it."""
    tool = shutil.which("systemd-socket-activate")
    if tool is None and os.environ.get("CI") != "true":
        pytest.skip("systemd-socket-activate is not installed (Debian package systemd)")
    assert tool is not None, "with CI=true nothing is left out: install systemd"
    return subprocess.Popen(
        [tool, *listen, *(f"--setenv={name}" for name in os.environ), *IVRD, "serve", "--config", ivrd.config_file],
        env={**os.environ, "IVRD_TEST_SERVICE": str(ivrd.directory)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


async def test_a_shims_socket_is_taken_over_and_left_in_place() -> None:
    with Service(APP, files=FILES) as ivrd:
        ivrd.terminate()
        listen = ["--seqpacket", f"--listen={ivrd.socket}", "--fdname=shim"]
        with activated(ivrd, *listen) as process:
            until(ivrd.socket.exists)
            inode = ivrd.socket.stat().st_ino
            async with open_exchange() as exchange:
                # This call is what starts the daemon; it waits in the socket.
                call = exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", "--timeout=30", "menu"])
                await call.ended(timeout=60)
                assert call.variables == {"DONE": "yes", "IVRD_STATUS": "OK"}
            assert ivrd.socket.stat().st_ino == inode
            os.kill(ivrd.status()["pid"], signal.SIGTERM)
            said, _ = process.communicate(timeout=60)
            assert process.returncode == 0, said
        # Its file is systemd's; the daemon's own are gone.
        assert ivrd.socket.stat().st_ino == inode
        assert {path.name for path in ivrd.directory.iterdir()} == {"apps", "ivrd.toml", "log", "ivrd.sock"}


@pytest.mark.parametrize(
    ("listen", "wrong"),
    [
        (["--seqpacket", "--listen={dir}/ivrd.sock", "--fdname=door"], "write FileDescriptorName=shim"),
        (["--listen={dir}/ivrd.sock", "--fdname=shim"], "listen by ListenSequentialPacket="),
        (["--seqpacket", "--listen={dir}/other.sock", "--fdname=shim"], "the same path"),
        (["--seqpacket", "--listen={dir}/ivrd.sock", "--fdname=metrics"], "listen by ListenStream="),
    ],
)
def test_a_wrong_socket_is_refused_in_one_line(listen: list[str], wrong: str) -> None:
    with Service(APP, files=FILES) as ivrd:
        ivrd.terminate()
        words = [word.format(dir=ivrd.directory) for word in listen]
        with activated(ivrd, *words) as process:
            path = Path(words[-2].removeprefix("--listen="))
            kind = socket.SOCK_SEQPACKET if "--seqpacket" in words else socket.SOCK_STREAM
            until(path.exists)
            with socket.socket(socket.AF_UNIX, kind) as knocker:
                until(lambda: knocker.connect_ex(str(path)) == 0)
                said, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        (line,) = [line for line in said.splitlines() if line.startswith("ivrd: ")]
        assert wrong in line


def test_what_is_meant_for_another_process_is_left_alone() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "shim"}
    given = inherit(environment, "/run/ivrd/ivrd.sock")
    assert given.shim is None
    assert not given.metrics
    assert environment == {}


def test_a_descriptor_that_does_not_listen_is_refused() -> None:
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1000000", "LISTEN_FDNAMES": "shim"}
    with pytest.raises(ServeError, match="descriptor 3, handed in under the name 'shim', is not a listening socket"):
        inherit(environment, "/run/ivrd/ivrd.sock")
