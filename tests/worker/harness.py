"""A daemon for tests: listens on a worker socket, starts real worker processes, gives them calls of the simulator's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from ivrd import descriptors
from ivrd.config import App
from ivrd.simulator.channel import Channel
from ivrd.simulator.process import Exchange, ProcessCall, open_exchange
from ivrd.simulator.sounds import SoundTable
from ivrd.wire.messages import (
    MAX_MESSAGE,
    Ended,
    FromDaemon,
    FromWorker,
    Ready,
    Register,
    Report,
    Start,
    Started,
    Tally,
    Welcome,
    WorkerSpec,
    decode_from_worker,
    encode,
)

__all__ = ["FakeDaemon", "Worker", "open_daemon"]

M = TypeVar("M")
APPS = Path(__file__).parent / "apps"
PATIENCE_S = 60.0
SOUNDS = SoundTable({"short": 0.2, "welcome": 1.0, "long": 60.0}, missing={"nope"}, unopenable={"locked"})


class PatientCall(ProcessCall):
    """A call whose caller waits for as long as a busy machine may take."""

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = PATIENCE_S) -> None:
        await super().until(condition, what, max(timeout, PATIENCE_S))


class Worker:
    """One registered connection of a worker; its messages are kept until a test takes them."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.messages: list[FromWorker] = []
        self.fds: list[int] = []
        self.gone = False
        self.tally: dict[str, int] = {}
        self.reports: list[Report] = []

    def send(self, message: FromDaemon, fds: list[int] | None = None) -> None:
        descriptors.send(self.socket, encode(message), fds or [])

    async def read(self) -> None:
        """Read one message."""
        await trio.lowlevel.wait_readable(self.socket)
        try:
            data, fds = descriptors.receive(self.socket, MAX_MESSAGE, 253)
        except ConnectionResetError:
            return
        self.fds.extend(fds)
        if not data:
            self.gone = True
            return
        message = decode_from_worker(data)
        if isinstance(message, Report):
            self.reports.append(message)
            self.absorb(message.tally)
        else:
            self.messages.append(message)
            if isinstance(message, Ended) and message.unreported is not None:
                self.absorb(message.unreported)

    def absorb(self, told: Tally) -> None:
        for tag, count in told.events.items():
            self.tally[tag] = self.tally.get(tag, 0) + count

    async def next(self, kind: type[M], **fields: object) -> M:
        """Take the first message of a kind whose fields are these; all before it stay."""
        with trio.fail_after(PATIENCE_S):
            while True:
                for message in self.messages:
                    if isinstance(message, kind) and all(getattr(message, k) == v for k, v in fields.items()):
                        self.messages.remove(message)
                        return message
                assert not self.gone, f"the worker is gone; it said {self.messages}"
                await self.read()

    async def eof(self) -> None:
        with trio.fail_after(PATIENCE_S):
            while not self.gone:
                await self.read()

    async def report(self) -> Report:
        """The next report."""
        seen = len(self.reports)
        with trio.fail_after(PATIENCE_S):
            while len(self.reports) == seen:
                await self.read()
        return self.reports[-1]

    def close(self) -> None:
        descriptors.close_all(self.fds)
        self.fds.clear()
        self.socket.close()


class FakeDaemon:
    """The daemon's half: `launch` a worker, `start` calls in it."""

    def __init__(self, directory: str, exchange: Exchange) -> None:
        self.directory = directory
        self.path = f"{directory}/w.sock"
        self.exchange = exchange
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[Worker] = []
        self.listener: socket.socket | None = None
        self.called = 0
        self._log_fd: int | None = None
        self.listen()

    def listen(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self.listener.bind(self.path)
        self.listener.listen(8)

    def vanish(self) -> None:
        """Die: every socket is closed."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None
            os.unlink(self.path)
        for worker in self.workers:
            worker.close()
        self.workers.clear()

    def spawn(
        self, handler: str, *, stdout: int | None = None, unbuffered: bool = False, **settings: Any
    ) -> subprocess.Popen[bytes]:
        worker_settings = {
            "heartbeat_timeout": 2.0,
            "hangup_grace": 1.0,
            "path": str(APPS),
            "handler": handler,
            **settings,
        }
        close_timeout = worker_settings.pop("close_timeout", 5.0)
        spec = WorkerSpec(
            name="menu",
            app=App(**worker_settings),
            socket=self.path,
            token="t1",
            generation="g1",
            close_timeout=close_timeout,
            log_format="json",
        )
        environment = {
            **os.environ,
            "IVRD_WORKER": msgspec.json.encode(spec).decode(),
            "PYTHONUNBUFFERED": "1" if unbuffered else "",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "ivrd.worker"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=self.log(),
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def log(self) -> int:
        """Open the file to which all workers log."""
        if self._log_fd is None:
            self._log_fd = os.open(f"{self.directory}/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        return self._log_fd

    def logged(self) -> list[dict[str, Any]]:
        """The lines that workers logged."""
        return [msgspec.json.decode(line) for line in self.log_text().splitlines() if line.startswith("{")]

    def log_text(self) -> str:
        return Path(f"{self.directory}/log").read_text()

    async def accept(self) -> tuple[Worker, Register]:
        """Take a worker's connection and its registration, and welcome it."""
        assert self.listener is not None
        with trio.fail_after(PATIENCE_S):
            await trio.lowlevel.wait_readable(self.listener)
        connection, _ = self.listener.accept()
        connection.setblocking(False)
        worker = Worker(connection)
        self.workers.append(worker)
        register = await worker.next(Register)
        worker.send(Welcome())
        return worker, register

    async def launch(self, handler: str, **settings: Any) -> Worker:
        """Start a worker and wait until it is ready."""
        self.spawn(handler, **settings)
        worker, _ = await self.accept()
        await worker.next(Ready)
        return worker

    async def start(
        self,
        worker: Worker,
        *args: bytes,
        options: str = "",
        variables: Mapping[str, str] | None = None,
        hung_up: bool = False,
        started: bool = True,
        trace: Any = None,
        **fields: Any,
    ) -> tuple[str, PatientCall]:
        """Give a worker a new call of the simulator's; waits for `Started`."""
        self.called += 1
        call_id = f"call{self.called}"
        channel = Channel(
            ("/bin/app",), options, sounds=SOUNDS, variables=variables, hung_up=hung_up, patience=10.0, trace=trace,
            epoch=time.time(),
        )  # fmt: skip
        call = PatientCall(self.exchange, channel, trio.current_time())
        stdin, our_stdin = os.pipe()
        our_stdout, stdout = os.pipe()
        our_stderr, stderr = os.pipe()
        for fd in (our_stdin, our_stdout, our_stderr):
            os.set_blocking(fd, False)
        call.connect(our_stdin, our_stdout, our_stderr)
        fields = {"started": time.time(), **fields}
        worker.send(Start(id=call_id, args=args, **fields), [stdin, stdout, stderr])
        descriptors.close_all([stdin, stdout, stderr])
        if started:
            await worker.next(Started, id=call_id)
        return call_id, call

    async def ended(self, worker: Worker, call_id: str) -> Ended:
        return await worker.next(Ended, id=call_id)

    def close(self) -> None:
        self.vanish()
        for process in self.processes:
            process.kill()
            process.wait()
        if self._log_fd is not None:
            os.close(self._log_fd)


@asynccontextmanager
async def open_daemon() -> AsyncIterator[FakeDaemon]:
    """A fake daemon, its workers and its calls, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_exchange(sounds=SOUNDS) as exchange:
            daemon = FakeDaemon(directory, exchange)
            try:
                yield daemon
            finally:
                daemon.close()
