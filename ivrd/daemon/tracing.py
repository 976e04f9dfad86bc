"""A live trace of one call for an operator: worker to daemon to control socket, as it happens.

The rule that holds here: neither call nor worker ever waits for who looks. What the operator's connection does not take
in time is left out, with its number told; when the last operator goes, the worker is told to be quiet at once.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from ivrd.wire import control as wire
from ivrd.wire.messages import Traced

if TYPE_CHECKING:
    from .calls import Call
    from .switchboard import Switchboard

__all__ = ["Tap", "trace"]

_WAITING = 200  # messages to one operator

Send = Callable[[socket.socket, wire.Answer], Awaitable[None]]


class Tap:
    """One operator's ear at one call."""

    def __init__(self) -> None:
        self._send, self.heard = trio.open_memory_channel[wire.TraceLines | wire.TraceOver](_WAITING)
        self._dropped = 0

    def hear(self, message: Traced) -> None:
        """Take what the worker tells."""
        try:
            self._send.send_nowait(wire.TraceLines(lines=message.lines, dropped=message.dropped + self._dropped))
        except trio.WouldBlock:
            self._dropped += len(message.lines)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the operator has just gone, or the call is over and its worker still tells

    def over(self, call: Call) -> None:
        """Take note that the call is over; nothing is told after this."""
        # Where there is no room for this the end of the connection says it too.
        with self._send, suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._send.send_nowait(wire.TraceOver(result=call.life.result or "hangup", detail=call.detail))


async def trace(board: Switchboard, connection: socket.socket, request: wire.Trace, send: Send) -> None:
    """Tell an operator of a call until it is over or the operator has gone."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_notice_departure, connection, nursery.cancel_scope)
        with suppress(OSError):  # the operator went in the middle of a line
            await _tell(board, connection, request, send)
        nursery.cancel_scope.cancel()


async def _tell(board: Switchboard, connection: socket.socket, request: wire.Trace, send: Send) -> None:
    tap = Tap()
    call = await _find(board, request, tap)
    if isinstance(call, str):
        await send(connection, wire.Refused(call))
        return
    try:
        await send(connection, wire.Tracing(id=call.id, app=call.pool.name, args=call.args, age=call.age))
        async for answer in tap.heard:
            await send(connection, answer)
    finally:
        _remove(tap, call)


async def _find(board: Switchboard, request: wire.Trace, tap: Tap) -> Call | str:
    """Find the call and put the tap on it; or say why that cannot be."""
    if not request.id:
        if request.app and board.pool(request.app) is None:
            known = ", ".join(pool.name for pool in board.open_pools)
            return f"there is no app {request.app!r}; there is {known}"
        return await _next_call(board, request.app, tap)
    call = board.calls.get(request.id)
    if call is None:
        return f"there is no live call {request.id!r}; `ivrd calls` lists them"
    call.taps.append(tap)
    if call.worker is not None and call.worker.holds(call):
        call.worker.trace(call.id, True)
    return call


async def _next_call(board: Switchboard, app: str, tap: Tap) -> Call:
    found: list[Call] = []
    came = trio.Event()

    def look(call: Call) -> None:
        if not found and app in ("", call.pool.name):
            found.append(call)
            call.taps.append(tap)
            came.set()

    board.expected.append(look)
    try:
        await came.wait()
    except trio.Cancelled:
        for call in found:  # it came in the moment in which the operator went
            _remove(tap, call)
        raise
    finally:
        board.expected.remove(look)
    return found[0]


def _remove(tap: Tap, call: Call) -> None:
    call.taps.remove(tap)
    tap.heard.close()
    if not call.taps and call.worker is not None and call.worker.holds(call):
        call.worker.trace(call.id, False)


async def _notice_departure(connection: socket.socket, scope: trio.CancelScope) -> None:
    # An operator has nothing more to say, so whatever can be read is the end.
    await trio.lowlevel.wait_readable(connection)
    scope.cancel()
