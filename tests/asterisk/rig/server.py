"""One real Asterisk, running in a chroot on a layer of its own, and what a test wants of it: calls, its log, its death.

The rule here: nothing of an instance outlives it. Its mounts are in a namespace of its own, its files in one
directory, and whatever still runs in that namespace when it stops (the children of ExternalIVR among them) is killed;
a guard does the same for Asterisk when the process that started it is killed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.asterisk.rig import configs
from tests.asterisk.rig.roots import check_host, root_for, which

_ENTER = Path(__file__).with_name("enter.sh")
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TZ": "UTC",  # whatever the root says: the log's times are compared with others
}
# Asterisk's mounts are in its own namespace, so that all that rm meets here is the instance's own files.
_GUARD = 'read -r _; kill -9 "$1"; rm -rf --one-file-system "$2"'

_T = TypeVar("_T")


class AsteriskError(Exception):
    """Asterisk did not start, did not answer, or refused a command; the message says which and why."""


class Asterisk:
    """A running Asterisk; use it as a context manager.

    Args:
        version: "22" or "16".
        dialplan: the test's contexts, as text for `extensions.conf`.
        sip: load PJSIP as well, on a free UDP port of 127.0.0.1 (`sip_port`); SIP calls land in context `from-sip`.
        bind: what else its root has, `{host path: absolute path inside}`: programs, directories with sockets.

    Attributes:
        sip_port: the UDP port of PJSIP, or 0.
        log: its log file, on the host; lines `[time] NOTICE[…]…: text`.
        etc: its configuration directory, on the host; edit it and `cli("dialplan reload")`.

    Raises:
        RigUnavailable: this machine cannot run it.
        AsteriskError: it did not come up within a minute.
    """

    def __init__(
        self,
        version: str,
        *,
        dialplan: str = "",
        sip: bool = False,
        bind: Mapping[Path, str] | None = None,
    ) -> None:
        self.version = version
        self.sip_port = free_udp_port() if sip else 0
        self._root = root_for(version)
        check_host()
        self._dir = Path(tempfile.mkdtemp(prefix="ivrd-asterisk-"))
        self.etc, self.log = self._dir / "etc", self._dir / "log/messages.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._namespace: str | None = None
        try:
            self._configure(dialplan, sip=sip)
            self._start(bind or {})
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of Asterisk itself, as seen on the host."""
        assert self._process is not None
        return self._process.pid

    def cli(self, command: str, *, timeout: float = 30.0) -> str:
        """Run one command of Asterisk's command line and return what it printed; `AsteriskError` if it is silent."""
        # Over the control socket as `asterisk -rx` does it, minus a process for each command. Asterisk takes the
        # command with one read, of at most 512 bytes.
        line = b"cli quit after " + command.encode() + b"\0"
        if len(line) > 500:
            raise ValueError(f"a command may have 480 bytes, this one has {len(line)}: {command[:60]}…")
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(timeout)
            try:
                control.connect(str(self._dir / "run/asterisk.ctl"))
                control.sendall(line)
                answer = b"".join(iter(lambda: control.recv(65536), b""))
            except OSError as error:
                raise AsteriskError(f"Asterisk {self.version} did not answer {command!r}: {error}") from error
        # First comes a line that says who answers.
        return answer.partition(b"\n")[2].decode(errors="replace").strip()

    def originate(self, channel: str, *, extension: str = "", application: str = "") -> None:
        """Call `channel` and, when it answers, run `extension` ("1@menu") or `application` ("Wait 6"); returns at once.

        For an app on an *unanswered* channel: `originate("Local/1@menu", application="Wait 6")`, 1@menu being the app.
        """
        if bool(extension) == bool(application):
            raise ValueError("give either an extension or an application")
        what = f"extension {extension}" if extension else f"application {application}"
        if refusal := self.cli(f"channel originate {channel} {what}"):
            raise AsteriskError(f"Asterisk would not originate {channel}: {refusal}")

    def call(
        self, extension: str, *, keys: str = "", after_ms: int = 500, gap_ms: int = 250, hold_s: float = 5.0
    ) -> None:
        """Place a call without SIP to `extension` ("1@menu"), which presses `keys` and hangs up; returns at once.

        The caller waits `after_ms`, presses each key for 100 ms with `gap_ms` in between (`w` is a pause of half a
        second), waits `hold_s`, hangs up.
        """
        if not re.fullmatch(r"[0-9A-Da-dw*#]*", keys):
            raise ValueError(f"keys are 0-9 A-D * # and w for a pause, not {keys!r}")
        self.originate(f"Local/press_{after_ms}_{keys}_{gap_ms}_{hold_s}@rig-caller", extension=extension)

    def channels(self) -> int:
        """How many channels there are; a call without SIP has two."""
        return int(self.cli("core show channels count").split(maxsplit=1)[0])

    def wait_channels(self, count: int, *, timeout: float = 30.0) -> None:
        """Wait until there are exactly `count` channels (0: all calls are over)."""
        self._wait(lambda: self.channels() == count or None, timeout, f"it did not come to {count} channels")

    def wait_log(self, pattern: str, *, count: int = 1, timeout: float = 30.0) -> list[re.Match[str]]:
        """Wait until the log has at least `count` matches of `pattern` (^ and $ are a line's); returns all of them."""

        def matches() -> list[re.Match[str]] | None:
            found = list(re.finditer(pattern, self.log_text(), re.MULTILINE))
            return found if len(found) >= count else None

        return self._wait(matches, timeout, f"its log did not show {pattern!r} {count} times")

    def log_text(self) -> str:
        """Its log so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def database(self, family: str) -> dict[str, str]:
        """What the dialplan stored with `Set(DB(family/key)=value)`."""
        return dict(re.findall(rf"^/{family}/(\S+)\s*: (.*?)\s*$", self.cli(f"database show {family}"), re.MULTILINE))

    def kill(self) -> None:
        """Kill Asterisk with SIGKILL, as a crash would end it; its children live on until `stop`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End Asterisk, calls and all, and remove every trace of it. May be called again."""
        if self._process is not None:
            namespace = self._namespace or _mount_namespace(self._process.pid)
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:  # a channel thread may hang for ever in ExternalIVR
                self.kill()
            if namespace is not None and namespace != _mount_namespace(os.getpid()):
                _kill_all_in(namespace)
            self._process = None
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        shutil.rmtree(self._dir, ignore_errors=True)

    def _configure(self, dialplan: str, *, sip: bool) -> None:
        found = next(self._root.glob("usr/lib/**/asterisk/modules"), None)
        if found is None:
            raise AsteriskError(f"{self._root} has no directory of Asterisk modules: remove it and set up again")
        files = {
            **configs.FIXED,
            "asterisk.conf": configs.asterisk_conf(f"/{found.relative_to(self._root)}"),
            "modules.conf": configs.modules_conf(sip=sip),
            "extensions.conf": configs.extensions_conf(dialplan),
        }
        if sip:
            files["pjsip.conf"] = configs.pjsip_conf(self.sip_port)
        for name in ("etc", "run", "log", "mnt"):
            (self._dir / name).mkdir()
        for name, text in files.items():
            (self.etc / name).write_text(text, encoding="utf-8")

    def _start(self, bind: Mapping[Path, str]) -> None:
        own = {"etc": "/etc/asterisk", "run": "/var/run/asterisk", "log": "/var/log/asterisk"}
        command = [which("unshare"), "--mount", "--propagation=private", "/bin/sh", str(_ENTER)]
        command += [str(self._root), str(self._dir)]
        for host, inside in {**{self._dir / name: inside for name, inside in own.items()}, **bind}.items():
            if not host.exists():
                raise FileNotFoundError(f"{host} does not exist, so it cannot be bound to {inside}")
            command += [str(host.resolve()), inside]
        with open(self._dir / "console.txt", "wb") as console:
            # A session of its own: Ctrl-C is for the tests, whose teardown then stops it.
            self._process = subprocess.Popen(
                command, env=_ENVIRONMENT, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            )  # fmt: skip
        # Its stdin ends when this process does, however it does.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self._process.pid), str(self._dir)],
            env=_ENVIRONMENT, stdin=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._wait(self._booted, 60, "it did not start")
        self._namespace = _mount_namespace(self._process.pid)

    def _booted(self) -> bool | None:
        try:
            return "fully booted" in self.cli("core waitfullybooted") or None
        except AsteriskError:
            return None

    def _wait(self, ask: Callable[[], _T | None], timeout: float, failure: str) -> _T:
        """Ask every 10 ms until the answer is not None; `AsteriskError` at the deadline or when Asterisk has ended."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self._process is None or self._process.poll() is not None
            try:
                answer = ask()
            except AsteriskError:
                if not ended:
                    raise
                answer = None
            if answer is not None:
                return answer
            if ended or time.monotonic() > deadline:
                why = "it ended" if ended else f"{timeout:g} s passed"
                raise AsteriskError(f"Asterisk {self.version}: {failure} ({why}). Last said:\n{self._last_lines()}")
            time.sleep(0.01)

    def _last_lines(self) -> str:
        files = [file for file in (self._dir / "console.txt", self.log) if file.exists()]
        return "\n".join(line for file in files for line in file.read_text(errors="replace").splitlines()[-15:])


def _mount_namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:  # ended
        return None


def _kill_all_in(namespace: str) -> None:
    """Kill what is left in a mount namespace and wait until nothing is; its mounts end with it."""
    deadline = time.monotonic() + 10
    while left := [int(p.name) for p in Path("/proc").glob("[0-9]*") if _mount_namespace(int(p.name)) == namespace]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise AsteriskError(f"processes {left} of a stopped Asterisk would not end")
        time.sleep(0.01)


def free_udp_port() -> int:
    """A UDP port of 127.0.0.1 that nobody uses just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
