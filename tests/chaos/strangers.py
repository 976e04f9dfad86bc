"""Who knocks at the sockets and is no shim, no worker and no operator of ours: gets nothing, and does no harm."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable

from ivrd.simulator.records import Outcome
from ivrd.wire import control, messages

from .report import Report
from .rig import Rig, in_thread, open_rig

_NOBODY = 65_534
_NONSENSE = (b"\x00", b"hello", os.urandom(400), b"ivrd1\0", messages.encode(messages.Ready()), b"x" * 60_000)


def _next(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65_536)
    except ConnectionResetError:
        return sock.recv(65_536)  # told once where the other side did not read all; what it said comes after


def _knock(path: str, data: bytes, fds: tuple[int, ...] = ()) -> bytes:
    """Connect, say something, and hear what is answered until the end."""
    heard = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(20)
        try:
            sock.connect(path)
            if fds:
                socket.send_fds(sock, [data], fds)
            else:
                sock.send(data)
        except PermissionError:
            return b"no permission"
        except BrokenPipeError:
            pass  # it had closed already; it may have said why
        while more := _next(sock):
            heard += more
    return heard


_AS_NOBODY = """
import os, socket, sys
os.setgid(65534), os.setuid(65534)
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.settimeout(20)
try:
    sock.connect(sys.argv[1])
    sock.send(bytes.fromhex(sys.argv[2]))
except PermissionError:
    sys.exit(sys.stdout.write("no permission") * 0)
except BrokenPipeError:
    pass
for _ in range(2):
    try:
        sys.stdout.buffer.write(sock.recv(65536))
    except ConnectionResetError:
        pass
"""


def _knock_as_nobody(path: str, data: bytes) -> bytes:
    command = [sys.executable, "-c", _AS_NOBODY, path, data.hex()]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def _register(pid: int, **more: object) -> bytes:
    fields = {"version": messages.VERSION, "release": "0", "pid": pid, "app": "hold", "token": "0" * 32} | more
    return messages.encode(messages.Register(**{"generation": "0", "ready": True, **fields}))  # type: ignore[arg-type]


async def strangers(report: Report) -> None:
    """Other users, forged registrations and nonsense at all three sockets, with calls up."""
    config = '[apps.hold]\nhandler = "apps:hold"\nworkers = 2\n'
    async with open_rig(config) as rig:
        os.chmod(rig.service.directory, 0o755)  # so that it is the sockets that keep others out
        live = await rig.live(5)
        before = await rig.app("hold")
        pids = [worker.pid for worker in before.workers]
        forged = {
            "a process that is none": _register(os.getpid()),
            "a process that says it is a worker": _register(pids[0]),
            "one with calls": _register(os.getpid(), held=10),
        }
        answers = {}
        for who, data in forged.items():
            answers[who] = await _ask(rig, "workers.sock", data)
        for number, data in enumerate(_NONSENSE):
            answers[f"nonsense {number} to the worker socket"] = await _ask(rig, "workers.sock", data)
            answers[f"nonsense {number} to the control socket"] = await _ask(rig, "control.sock", data)
        nothing = [who for who, answer in answers.items() if answer]
        shims = [await _ask(rig, "ivrd.sock", data) for data in _NONSENSE]
        pipes = await _bad_descriptors(rig)
        others = await _as_nobody(rig, pids)
        descriptors = len(os.listdir(f"/proc/{rig.service.pid}/fd"))
        after = await rig.app("hold")
        calls = await rig.calls()
        answered = []
        for call in live:
            call.press("1#")
            answered.append((await call.ended()).outcome)
        await rig.until(lambda: _quiet(rig, descriptors - 3 * len(live)), "the descriptors' return")
    report.none("strangers that were answered by the worker or control socket", nothing)
    report.equal(
        "nonsense to the shim socket is refused", {a.split()[:2] == [b"refused", b"ERROR"] for a in shims}, {True}
    )
    report.equal("hellos with wrong descriptors are refused", {a[:7] for a in pipes}, {b"refused"})
    report.none("other users that got something", others)
    report.equal("workers, before and after", [w.pid for w in after.workers], pids)
    report.equal("calls in the books", len(calls), len(live))
    report.equal("calls that went their whole way", set(answered), {Outcome.CONTINUED})


async def _quiet(rig: Rig, descriptors: int) -> bool:
    return len(os.listdir(f"/proc/{rig.service.pid}/fd")) <= descriptors


async def _ask(rig: Rig, name: str, data: bytes) -> bytes:
    return await in_thread(_knock, str(rig.service.directory / name), data)


async def _bad_descriptors(rig: Rig) -> list[bytes]:
    """Hellos with none, too few, too many descriptors, or of the wrong kind."""
    path = str(rig.service.socket)
    text = b"ivrd1\0hangup\x002000\0hold\0"
    heard = []
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for fds in ((), (reader,), (reader, writer), (writer, writer, writer), (reader, reader, reader),
                    (reader, writer, writer, writer), (reader, writer, writer) * 20, (null, null, null)):  # fmt: skip
            heard.append(await in_thread(_knock, path, text, fds))  # noqa: PERF401 - one after the other
    finally:
        for fd in (reader, writer, null):
            os.close(fd)
    return heard


async def _as_nobody(rig: Rig, pids: list[int]) -> list[str]:
    """What a user who is not allowed anything gets; empty where we are not root and cannot be anybody else."""
    if os.geteuid() != 0:
        return []
    wrong: list[str] = []

    async def try_at(name: str, data: bytes, good: Callable[[bytes], bool]) -> None:
        answer = await in_thread(_knock_as_nobody, str(rig.service.directory / name), data)
        if not good(answer):
            wrong.append(f"{name}: {answer[:80]!r}")

    await try_at("workers.sock", _register(pids[0]), b"no permission".__eq__)
    await try_at("control.sock", control.encode(control.Drain()), b"no permission".__eq__)
    await try_at("ivrd.sock", b"ivrd1\0hangup\x002000\0hold\0", lambda a: a.startswith(b"refused DENIED"))
    # And where the file's mode does not keep them out.
    for name in ("workers.sock", "control.sock"):
        os.chmod(rig.service.directory / name, 0o666)
    await try_at("workers.sock", _register(pids[0]), b"".__eq__)
    await try_at("control.sock", control.encode(control.Drain()), lambda a: b"only root" in a)
    return wrong
