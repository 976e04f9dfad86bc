"""What the shim and the daemon say to each other: one hello with a call's three descriptors, then a few words back.

The rule that holds here: this form is frozen. Shims of an older installation talk to newer daemons (and the reverse)
during every upgrade, so a change needs a new version word, never a new meaning of `ivrd1`. It is plain bytes, not
msgpack, because the shim is a small C program without a heap.

The hello is one SEQPACKET message with exactly three descriptors attached (read end of stdin, write ends of stdout and
of stderr). Its fields each end in NUL: `ivrd1`, fallback (`hangup` or `exit`), time-out in milliseconds, app, args.
The answers are one message each: `queued MILLISECONDS`, `started`, `ended`, `refused STATUS ACTION REASON`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec

from ivrd.errors import WireError

__all__ = [
    "ENDED",
    "HELLO_DESCRIPTORS",
    "MAX_ARGS",
    "MAX_HELLO",
    "MAX_REPLY",
    "MAX_TIMEOUT_MS",
    "STARTED",
    "Action",
    "Fallback",
    "Hello",
    "Reply",
    "Status",
    "encode_hello",
    "parse_hello",
    "parse_reply",
    "queued",
    "refused",
]

VERSION = b"ivrd1"
HELLO_DESCRIPTORS = 3
MAX_HELLO = 16_384  # bytes, NULs included
MAX_ARGS = 32  # Asterisk splits ExternalIVR's argument into 32 words at most
MAX_REPLY = 512  # bytes; the shim's buffer, and half of the 1,023 that Asterisk takes as one line of its log
MAX_TIMEOUT_MS = 3_600_000  # an hour: nobody waits longer for an IVR, and every sum of two fits the shim's integers

STARTED = b"started"
ENDED = b"ended"

Fallback: TypeAlias = Literal["hangup", "exit"]
Action: TypeAlias = Literal["hangup", "exit", "-"]


class Status(StrEnum):
    """Why a call was not taken, or was sent on: the value of the channel variable `IVRD_STATUS`."""

    UNAVAILABLE = "UNAVAILABLE"  # no daemon, or one that does not answer
    OVERLOADED = "OVERLOADED"  # no room, in the app or in its queue
    UNKNOWN_APP = "UNKNOWN_APP"  # the configuration has no app of that name
    CRASHED = "CRASHED"  # the worker died with the call, or the app has no worker that starts
    ERROR = "ERROR"  # the app raised, or the hello was malformed
    TIMEOUT = "TIMEOUT"  # a deadline ended the call, or the wait for a worker
    DRAINING = "DRAINING"  # the daemon is stopping
    DENIED = "DENIED"  # the shim's user is not among `allow_users`


class Hello(msgspec.Struct, frozen=True):
    """A shim's request: hand this call to that app.

    Attributes:
        app: the app's name, never empty; bytes that are not UTF-8 are kept as surrogate escapes.
        args: what the dialplan passed, at most `MAX_ARGS`, empty ones included.
        fallback: what the shim does with the caller when nobody takes the call.
        timeout_ms: how long the shim waits for the daemon's first answer, in milliseconds from the shim's own start.
    """

    app: str
    args: tuple[str, ...]
    fallback: Fallback
    timeout_ms: int


class Reply(msgspec.Struct, frozen=True):
    """One answer of the daemon.

    Attributes:
        kind: `queued` (wait for `started`), `started` (a worker has the call: exit), `ended` (the caller is gone: exit)
            or `refused` (fall back).
        wait_ms: for `queued`, how long the shim waits for `started` at most, in milliseconds from now.
        status: for `refused`, why, as `IVRD_STATUS` will say.
        action: for `refused`, what the shim does with the caller; `-` leaves it to the shim's own `--fallback`.
        reason: for `refused`, the same for a person, one line.
    """

    kind: Literal["queued", "started", "ended", "refused"]
    wait_ms: int = 0
    status: Status | None = None
    action: Action = "-"
    reason: str = ""


def parse_hello(data: bytes) -> Hello:
    """Read a shim's hello.

    Args:
        data: one whole message as received, whoever sent it.

    Returns:
        The request.

    Raises:
        WireError: the message is not a hello of this version; one line that says what is wrong with it.
    """
    if not data:
        raise WireError("hello: the peer closed without sending one")
    if len(data) > MAX_HELLO:
        raise WireError(f"hello: more than {MAX_HELLO} bytes; pass fewer or shorter arguments")
    version, *fields = data.split(b"\0")
    if version != VERSION:
        raise WireError(f"hello: begins with {_shown(version)}, not with {_shown(VERSION)}; is this an ivrd-shim?")
    if not fields or fields.pop() != b"":
        raise WireError("hello: its last field is not ended by NUL; was the message cut?")
    if len(fields) < 3:
        raise WireError(f"hello: {len(fields)} fields after the version, but fallback, time-out and app are needed")
    fallback, timeout, app, *args = fields
    if fallback == b"hangup":
        how: Fallback = "hangup"
    elif fallback == b"exit":
        how = "exit"
    else:
        raise WireError(f"hello: fallback {_shown(fallback)} is neither hangup nor exit")
    if not app:
        raise WireError("hello: the app's name is empty; write ivrd-shim(APP,…) in the dialplan")
    if len(args) > MAX_ARGS:
        raise WireError(f"hello: {len(args)} arguments, but at most {MAX_ARGS} are allowed")
    return Hello(
        app=_text(app),
        args=tuple(_text(arg) for arg in args),
        fallback=how,
        timeout_ms=_milliseconds(timeout, "hello: time-out"),
    )


def encode_hello(hello: Hello) -> bytes:
    """Write a hello as the shim would: for tests and load drivers.

    Args:
        hello: the request.

    Returns:
        The message, without its descriptors.

    Raises:
        WireError: the request cannot be said: a NUL in a field, too many arguments, more than `MAX_HELLO` bytes.
    """
    fields = (hello.fallback, str(hello.timeout_ms), hello.app, *hello.args)
    try:
        encoded = [field.encode("utf-8", "surrogateescape") for field in fields]
    except UnicodeEncodeError as error:
        raise WireError(f"hello: {error.object!r} cannot be written as bytes") from error
    if any(b"\0" in field for field in encoded):
        raise WireError("hello: a field contains NUL, which ends fields")
    data = b"\0".join([VERSION, *encoded, b""])
    parse_hello(data)
    return data


def queued(wait_ms: int) -> bytes:
    """Tell the shim that the call is taken in.

    Args:
        wait_ms: how long the shim waits for `started` at most, in milliseconds from now (cut to `MAX_TIMEOUT_MS`).

    Returns:
        The message.
    """
    return b"queued %d" % max(0, min(wait_ms, MAX_TIMEOUT_MS))


def refused(status: Status, action: Action, reason: str) -> bytes:
    """Tell the shim to fall back.

    Args:
        status: why, for `IVRD_STATUS`.
        action: what to do with the caller; `-` leaves it to the shim's own `--fallback`.
        reason: why, for a person. It becomes a line of Asterisk's log, so what is not printable turns into a blank and
            what is beyond `MAX_REPLY` bytes is cut off.

    Returns:
        The message.
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in reason).split())
    message = f"refused {status} {action} {line}".encode()[:MAX_REPLY]
    return message.decode("utf-8", "ignore").rstrip().encode()  # a cut may have left half a character


def parse_reply(data: bytes) -> Reply:
    """Read one answer of the daemon: for tests and load drivers.

    Args:
        data: one whole message as received.

    Returns:
        The answer.

    Raises:
        WireError: it is none of the four, one line that says what was there instead.
    """
    word, _, rest = data.partition(b" ")
    if data == STARTED:
        return Reply("started")
    if data == ENDED:
        return Reply("ended")
    if word == b"queued":
        return Reply("queued", wait_ms=_milliseconds(rest, "reply: queued"))
    if word == b"refused" and len(data) <= MAX_REPLY:
        status, _, rest = rest.partition(b" ")
        action, _, reason = rest.partition(b" ")
        try:
            return Reply("refused", status=Status(_text(status)), action=_action(action), reason=_text(reason))
        except ValueError as error:
            raise WireError(f"reply: {_shown(data)} names an unknown status or action") from error
    raise WireError(f"reply: {_shown(data)} is none of queued, started, ended, refused")


def _action(word: bytes) -> Action:
    match word:
        case b"hangup":
            return "hangup"
        case b"exit":
            return "exit"
        case b"-":
            return "-"
        case _:
            raise ValueError(word)


def _milliseconds(field: bytes, what: str) -> int:
    # `bytes.isdigit` knows only 0-9; the length is looked at first, for int() of a long string takes quadratic time.
    if len(field) > len(str(MAX_TIMEOUT_MS)) or not field.isdigit() or int(field) > MAX_TIMEOUT_MS:
        raise WireError(f"{what} {_shown(field)} is not a number of milliseconds up to {MAX_TIMEOUT_MS}")
    return int(field)


def _text(field: bytes) -> str:
    # A caller's name may be in any encoding; surrogate escapes carry its bytes through unchanged.
    return field.decode("utf-8", "surrogateescape")


def _shown(field: bytes) -> str:
    # For error messages: one line, short, whatever the bytes are.
    return ascii(_text(field[:40]))
