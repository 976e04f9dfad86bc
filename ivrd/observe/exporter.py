"""The exporter: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever restarts or routes, over HTTP/1.1.

The rule that holds here: nobody who connects can hurt the daemon. A request has a size and a deadline, connections have
a number, the newcomer outranks whoever has kept us waiting longest, and no fault of one connection leaves its task.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

import h11
import msgspec
import structlog
import trio

from ivrd.errors import ServeError

from .metrics import Metrics

__all__ = ["MAX_CONNECTIONS", "MAX_HEAD", "Health", "serve"]

MAX_CONNECTIONS: Final = 32
MAX_HEAD: Final = 8192  # bytes of a request's line and headers
REQUEST_TIMEOUT: Final = 10.0  # seconds for a request to come in whole, and for an answer to be taken
LINGER: Final = 1.0  # seconds for a client to finish what we will not read, so that it can read the answer
KEEP_ALIVE: Final = 75.0  # seconds between two requests; longer than the usual scrape interval

_TEXT: Final = "text/plain; charset=utf-8"
_INDEX: Final = b"""<!DOCTYPE html>
<html lang="en"><head><title>ivrd</title></head><body><h1>ivrd</h1><ul>
<li><a href="/metrics">/metrics</a>: figures for Prometheus</li>
<li><a href="/healthz">/healthz</a>: the daemon is alive</li>
<li><a href="/readyz">/readyz</a>: each app takes calls</li>
</ul></body></html>
"""
_LONGEST_REASON: Final = 500

log = structlog.get_logger("ivrd.exporter")


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the daemon takes calls.

    Attributes:
        apps: for each configured app why it is not ready, "" where it is.
        problem: why no app takes calls, such as `starting` or `draining`; "" where nothing stands against it.
    """

    apps: Mapping[str, str] = {}
    problem: str = ""

    @property
    def ready(self) -> bool:
        """Whether each app takes calls."""
        return not self.problem and not any(self.apps.values())

    def text(self) -> str:
        """One line for each app, after one for what concerns them all."""
        lines = [self.problem] if self.problem else []
        lines += [f"{app}: {problem or 'ready'}" for app, problem in self.apps.items()]
        return "".join(f"{' '.join(line.split())[:_LONGEST_REASON]}\n" for line in lines)


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT
    headers: Sequence[tuple[str, str]] = ()


def _plain(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> _Answer:
    return _Answer(status=status, body=text.encode("utf-8", "replace"), headers=headers)


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    """Open the exporter's sockets, one for each address that the host has.

    Args:
        host: a name or an address, IPv4 or IPv6.
        port: 0 for any that is free.

    Raises:
        ServeError: it cannot be bound; says why and what to do.
    """
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise ServeError(f'metrics = "{shown}" cannot be served: {_advice(error)}') from None


def _advice(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host is not known ({error.strerror}); give an address such as 127.0.0.1"
    match error.errno:
        case errno.EADDRINUSE:
            return "the address is in use; stop what serves it (see `ss -ltnp`), or configure another port"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; give one of its own, such as 127.0.0.1"
        case errno.EACCES | errno.EPERM:
            return "no permission; configure a port of 1024 or above"
        case _:
            return f"{error.strerror or error}; configure another address"


def _listeners(sockets: list[socket.socket]) -> list[trio.SocketListener]:
    try:
        return [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]
    except (OSError, ValueError) as error:
        raise ServeError(f"the socket passed for metrics cannot be served: {error}; pass a listening TCP one") from None


async def serve(
    where: tuple[str, int] | list[socket.socket],
    metrics: Metrics,
    health: Callable[[], Health],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled.

    Args:
        where: host and port, or sockets that listen already (systemd's), which are closed at the end.
        metrics: what `/metrics` shows.
        health: what `/readyz` shows; called at each request for it.
        task_status: told when connections are taken.

    Raises:
        ServeError: the address cannot be bound; says why and what to do.
    """
    listeners = await _listen(*where) if isinstance(where, tuple) else _listeners(where)
    server = _Server(metrics, health)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, server.converse, listeners)
        task_status.started()


class _Server:
    """The connections of one exporter."""

    def __init__(self, metrics: Metrics, health: Callable[[], Health]) -> None:
        self._metrics = metrics
        self._health = health
        self._connections = 0
        self._waiting: dict[trio.CancelScope, None] = {}  # who has yet to send a request, the longest first

    async def converse(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end; nothing but cancellation comes out of here."""
        if self._connections >= MAX_CONNECTIONS:
            if not self._waiting:
                await trio.aclose_forcefully(stream)
                return
            longest = next(iter(self._waiting))
            del self._waiting[longest]  # at once: the next newcomer must find another one
            longest.cancel()
        self._connections += 1
        try:
            async with stream:
                await self._converse(stream)
        except (trio.BrokenResourceError, h11.LocalProtocolError, OSError):
            pass  # it went away, or asked for what HTTP has no answer to
        except Exception:
            log.exception("exporter_failed")
        finally:
            self._connections -= 1

    async def _converse(self, stream: trio.SocketStream) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        patience = REQUEST_TIMEOUT
        while True:
            try:
                request = await self._request(http, stream, patience)
            except h11.RemoteProtocolError as error:
                answer = _plain(HTTPStatus(error.error_status_hint), f"{error}\n", ("Connection", "close"))
                await _send(http, stream, answer, body=True)
                await _see_off(stream)
                return
            if request is None:
                return
            await _send(http, stream, await self._answer(request), body=request.method != b"HEAD")
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                await _see_off(stream)
                return
            http.start_next_cycle()
            patience = KEEP_ALIVE

    async def _request(self, http: h11.Connection, stream: trio.SocketStream, patience: float) -> h11.Request | None:
        """Wait for a whole request.

        Returns:
            The request; None when the client has gone, was too slow or had to make room for another.
        """
        with trio.CancelScope(deadline=trio.current_time() + patience) as scope:
            self._waiting[scope] = None
            request: h11.Request | None = None
            try:
                while True:
                    event = http.next_event()
                    if event is h11.NEED_DATA:
                        data = await stream.receive_some(MAX_HEAD)
                        http.receive_data(data)
                        scope.deadline = min(scope.deadline, trio.current_time() + REQUEST_TIMEOUT)
                    elif isinstance(event, h11.Request):
                        request = event
                    else:  # its end; or a body, which nobody reads; or, where there was no request, the client's leave
                        return request
            finally:
                self._waiting.pop(scope, None)
        return None

    async def _answer(self, request: h11.Request) -> _Answer:
        path = request.target.partition(b"?")[0]
        if path not in (b"/", b"/metrics", b"/healthz", b"/readyz"):
            return _plain(HTTPStatus.NOT_FOUND, "not found; there are /metrics, /healthz and /readyz\n")
        if request.method not in (b"GET", b"HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n", ("Allow", "GET, HEAD"))
        try:
            if path == b"/metrics":
                return await self._figures(request)
            if path == b"/healthz":
                return _plain(HTTPStatus.OK, "ok\n")
            if path == b"/readyz":
                health = self._health()
                status = HTTPStatus.OK if health.ready else HTTPStatus.SERVICE_UNAVAILABLE
                return _plain(status, health.text() or "ready\n")
        except Exception:
            log.exception("exporter_failed", path=path.decode())
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR, "failed; ivrd's log has the reason\n")
        return _Answer(status=HTTPStatus.OK, body=_INDEX, content_type="text/html; charset=utf-8")

    async def _figures(self, request: h11.Request) -> _Answer:
        accept = b",".join(value for name, value in request.headers if name == b"accept").decode("latin-1")
        pieces, content_type = self._metrics.pieces(accept)
        body = bytearray()
        for piece in pieces:
            body += piece
            await trio.lowlevel.checkpoint()  # calls first
        return _Answer(status=HTTPStatus.OK, body=bytes(body), content_type=content_type)


async def _send(http: h11.Connection, stream: trio.SocketStream, answer: _Answer, *, body: bool) -> None:
    """Send an answer, whole or its head only, to a client that takes it in time."""
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        *answer.headers,
    ]
    head = h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase.encode())
    data = http.send(head) or b""
    if body:
        data += http.send(h11.Data(data=answer.body)) or b""
    data += http.send(h11.EndOfMessage()) or b""
    with trio.move_on_after(REQUEST_TIMEOUT) as scope:
        await stream.send_all(data)
    if scope.cancelled_caught:
        raise trio.BrokenResourceError("the client does not read")


async def _see_off(stream: trio.SocketStream) -> None:
    """End the connection so that the answer arrives: the kernel throws it away when we close with something unread."""
    with trio.move_on_after(LINGER):
        await stream.send_eof()
        while await stream.receive_some(MAX_HEAD):
            pass
