"""What the command line says to a running daemon, and what it hears back: a request, then answers until the last.

The rule that holds here: requests and answers are msgspec structs in msgpack, versioned by ivrd's release being in the
status; long lists come in several messages, since a SEQPACKET message has a limit.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ivrd.errors import WireError
from ivrd.wire.messages import WireLine

__all__ = [
    "ROWS_A_MESSAGE",
    "Answer",
    "AppStatus",
    "CallRow",
    "Calls",
    "CallsAnswer",
    "Done",
    "Drain",
    "Hangup",
    "LastReload",
    "Refused",
    "Reload",
    "Reloaded",
    "Request",
    "Status",
    "StatusAnswer",
    "Trace",
    "TraceLines",
    "TraceOver",
    "Tracing",
    "WorkerRow",
    "decode_answer",
    "decode_request",
    "encode",
]

MAX_MESSAGE = 131_072  # bytes
ROWS_A_MESSAGE = 200  # calls; some hundred bytes each


class Status(msgspec.Struct, frozen=True, tag="status"):
    """How is it going?"""


class Calls(msgspec.Struct, frozen=True, tag="calls"):
    """Which calls are live?

    Attributes:
        app: only those of this app; "" for all.
    """

    app: str = ""


class Hangup(msgspec.Struct, frozen=True, tag="hangup"):
    """End this call.

    Attributes:
        id: the call's id.
    """

    id: str


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """Read the configuration and import the apps again; the answer comes when it is done."""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Take no new calls, see the live ones off, then stop; the answer comes at once."""


class Trace(msgspec.Struct, frozen=True, kw_only=True, tag="trace"):
    """Tell what goes over the wire of one call, until it ends or the connection is closed.

    Attributes:
        id: the call's id; "" for the next one that comes.
        app: the next one of this app; "" for any.
    """

    id: str = ""
    app: str = ""


Request: TypeAlias = Status | Calls | Hangup | Reload | Drain | Trace


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One worker.

    Attributes:
        pid: its process id.
        state: `starting`, `ready`, `retiring` or `stopping`.
        generation: of configuration and code; the app's own number is the one in force.
        calls: calls it holds.
        served: calls it was given in its life.
        age: seconds since it was started.
        rss: resident memory, bytes.
        lag: by how many seconds its loop was late at most, as it reported last.
        stuck: handlers on threads that outlived their calls.
        adopted: it was started by a daemon before this one.
    """

    pid: int
    state: str
    generation: int
    calls: int
    served: int
    age: float
    rss: int
    lag: float
    stuck: int
    adopted: bool


class AppStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One app's pool.

    Attributes:
        name: its name.
        open: it takes new calls.
        generation: the one in force.
        capacity: calls that its ready workers can hold.
        busy: calls that workers hold.
        waiting: calls in its queue.
        backoff: seconds until a worker may be started again; 0 when all is well.
        failure: why the last worker that did not start did not.
        workers: its workers.
    """

    name: str
    open: bool
    generation: int
    capacity: int
    busy: int
    waiting: int
    backoff: float
    failure: str
    workers: tuple[WorkerRow, ...]


class LastReload(msgspec.Struct, frozen=True, kw_only=True):
    """How the last reload went.

    Attributes:
        at: wall-clock time of its end, seconds since the epoch.
        error: why it changed nothing, a line for each problem; "" when it succeeded.
    """

    at: float
    error: str = ""


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True, tag="status"):
    """How it is going.

    Attributes:
        release: ivrd's.
        pid: the daemon's.
        uptime: seconds since it was ready.
        draining: it stops.
        max_calls: the limit over all apps.
        calls: live calls by state.
        results: calls that ended since the start, by result.
        apps: its apps.
        reload: the last reload; None when there was none since the start.
        lag: by how many seconds the daemon's loop was late at most, within the last half to whole minute.
        descriptors: files that the daemon has open.
        descriptor_limit: how many it may have open.
    """

    release: str
    pid: int
    uptime: float
    draining: bool
    max_calls: int
    calls: dict[str, int]
    results: dict[str, int]
    apps: tuple[AppStatus, ...]
    # A daemon of an earlier release does not tell these: whoever asks may be newer, for a moment during an upgrade.
    reload: LastReload | None = None
    lag: float = 0.0
    descriptors: int = 0
    descriptor_limit: int = 0


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One live call.

    Attributes:
        id: its id.
        app: its app.
        state: where it is in its life.
        age: seconds since admission.
        started: wall-clock time of admission, seconds since the epoch.
        attempt: 1, or 2 after a retry.
        worker: process id of its worker; 0 while it waits.
        args: how many arguments the dialplan passed.
        transport: how it came.
    """

    id: str
    app: str
    state: str
    age: float
    started: float
    attempt: int
    worker: int
    args: int
    transport: str


class CallsAnswer(msgspec.Struct, frozen=True, kw_only=True, tag="calls"):
    """Some of the live calls.

    Attributes:
        rows: these.
        last: no more follow.
    """

    rows: tuple[CallRow, ...]
    last: bool


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It is done, or begun.

    Attributes:
        text: one line for a person.
    """

    text: str


class Reloaded(msgspec.Struct, frozen=True, kw_only=True, tag="reloaded"):
    """The reload is done: new calls run the new code.

    Attributes:
        apps: apps that run a new generation.
        added: apps that are new.
        removed: apps that take no new calls any more.
        restart: keys that changed and wait for a restart.
    """

    apps: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    restart: tuple[str, ...]


class Tracing(msgspec.Struct, frozen=True, kw_only=True, tag="tracing"):
    """This is the call; its lines follow.

    Attributes:
        id: its id.
        app: its app.
        args: what the dialplan passed.
        age: seconds since its admission; what went over the wire before is not known.
    """

    id: str
    app: str
    args: tuple[bytes, ...]
    age: float


class TraceLines(msgspec.Struct, frozen=True, kw_only=True, tag="lines"):
    """What went over the wire.

    Attributes:
        lines: the lines, in order.
        dropped: how many were left out up to now, because somebody on the way was too slow.
    """

    lines: tuple[WireLine, ...]
    dropped: int


class TraceOver(msgspec.Struct, frozen=True, kw_only=True, tag="over"):
    """The call is over.

    Attributes:
        result: how it ended.
        detail: one line more.
    """

    result: str
    detail: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It cannot be done; nothing has changed.

    Attributes:
        text: why, a line for each problem.
    """

    text: str


Answer: TypeAlias = StatusAnswer | CallsAnswer | Done | Reloaded | Tracing | TraceLines | TraceOver | Refused

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encode(message: Request | Answer) -> bytes:
    """Turn a message into the bytes of one packet."""
    return _encoder.encode(message)


def decode_request(data: bytes) -> Request:
    """Read a request.

    Raises:
        WireError: it is not one of ours.
    """
    try:
        return _requests.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise WireError(f"control request cannot be read: {str(error)[:200]!a}") from None


def decode_answer(data: bytes) -> Answer:
    """Read an answer.

    Raises:
        WireError: it is not one of ours.
    """
    try:
        return _answers.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        what = f"the daemon's answer cannot be read ({str(error)[:200]!a})"
        raise WireError(f"{what}: is it of another release?") from None
