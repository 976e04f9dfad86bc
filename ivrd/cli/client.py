"""The command line's side of the control socket.

The rule that holds here: a daemon that is not there, or may not be asked, is one line: which socket, and what to do.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from ivrd.config import control_socket
from ivrd.errors import IvrdError
from ivrd.wire import control as wire

__all__ = ["Refusal", "ask", "ask_all", "follow"]

PATIENCE = 10.0  # seconds for a daemon to answer what it knows at once


class Refusal(IvrdError):
    """The daemon is there and says no; the message is what it says."""


def ask_all(config_path: str, request: wire.Request, patience: float | None = PATIENCE) -> Iterator[wire.Answer]:
    """Ask the daemon that a configuration describes.

    Args:
        config_path: the configuration's file; it may be broken by now.
        request: what is asked.
        patience: seconds to wait for each answer; None for as long as it takes.

    Yields:
        Its answers, to the last.

    Raises:
        IvrdError: there is no daemon, it does not answer, or it refuses (a `Refusal`).
        ConfigError: the configuration cannot be read.
    """
    with _asking(config_path, request, patience) as sock:
        while data := sock.recv(wire.MAX_MESSAGE):
            yield _read(data)


async def follow(
    config_path: str, request: wire.Request, patience: float | None = PATIENCE
) -> AsyncGenerator[wire.Answer, None]:
    """As `ask_all`, while other tasks go on; close it, or cancel who waits for it, and the daemon knows at once."""
    import anyio  # most commands have nothing else to do meanwhile

    with _asking(config_path, request, 0.0) as sock:
        while True:
            with anyio.fail_after(patience):
                await anyio.wait_readable(sock)
            if not (data := sock.recv(wire.MAX_MESSAGE)):
                return
            yield _read(data)


def ask(config_path: str, request: wire.Request, patience: float | None = PATIENCE) -> wire.Answer:
    """Ask for one answer; arguments and errors as `ask_all`."""
    for answer in ask_all(config_path, request, patience):
        return answer
    raise IvrdError("the daemon went away before it answered")


@contextmanager
def _asking(config_path: str, request: wire.Request, timeout: float | None) -> Iterator[socket.socket]:
    """Connect and ask; what goes wrong with the connection, then or later, comes as a line."""
    path = control_socket(config_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(path)
            sock.send(wire.encode(request))
            yield sock
        except (FileNotFoundError, ConnectionRefusedError):
            raise IvrdError(f"no daemon listens at {path}: is ivrd running, with this configuration?") from None
        except PermissionError:
            raise IvrdError(f"no permission for {path}: only root and ivrd's own user may ask") from None
        except (TimeoutError, BlockingIOError):  # the latter where too many wait at its door already
            raise IvrdError(f"the daemon at {path} does not answer: it is stuck or stopped; see its log") from None
        except OSError as error:
            raise IvrdError(f"{path}: {error.strerror}") from None


def _read(data: bytes) -> wire.Answer:
    answer = wire.decode_answer(data)
    if isinstance(answer, wire.Refused):
        raise Refusal(answer.text)
    return answer
