"""The operator at the door: one request a connection, answered by who can.

The rule that holds here: only root and the daemon's own user are heard, and nothing an operator asks can end the daemon
but the request to drain it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import msgspec
import structlog
import trio

from ivrd import descriptors
from ivrd.errors import WireError
from ivrd.rules.life import OrderedOut
from ivrd.wire import control as wire

from . import sockets
from .reload import Reloader, ReloadError
from .report import call_row, calls, open_descriptors, status
from .switchboard import Switchboard
from .tracing import trace

__all__ = ["Control"]

log = structlog.get_logger("ivrd.daemon")

REQUEST_DEADLINE = 5.0  # seconds between a connection and its request


class Control:
    """Answers the control socket.

    Args:
        board: what is asked about.
        reloader: reloads.
        drain: begins to drain and stop.
        home: the nursery that connections are served in.
    """

    def __init__(self, board: Switchboard, reloader: Reloader, drain: Callable[[], None], home: trio.Nursery) -> None:
        self._board = board
        self._reloader = reloader
        self._drain = drain
        self._home = home

    def take(self, connection: socket.socket) -> None:
        """Take a connection; it is ours to close from now on."""
        self._home.start_soon(self._serve, connection)

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                _, uid, _ = descriptors.peer_credentials(connection)
                if uid not in (0, os.geteuid()):
                    await self._answer(connection, wire.Refused("only root and ivrd's own user may do this"))
                    return
                data = b""
                with trio.move_on_after(REQUEST_DEADLINE):
                    data, fds = await sockets.receive(connection, wire.MAX_MESSAGE, 0)
                    descriptors.close_all(fds)
                if data:
                    await self._obey(connection, wire.decode_request(data))
            except WireError as error:
                log.warning("control_nonsense", reason=str(error))
            except OSError:
                pass  # the operator went away
            except Exception as error:
                # An error of ours: whoever asked gets no answer, and everybody else is served on.
                log.error("control_broke", exc_info=error)

    async def _obey(self, connection: socket.socket, request: wire.Request) -> None:
        board = self._board
        answer: wire.Answer
        match request:
            case wire.Status():
                answer = status(board, self._reloader.last, await open_descriptors())
            case wire.Calls():
                chosen = calls(board, request.app)
                for start in range(0, max(1, len(chosen)), wire.ROWS_A_MESSAGE):
                    rows = map(call_row, chosen[start : start + wire.ROWS_A_MESSAGE])
                    last = start + wire.ROWS_A_MESSAGE >= len(chosen)
                    await self._answer(connection, wire.CallsAnswer(rows=tuple(rows), last=last))
                return
            case wire.Hangup():
                call = board.calls.get(request.id)
                if call is None:
                    answer = wire.Refused(f"there is no live call {request.id!r}; `ivrd calls` lists them")
                else:
                    log.info("operator_hangup", call=call.id)
                    call.tell(OrderedOut("operator", "hung up by the operator"))
                    answer = wire.Done(f"call {call.id} is being hung up")
            case wire.Reload():
                try:
                    outcome = await self._reloader.reload()
                except ReloadError as error:
                    answer = wire.Refused(str(error))
                else:
                    answer = msgspec.convert(msgspec.structs.asdict(outcome), wire.Reloaded)
            case wire.Trace():
                await trace(board, connection, request, self._answer)
                return
            case wire.Drain():
                count = len(board.calls)
                self._drain()
                answer = wire.Done(f"draining: no new calls are taken, {count} are live")
        await self._answer(connection, answer)

    async def _answer(self, connection: socket.socket, answer: wire.Answer) -> None:
        data = wire.encode(answer)
        while True:
            try:
                connection.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(connection)
            else:
                await trio.lowlevel.checkpoint()  # a long list is not to hold up who calls
                return
