"""One booted container, and what a test wants of it: commands, files, a caller inside, a reboot, its end.

The rule here: nothing of a container outlives it. Its mounts are in a namespace of its own, its processes in a pid
namespace that ends with its first one, its control groups below two that are removed; a guard sees to all that when
the tests are killed. It has no network.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.service import until
from tests.systemd.rig.roots import check_host, root

_ENTER = Path(__file__).with_name("enter.sh")
_DRIVER = Path(__file__).with_name("driver.py")
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
# Its stdin ends when the tests do, however they do.
_GUARD = """
read -r _
kill -9 -- "-$1"
rm -rf --one-file-system "$2"
shift 2
find "$@" -name cgroup.procs -exec cat {} + | xargs -r kill -9
sleep 1
find "$@" -depth -type d -exec rmdir {} +
"""
_PLACE = "/mnt/rig"


class Container:
    """A booted container; use it as a context manager.

    Args:
        bind: what it sees besides its root, read-only: `{host path: absolute path inside}`.

    Raises:
        RigUnavailable: none can be booted here.
    """

    def __init__(self, *, bind: Mapping[Path, str] | None = None) -> None:
        check_host()
        self._root = root()
        self._bind = {_DRIVER.parent: _PLACE, **(bind or {})}
        self._dir = Path(tempfile.mkdtemp(prefix="ivrd-systemd-"))
        self._cgroups = [path / self._dir.name for path in _own_cgroups()]
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        (self._dir / "mnt").mkdir()
        for path in self._cgroups:
            path.mkdir()
        options = [f"--bind-ro={host}:{inside}" for host, inside in self._bind.items()]
        command: list[str | Path] = ["unshare", "--mount", "--propagation=private", "sh", _ENTER, self._root, self._dir]
        with open(self._dir / "console", "wb") as console:
            self._process = subprocess.Popen(
                [*command, *self._cgroups, "--", "--machine=ivrd-test", *options],
                env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", str(self._process.pid), self._dir, *self._cgroups],
            env=_ENVIRONMENT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._await_boot(0)

    def _await_boot(self, before: int) -> None:
        """Wait until a first process other than that one has brought everything up."""
        process = self._process
        assert process is not None

        def leader() -> int | None:
            assert process.poll() is None, f"the container ended: {(self._dir / 'console').read_text()}"
            # The shell's child is nspawn, and nspawn's becomes the container's first process.
            with suppress(OSError):
                for pid in (pid for nspawn in _children(process.pid) for pid in _children(nspawn)):
                    if pid != before and Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                        return pid
            return None

        self.leader = until(leader, 60, "the container's first process")

        def running() -> bool:
            done = self.run("systemctl", "is-system-running", check=False)
            return done.stdout.strip() in ("running", "degraded")

        until(running, 60, "the container's boot")

    def run(
        self, *command: str, check: bool = True, timeout: float = 60.0, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root.

        Args:
            command: the command and its arguments.
            check: whether it has to succeed; its output is in the error.
            timeout: seconds that it may take.
            text: its stdin.
        """
        done = subprocess.run(
            [*self._nsenter(), *command],
            env=_ENVIRONMENT, input=text or "", capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def _nsenter(self) -> list[str]:
        return ["nsenter", "--target", str(self.leader), "--all"]

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command inside, as root; its output is in a pipe."""
        return subprocess.Popen(
            [*self._nsenter(), *command],
            env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def ask(self, *command: str) -> str:
        """What a command prints, which has to succeed."""
        return self.run(*command).stdout.strip()

    def write(self, path: str, text: str) -> None:
        """Write a file inside, and the directories that it needs."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "write", path, text=text)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.ask("systemctl", "show", f"--property={name}", "--value", unit)

    def journal(self, unit: str = "ivrd.service") -> str:
        """What a unit has logged since the boot."""
        return self.ask("journalctl", "--boot", "--output=cat", "--unit", unit)

    def processes(self, user: str) -> list[int]:
        """The processes of a user, by their ids inside."""
        done = self.run("sh", "-c", 'cd /proc && for p in [0-9]*; do echo "$p $(stat -c %U $p 2>/dev/null)"; done')
        return [int(line.split()[0]) for line in done.stdout.splitlines() if line.endswith(f" {user}")]

    def caller(self) -> Caller:
        """Somebody inside who calls; a context manager."""
        return Caller(
            [*self._nsenter(), "/opt/ivrd/current/bin/python", f"{_PLACE}/{_DRIVER.name}"],
            self._dir / "caller",
        )

    def reboot(self) -> None:
        """Boot it anew, and wait until it is up; what was written is still there, but for /run and /tmp."""
        before = self.leader
        self.run("systemctl", "reboot", check=False)
        self._await_boot(before)

    def stop(self) -> None:
        """End it and remove every trace. May be called again."""
        if self._process is not None:
            # Before the container itself, which the shell would boot anew.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        for path in self._cgroups:
            _remove_cgroup(path)
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        shutil.rmtree(self._dir, ignore_errors=True)


class Caller:
    """Plays Asterisk inside the container, as often as wanted; see `driver.py` for what can be asked.

    Args:
        command: starts the driver.
        log: where its stderr goes.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                self._command, env=_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        try:
            self._process.communicate(timeout=30)  # at the end of its stdin it hangs up and goes
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise

    def ask(self, what: str, **arguments: object) -> Any:
        """Ask for something and wait for the answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the caller broke down at {what}: {self._log.read_text()}"
        return json.loads(answer)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _own_cgroups() -> list[Path]:
    """Where this process is in systemd's hierarchies: one directory, or two where the old kind is in use as well."""
    mounted = Path("/sys/fs/cgroup")
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "name=systemd":
            found.append(mounted / "systemd" / path.lstrip("/"))
        elif not controllers:
            unified = mounted if (mounted / "cgroup.controllers").exists() else mounted / "unified"
            found.append(unified / path.lstrip("/"))
    return [path for path in found if (path / "cgroup.procs").exists()]


def _remove_cgroup(path: Path) -> None:
    """Kill what is in a control group, and remove it."""
    deadline = time.monotonic() + 10
    while path.exists():
        for directory, _, _ in os.walk(path, topdown=False):
            with suppress(OSError):  # busy for as long as its last process is dying
                for pid in Path(directory, "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                os.rmdir(directory)
        assert time.monotonic() < deadline, f"{path} is still in use"
        time.sleep(0.01)
