"""A real ivrd for a test: the daemon and its workers as processes, in a directory of their own.

    with Service('[apps.menu]\\nhandler = "menu:main"', files={"menu.py": SOURCE}, drain_timeout=1) as ivrd:
        ...ivrd.shim, ivrd.socket, ivrd.calls(), ivrd.workers("menu"), ivrd.kill(), ivrd.restart()...

The rule here: a test goes on only once the daemon has said `ready`, and nothing of it outlives the block. Each process
carries the directory's name in its environment, so that a worker whose daemon was killed is found all the same; one
that should have gone by itself and has not is killed, and the test fails.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

BIN = Path(sys.executable).parent
#: What is run as `ivrd`; the variable is for trying another build of it.
IVRD = (os.environ.get("IVRD_TEST_COMMAND") or os.fspath(BIN / "ivrd")).split()
PATIENCE_S = 30.0  # for what takes a moment on a machine that is not busy

T = TypeVar("T")


class ServiceError(AssertionError):
    """The daemon did not start, did not stop, or left something behind; the message has the end of its log."""


def until(ask: Callable[[], T | None], timeout: float = PATIENCE_S, what: str = "it") -> T:
    """Ask every 10 ms until the answer is true, and return it.

    Raises:
        AssertionError: it was not by then; `what` says what did not happen.
    """
    deadline = time.monotonic() + timeout
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout:g} s")
        time.sleep(0.01)
    return answer


class Service:
    """A running daemon; use it as a context manager.

    Args:
        config: the `[apps.…]` tables, as text; `path` is the directory of `files` where a table does not say.
        files: modules of apps, by file name.
        env: variables for the daemon, and so for its workers, besides this process's own.
        server: keys of the `[server]` table; the sockets are in `directory`, the exporter is off, the log is JSON
            unless said otherwise here.

    Attributes:
        directory: holds sockets, configuration, log and `apps`; `bind={directory: "/run/ivrd"}` shows it to Asterisk.
        config_file: the configuration's file; write to it and `ctl("reload")`.
        apps: the directory of `files`.
        env: the environment of daemon and workers.
        socket: where shims find the daemon.
        shim: the program that hands calls over, installed beside `ivrd`.
    """

    def __init__(
        self,
        config: str,
        *,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        **server: object,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ivrd-test-"))
        self.apps = self.directory / "apps"
        self.config_file = self.directory / "ivrd.toml"
        self.socket = self.directory / "ivrd.sock"
        self.shim = BIN / "ivrd-shim"
        self._log_file = self.directory / "log"
        self.env = {**os.environ, **(env or {}), "IVRD_TEST_SERVICE": str(self.directory)}
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None
        self.apps.mkdir()
        self._log_file.touch()
        for name, source in (files or {}).items():
            (self.apps / name).write_text(source)
        self.configure(config)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # A test that failed says why itself.
            if error is None:
                self.stop()
        finally:
            self._clean_up()

    def configure(self, config: str, **server: object) -> None:
        """Write the configuration's file; `server` as for the class, on top of what was given there."""
        self._server.update(server)
        keys = {
            "socket": str(self.socket),
            "worker_socket": str(self.directory / "workers.sock"),
            "control_socket": str(self.directory / "control.sock"),
            "metrics": "",
            "log_format": "json",
            "allow_users": [],
            **self._server,
        }
        # JSON's strings, numbers, booleans and lists are TOML's as well.
        text = "[server]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for table in re.split(r"(?m)^(?=\[)", config):
            text += table.rstrip() + "\n"
            if table.startswith("[apps.") and not re.search(r"(?m)^path\s*=", table):
                text += f"path = {json.dumps(str(self.apps))}\n"
        self.config_file.write_text(text)

    # The daemon

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._process is not None, "the daemon was not started"
        return self._process.pid

    def start(self, timeout: float = PATIENCE_S) -> None:
        """Start the daemon and wait until it is ready, that is until each app that can start is warm."""
        said = len(self.log)
        with open(self._log_file, "ab") as log:
            self._process = subprocess.Popen(
                [*IVRD, "serve", "--config", str(self.config_file)],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        process = self._process

        def ready() -> bool:
            if process.poll() is not None:
                raise ServiceError(f"ivrd ended with {process.returncode} at its start:{self._end_of_log()}")
            return '"event": "ready"' in self.log[said:]

        until(ready, timeout, "the daemon's line `ready`")

    def kill(self) -> None:
        """Kill the daemon with SIGKILL, as a crash would end it; its workers live on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def restart(self, timeout: float = PATIENCE_S) -> None:
        """Start the daemon again, after it was stopped if it still runs, and wait until it is ready."""
        self.terminate()
        self.start(timeout)

    def signal(self, number: int) -> None:
        """Send the daemon a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = PATIENCE_S) -> int:
        """Wait until the daemon has ended, and return its exit status."""
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServiceError(f"ivrd did not end within {timeout:g} s:{self._end_of_log()}") from None

    def terminate(self, timeout: float = PATIENCE_S) -> int:
        """Send SIGTERM unless it has ended, wait for the end, and return the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        return self.wait(timeout)

    def stop(self, timeout: float = PATIENCE_S) -> None:
        """End the daemon in order, and see that no process of it is left and that no bug of ours was logged.

        Raises:
            ServiceError: it did not end, a process is left, or something in ivrd broke.
        """
        self.terminate(timeout)
        if broke := re.findall(r'^.*"event": "(?:call_broke|call\.broke|control_broke)".*$', self.log, re.MULTILINE):
            raise ServiceError(f"{len(broke)} times something in ivrd broke, such as:\n{broke[0]}")
        until(lambda: not self.processes(), timeout, f"the end of {self.processes()}, workers and what they started,")

    def processes(self) -> list[int]:
        """All processes of this service: daemon, workers, and what apps have started; zombies are not among them."""
        mark = f"IVRD_TEST_SERVICE={self.directory}\0".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile, or is another user's
                if mark in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found

    # What it says

    def ctl(self, *args: str, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run `ivrd ARGS… --config FILE` and return how that went."""
        return subprocess.run(
            [*IVRD, args[0], "--config", str(self.config_file), *args[1:]],
            env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """What `ivrd status --json` says."""
        answer: dict[str, Any] = self._json("status")
        return answer

    def calls(self) -> list[dict[str, Any]]:
        """What `ivrd calls --json` says: the live calls."""
        answer: list[dict[str, Any]] = self._json("calls")
        return answer

    def workers(self, app: str) -> list[int]:
        """The process ids of an app's workers that take calls."""
        rows = next(row["workers"] for row in self.status()["apps"] if row["name"] == app)
        return [row["pid"] for row in rows if row["state"] == "ready"]

    def _json(self, command: str) -> Any:
        done = self.ctl(command, "--json")
        assert done.returncode == 0, f"ivrd {command} --json: {done.returncode}: {done.stderr}"
        return json.loads(done.stdout)

    @property
    def log(self) -> str:
        """All that the daemon and its workers have written so far."""
        return self._log_file.read_text(errors="replace")

    def clear_log(self) -> None:
        """Forget what was logged, between tests that share a daemon; its processes go on at the new end of the file."""
        os.truncate(self._log_file, 0)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of one event, such as `call.ended`, as their fields."""
        wanted = f'"event": "{event}"'
        lines = (line for line in self.log.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n"))
        return [json.loads(line) for line in lines if wanted in line]

    def wait_lines(self, event: str, count: int = 1, timeout: float = PATIENCE_S) -> list[dict[str, Any]]:
        """Wait until there are so many lines of an event, and return all of them."""

        def enough() -> list[dict[str, Any]] | None:
            found = self.lines(event)
            return found if len(found) >= count else None

        return until(enough, timeout, f"{count} lines of {event}")

    def wait_log(self, pattern: str, count: int = 1, timeout: float = PATIENCE_S) -> list[re.Match[str]]:
        """Wait until a pattern is found in the log so many times (^ and $ are a line's), and return all matches."""

        def enough() -> list[re.Match[str]] | None:
            found = list(re.finditer(pattern, self.log, re.MULTILINE))
            return found if len(found) >= count else None

        return until(enough, timeout, f"{count} times {pattern!r} in the log")

    def _end_of_log(self) -> str:
        return "\n  ".join(["", *self.log.splitlines()[-15:]])

    def _clean_up(self) -> None:
        # Again and again: a daemon that is killed after a worker may have started another one in between.
        until(lambda: not self._kill_all(), what="the end of killed processes")
        if self._process is not None:
            self._process.wait()
        shutil.rmtree(self.directory)

    def _kill_all(self) -> list[int]:
        found = self.processes()
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return found
