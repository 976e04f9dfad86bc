"""What the daemon and its workers say to each other: msgspec structs in msgpack, one to a message, descriptors beside.

The rule that holds here: a worker outlives its daemon, so the worker's half of the registration (`Register`, `Held`) is
frozen. Fields may be added with a default, never changed or removed; `VERSION` tells a worker of an older ivrd, which
is heard out for the calls it holds and given no new ones. Times on the wire are ages in seconds or wall-clock stamps,
never the reading of one process's clock.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ivrd.config import App
from ivrd.errors import WireError

__all__ = [
    "DESCRIPTORS_A_CALL",
    "HELD_A_MESSAGE",
    "MAX_MESSAGE",
    "VERSION",
    "Drop",
    "Ended",
    "Failed",
    "FromDaemon",
    "FromWorker",
    "Held",
    "HeldCall",
    "Kept",
    "Leave",
    "Ready",
    "Register",
    "Report",
    "Result",
    "Retire",
    "Spurned",
    "Start",
    "Started",
    "Stop",
    "Tally",
    "Trace",
    "Traced",
    "Welcome",
    "WireLine",
    "WorkerSpec",
    "decode_from_daemon",
    "decode_from_worker",
    "encode",
]

VERSION = 1
MAX_MESSAGE = 131_072  # bytes; what a SEQPACKET socket takes in one piece with the kernel's default buffers
MAX_TEXT = 16_384  # bytes of an exception's text that travel
DESCRIPTORS_A_CALL = 3
HELD_A_MESSAGE = 84  # calls; the kernel passes 253 descriptors a message at most

Result: TypeAlias = Literal[
    "completed",  # the app returned, or left to the dialplan
    "hangup",  # the caller, or the app on purpose
    "rejected",  # overload, unknown app, draining
    "app_error",  # the handler raised
    "worker_died",
    "timeout",  # a deadline of the call
    "operator",  # `ivrd hangup`
    "drained",  # ended at the end of `drain_timeout`
]


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker process is told when it is started (JSON in the environment variable `IVRD_WORKER`).

    Attributes:
        name: the app's name.
        app: its configuration.
        socket: the worker socket on which to register.
        token: tells the daemon which of its children this is.
        generation: which reading of the configuration and the app's code this worker stands for.
        close_timeout: `[server] close_timeout`, seconds.
        log_format: `console`, `json` or `journal`.
        log_level: the least severe lines that are written.
    """

    name: str
    app: App
    socket: str
    token: str
    generation: str
    close_timeout: float = 5.0
    log_format: Literal["console", "json", "journal"] = "console"
    log_level: str = "info"


class Tally(msgspec.Struct, kw_only=True):
    """What was counted of one call, or of all calls since the last report.

    Attributes:
        events: events read from Asterisk, by `eivr.TAGS`.
        commands: commands written, by letter.
        refused: commands refused before anything was written, by reason.
        malformed: lines that Asterisk never sends.
        first_command: seconds from the start in the worker to the first command; None while there was none.
        responses: seconds from a key to the next command, what a caller feels; at most 2,000 kept.
    """

    events: dict[str, int] = {}
    commands: dict[str, int] = {}
    refused: dict[str, int] = {}
    malformed: int = 0
    first_command: float | None = None
    responses: list[float] = []


def _portable(text: str) -> str:
    """Cut what an app's exception says, and replace what is no character, such as half of a caller's name."""
    return text[:MAX_TEXT].encode("utf-8", "replace")[:MAX_TEXT].decode("utf-8", "ignore")


# Worker to daemon.


class Register(msgspec.Struct, frozen=True, kw_only=True, tag="register"):
    """First message of a worker on a new connection, to its own daemon or to the next one.

    Attributes:
        version: `VERSION` of the worker's code.
        release: ivrd's release of the worker's code.
        pid: the worker's process id; must be the socket peer's.
        app: the app it runs.
        token: from its `WorkerSpec`.
        generation: from its `WorkerSpec`.
        held: how many calls it holds and will tell of in `Held` messages before anything else.
        served: calls it has been given in its life.
        ready: its lifespan is entered already (a registration with a second daemon).
        retiring: it was told to take no new calls.
        age: seconds since it was started.
        heartbeat_timeout: for how long it may be silent, in seconds; 0 where it is not known.
    """

    version: int
    release: str
    pid: int
    app: str
    token: str
    generation: str
    held: int = 0
    served: int = 0
    ready: bool = False
    retiring: bool = False
    age: float = 0.0
    heartbeat_timeout: float = 0.0


class HeldCall(msgspec.Struct, frozen=True, kw_only=True):
    """One live call that a worker brings along; its three descriptors are attached to the message, in the same order.

    Attributes:
        id: the call's id.
        args: what the dialplan passed, as bytes, for a caller's name need not be UTF-8.
        started: wall-clock time of its admission, seconds since the epoch.
        age: seconds since its admission.
        attempt: 1, or 2 after a retry.
        transport: how it came.
        leaving: `E` or `H` was sent, so that it is not to be retried.
        max_duration: the limit that the worker holds it to, in seconds, 0 for none; None where it is not known.
    """

    id: str
    args: tuple[bytes, ...]
    started: float
    age: float
    attempt: int = 1
    transport: str = "pipe"
    leaving: bool = False
    max_duration: float | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True, tag="held"):
    """A batch of at most `HELD_A_MESSAGE` calls; the next one is sent when the daemon answered `Kept`."""

    calls: tuple[HeldCall, ...]


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The app is imported and its lifespan entered: calls may come."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The app cannot be imported or its lifespan failed; the worker exits after this.

    Attributes:
        error: one line for a person.
        traceback: the whole of it, "" where the line says all.
    """

    error: str
    traceback: str = ""

    def __post_init__(self) -> None:
        """Make what an exception says fit to travel."""
        msgspec.structs.force_setattr(self, "error", _portable(self.error))
        msgspec.structs.force_setattr(self, "traceback", _portable(self.traceback))


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The worker owns the call now and reads its events; sent before the app's first step."""

    id: str


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """A call is over in the worker: its descriptors are closed there and its task is gone (or given up).

    Attributes:
        id: the call's id.
        result: how it ended, as far as the worker knows; the daemon's own verdict, if it had one, goes before.
        detail: one line more, such as the exception of `app_error`.
        tally: what was counted of it.
        unreported: what of that no `Report` has told; None where one will.
        unsaid: why the worker could not say to Asterisk how the call goes on, so that the daemon has to; "" as a rule.
    """

    id: str
    result: Result
    detail: str = ""
    tally: Tally
    unreported: Tally | None = None
    unsaid: str = ""

    def __post_init__(self) -> None:
        """Make what an exception says fit to travel."""
        msgspec.structs.force_setattr(self, "detail", _portable(self.detail))
        msgspec.structs.force_setattr(self, "unsaid", _portable(self.unsaid))


class Spurned(msgspec.Struct, frozen=True, tag="spurned"):
    """The worker has not begun a call that it was sent, for it is on its way out: another one may have it."""

    id: str


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """The heartbeat: sent at least four times in `heartbeat_timeout`, with what was counted since the last one.

    Attributes:
        lag: seconds by which the worker's loop was late at most since the last report.
        rss: resident memory in bytes.
        stuck: handlers on threads that did not end when their calls did.
        tally: counted since the last report, over all calls.
    """

    lag: float
    rss: int
    stuck: int = 0
    tally: Tally


class WireLine(msgspec.Struct, frozen=True, array_like=True):
    """One line that went over a call's wire.

    Attributes:
        at: seconds since the call's admission.
        kind: which way it went: `event` from Asterisk, `command` to it.
        text: the line without its newline, an event without its time stamp; secrets are masked.
    """

    at: float
    kind: Literal["event", "command"]
    text: str


class Traced(msgspec.Struct, frozen=True, kw_only=True, tag="traced"):
    """What went over the wire of a call that is traced, since the last such message.

    Attributes:
        id: the call's id.
        lines: the lines, in order.
        dropped: how many were left out up to now because they could not be told in time.
    """

    id: str
    lines: tuple[WireLine, ...]
    dropped: int = 0


FromWorker: TypeAlias = Register | Held | Ready | Failed | Started | Spurned | Ended | Report | Traced


# Daemon to worker.


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The registration is accepted; the worker goes on with `Held`, then `Ready`."""


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """The calls of one `Held` message are in the books and their descriptors owned."""


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Run this call; its three descriptors (stdin, stdout, stderr) are attached.

    Attributes:
        id: the call's id, unique across daemons and restarts.
        args: what the dialplan passed, as bytes, for a caller's name need not be UTF-8.
        started: wall-clock time of admission.
        age: seconds since admission.
        attempt: 1, or 2 after a retry.
        transport: how it came.
        early: what was read of its events while it waited.
        traced: somebody looks at it, from its first line on.
    """

    id: str
    args: tuple[bytes, ...]
    started: float
    age: float = 0.0
    attempt: int = 1
    transport: str = "pipe"
    early: bytes = b""
    traced: bool = False


class Drop(msgspec.Struct, frozen=True, kw_only=True, tag="drop"):
    """The daemon has ended this call itself: cancel the app, send nothing more, close."""

    id: str


class Trace(msgspec.Struct, frozen=True, kw_only=True, tag="trace"):
    """Somebody looks at this call, or does so no more.

    Attributes:
        id: the call's id.
        on: whether to tell of its lines.
    """

    id: str
    on: bool


class Retire(msgspec.Struct, frozen=True, tag="retire"):
    """Take no new calls; leave the lifespan and exit after the last one."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """The service stops: end what is left and exit, whether calls are left or not."""


class Leave(msgspec.Struct, frozen=True, tag="leave"):
    """The daemon goes away on purpose and the next one comes: keep the calls and register with it."""


FromDaemon: TypeAlias = Welcome | Kept | Start | Drop | Trace | Retire | Stop | Leave


_encoder = msgspec.msgpack.Encoder()
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_from_daemon: msgspec.msgpack.Decoder[FromDaemon] = msgspec.msgpack.Decoder(FromDaemon)


def encode(message: FromWorker | FromDaemon) -> bytes:
    """Turn a message into the bytes of one packet."""
    return _encoder.encode(message)


def decode_from_worker(data: bytes) -> FromWorker:
    """Read one packet that came from a worker.

    Raises:
        WireError: it is not a message of ours; one line that says why.
    """
    try:
        return _from_worker.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise WireError(f"worker message of {len(data)} bytes cannot be read: {str(error)[:200]!a}") from None


def decode_from_daemon(data: bytes) -> FromDaemon:
    """Read one packet that came from the daemon.

    Raises:
        WireError: it is not a message of ours; one line that says why.
    """
    try:
        return _from_daemon.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise WireError(f"daemon message of {len(data)} bytes cannot be read: {str(error)[:200]!a}") from None
