"""What an app can do with its call besides playing and asking: variables, the channel itself, events, and the end.

The rule that holds here: each method says one thing to Asterisk, or asks one thing and waits for the answer, and
refuses what cannot be said before a byte is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import NoReturn, Protocol, overload

import anyio.lowlevel

from ivrd import eivr
from ivrd.errors import CallEnded, NotAnswered
from ivrd.worker.channel import Channel
from ivrd.worker.events import Events

__all__ = ["Controls", "Ender"]

_FENCE = "IVRD_FENCE"


class Ender(Protocol):
    """What ends a call on the app's wish."""

    def exit(self, message: str) -> None:
        """Leave to the dialplan."""
        ...

    def hangup(self, message: str) -> None:
        """Hang up."""
        ...


class Controls:
    """The half of `Call` that needs no caller."""

    def __init__(
        self,
        channel: Channel,
        ender: Ender,
        *,
        id: str,  # noqa: A002 - the app author's word
        app: str,
        args: tuple[str, ...],
        started: datetime,
        attempt: int,
        allow_functions: Collection[str],
    ) -> None:
        self.id = id
        self.app = app
        self.args = args
        self.started = started
        self.attempt = attempt
        self._channel = channel
        self._ender = ender
        self._allow_functions = allow_functions

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of app {self.app}>"

    @property
    def hungup(self) -> bool:
        """Whether the caller is gone."""
        return self._channel.hungup

    @property
    def over(self) -> str:
        """Why nothing can be sent any more, in words; "" while the call goes on."""
        return self._channel.over

    # Variables

    @overload
    async def get(self, name: str, /) -> str: ...

    @overload
    async def get(self, name: str, second: str, /, *more: str) -> tuple[str, ...]: ...

    async def get(self, name: str, /, *more: str) -> str | tuple[str, ...]:
        """Read channel variables.

            balance = await call.get("BALANCE")
            first, last = await call.get("FIRST_NAME", "LAST_NAME")

        Asterisk gives stored variables only: what it computes (`CHANNEL`, `UNIQUEID`) and functions (`CALLERID(num)`)
        come back empty, so let the dialplan pass them as arguments.

        Args:
            name: the variable's name.
            more: further names; each is asked for by itself, so that commas in values do no harm.

        Returns:
            The value of one name, or the values of several in their order; "" for a variable that is not set.

        Raises:
            InvalidValue: a name is not a plain one; nothing was sent.
            CallEnded: the call is over.
        """
        names = (name, *more)
        questions = [(each, self._channel.make(eivr.get_variables, each)) for each in names]
        requests = self._channel.ask(*questions)
        await self._channel.written()
        await self._channel.until(lambda: requests[-1].reply is not None)
        values = tuple(
            request.reply.value(request.name) if isinstance(request.reply, eivr.Variables) else ""
            for request in requests
        )
        return values if more else values[0]

    async def set(self, **variables: str) -> None:
        """Set channel variables.

            await call.set(RESULT="paid", _INHERITED="yes")

        Raises:
            InvalidValue: a value has a comma, CR, LF or NUL (Asterisk would read another assignment, with which a
                caller could write files), is not a `str`, or all of it is too long for a line; nothing was sent.
            CallEnded: the call is over.
        """
        await self._channel.send(self._channel.make(eivr.set_variables, variables))

    async def set_function(self, name: str, value: str) -> None:
        """Write a dialplan function, such as `CALLERID(name)`.

        Args:
            name: the function with its argument; it must be among the app's `allow_functions`.
            value: as in `set`.

        Raises:
            InvalidValue: the function is not allowed or the value is not legal; nothing was sent.
            CallEnded: the call is over.
        """
        await self._channel.send(self._channel.make(eivr.set_function, name, value, self._allow_functions))

    async def params(self) -> tuple[str, ...]:
        """Ask Asterisk for the command and arguments of `ExternalIVR()`; it cuts them at about 99 bytes, unlike `args`.

        Raises:
            CallEnded: the call is over.
        """
        (request,) = self._channel.ask(("", eivr.get_params()))
        await self._channel.written()
        await self._channel.until(lambda: request.reply is not None)
        return request.reply.params if isinstance(request.reply, eivr.Params) else ()

    # The channel

    async def answer(self) -> None:
        """Answer the channel, which is needed under option `n` only, and wait until it is up.

        Raises:
            NotAnswered: Asterisk could not answer it.
            CallEnded: the call is over.
        """
        self._channel.require_caller()
        self._channel.setup_failure = ""
        self._channel.post(eivr.answer())
        # Success makes no event, so ask something behind it: answers come in order.
        await self.get(_FENCE)
        if self._channel.setup_failure:
            raise NotAnswered(f"Asterisk could not answer the channel ({self._channel.setup_failure}); see its log")

    async def send_dtmf(self, digits: str, *, interval_ms: int | None = None, duration_ms: int | None = None) -> None:
        """Send keys to the other end; what plays stops for so long, and keys of the caller's are lost meanwhile.

        This does not wait until they are sent; all that is sent after it waits for that in Asterisk.

        Args:
            digits: `0`-`9`, `*`, `#`, `A`-`D`; `w` waits half a second.
            interval_ms: milliseconds between them; Asterisk's own is 250.
            duration_ms: milliseconds that each lasts.

        Raises:
            InvalidValue: something else is among them; nothing was sent.
            CallEnded: the call is over.
        """
        line = self._channel.make(eivr.send_dtmf, digits, interval_ms, duration_ms)
        self._channel.require_caller()
        await self._channel.send_keys(line, eivr.sending_seconds(digits, interval_ms, duration_ms))

    async def log(self, text: object) -> None:
        """Write a line to Asterisk's log; secret digits are masked, what does not fit is cut.

        Args:
            text: anything that `print` would take.

        Raises:
            CallEnded: the call is over.
        """
        await self._channel.send(eivr.log(self._channel.secrets.masked(eivr.as_text(text))))

    def events(self) -> Events:
        """Give all events from now on, keys among them, until the call ends.

            async for event in call.events():
                if isinstance(event, eivr.Key):
                    ...

        Keys also stay there for `digits()` and `menu()`. Whoever takes events too slowly loses the oldest ones.
        """
        return Events(self._channel)

    # The end

    async def exit(self, message: str = "") -> NoReturn:
        """Leave to the dialplan, which continues behind `ExternalIVR()`; the handler ends here.

        Works from any task of the handler. `IVRD_STATUS` is `OK`, as when the handler returns.

        Args:
            message: for Asterisk's log.

        Raises:
            CallEnded: the call was over already.
        """
        await self._end(self._ender.exit, message)

    async def hangup(self, message: str = "") -> NoReturn:
        """Hang up; the handler ends here. Works from any task of the handler.

        Args:
            message: for Asterisk's log.

        Raises:
            CallEnded: the call was over already.
        """
        await self._end(self._ender.hangup, message)

    async def _end(self, end: Callable[[str], None], message: object) -> NoReturn:
        if not self._channel.over:
            end("" if message is None else eivr.as_text(message))
            # The handler's task is cancelled by now, and stops here unless it is shielded.
            await anyio.lowlevel.checkpoint()
        raise CallEnded(self._channel.over)
