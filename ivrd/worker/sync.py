"""The call, as a plain `def` handler gets it: the methods of `Call`, each blocking the handler's thread.

The rule that holds here: a thread cannot be cancelled, so each method raises `CallEnded` once the call is over, also in
the middle of waiting; a handler that lets it pass ends in time. Arguments, results and errors are those of `Call`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NoReturn, TypeVar, overload

import anyio.from_thread
import anyio.lowlevel

from ivrd import eivr
from ivrd.errors import CallEnded
from ivrd.worker.call import Call, Prompt
from ivrd.worker.events import Events
from ivrd.worker.playback import LONGEST_PROMPT, Played

__all__ = ["SyncCall", "SyncEvents"]

T = TypeVar("T")


class SyncEvents:
    """The events of a call for a blocking `for` loop; see `Events`."""

    def __init__(self, call: SyncCall, events: Events) -> None:
        self._call = call
        self._events = events

    @property
    def dropped(self) -> int:
        """How many were dropped because 1,024 others waited already."""
        return self._events.dropped

    def __iter__(self) -> Iterator[eivr.Event]:
        return self

    def __next__(self) -> eivr.Event:
        try:
            event = self._call._run(self._next)
        except CallEnded:
            raise StopIteration from None
        if event is None:
            raise StopIteration
        return event

    async def _next(self) -> eivr.Event | None:
        # StopAsyncIteration would not come through a coroutine as itself.
        return await anext(self._events, None)


class SyncCall:
    """One call, blocking; attributes and methods are those of `Call`.

        def main(call: SyncCall) -> None:
            call.play("welcome")
            number = call.digits("call-back-number", max=12)
            crm.store(number)       # any blocking library

    It may be used from further threads that the handler starts. What blocks elsewhere (a database, `time.sleep`) is not
    ended by a hangup: a handler that does not come back within `hangup_grace` is given up and counted as stuck.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._token = anyio.lowlevel.current_token()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of app {self.app}>"

    @property
    def id(self) -> str:
        """The call's id."""
        return self._call.id

    @property
    def app(self) -> str:
        """The name of the app."""
        return self._call.app

    @property
    def args(self) -> tuple[str, ...]:
        """What the dialplan passed."""
        return self._call.args

    @property
    def started(self) -> datetime:
        """When the call was admitted."""
        return self._call.started

    @property
    def attempt(self) -> int:
        """1, or 2 when the call was begun anew."""
        return self._call.attempt

    @property
    def hungup(self) -> bool:
        """Whether the caller is gone."""
        return self._call.hungup

    @property
    def over(self) -> str:
        """Why nothing can be sent any more, in words; "" while the call goes on."""
        return self._call.over

    def play(self, *prompts: str, interrupt: bool | str = False, longest: float = LONGEST_PROMPT) -> Played:
        """Play prompts and wait until they are over; see `Call.play`."""
        return self._run(self._call.play, *prompts, interrupt=interrupt, longest=longest)

    def queue(self, *prompts: str) -> None:
        """Queue prompts to be played, and do not wait for them; see `Call.queue`."""
        self._run(self._call.queue, *prompts)

    def interrupt(self) -> None:
        """Stop what plays and clear all that is queued; see `Call.interrupt`."""
        self._run(self._call.interrupt)

    def say_digits(self, digits: str, *, interrupt: bool | str = False) -> Played:
        """Say digits one by one; see `Call.say_digits`."""
        return self._run(self._call.say_digits, digits, interrupt=interrupt)

    def say_number(self, number: int, *, interrupt: bool | str = False) -> Played:
        """Say a whole number; see `Call.say_number`."""
        return self._run(self._call.say_number, number, interrupt=interrupt)

    def digits(
        self,
        prompt: Prompt | None = None,
        *,
        max: int = 32,  # noqa: A002 - the app author's word
        timeout: float = 5.0,
        digit_timeout: float = 3.0,
        terminators: str = "#",
        secret: bool = False,
        type_ahead: bool = True,
    ) -> str:
        """Ask for digits; see `Call.digits`."""
        return self._run(
            self._call.digits,
            prompt,
            max=max,
            timeout=timeout,
            digit_timeout=digit_timeout,
            terminators=terminators,
            secret=secret,
            type_ahead=type_ahead,
        )

    @overload
    def menu(
        self,
        prompt: Prompt,
        choices: str,
        *,
        retries: int = 2,
        timeout: float = 5.0,
        invalid: Prompt | None = None,
        no_input: Prompt | None = None,
        type_ahead: bool = True,
    ) -> str | None: ...

    @overload
    def menu(
        self,
        prompt: Prompt,
        choices: Mapping[str, T],
        *,
        retries: int = 2,
        timeout: float = 5.0,
        invalid: Prompt | None = None,
        no_input: Prompt | None = None,
        type_ahead: bool = True,
    ) -> T | None: ...

    def menu(
        self,
        prompt: Prompt,
        choices: str | Mapping[str, T],
        *,
        retries: int = 2,
        timeout: float = 5.0,
        invalid: Prompt | None = None,
        no_input: Prompt | None = None,
        type_ahead: bool = True,
    ) -> str | T | None:
        """Ask for one key of several; see `Call.menu`."""
        return self._run(
            partial(self._call.menu, prompt, choices),
            retries=retries,
            timeout=timeout,
            invalid=invalid,
            no_input=no_input,
            type_ahead=type_ahead,
        )

    @overload
    def get(self, name: str, /) -> str: ...

    @overload
    def get(self, name: str, second: str, /, *more: str) -> tuple[str, ...]: ...

    def get(self, name: str, /, *more: str) -> str | tuple[str, ...]:
        """Read channel variables; see `Call.get`."""
        return self._run(self._call.get, name, *more)

    def set(self, **variables: str) -> None:
        """Set channel variables; see `Call.set`."""
        self._run(self._call.set, **variables)

    def set_function(self, name: str, value: str) -> None:
        """Write a dialplan function; see `Call.set_function`."""
        self._run(self._call.set_function, name, value)

    def params(self) -> tuple[str, ...]:
        """Ask Asterisk for the command and arguments of `ExternalIVR()`; see `Call.params`."""
        return self._run(self._call.params)

    def answer(self) -> None:
        """Answer the channel; see `Call.answer`."""
        self._run(self._call.answer)

    def send_dtmf(self, digits: str, *, interval_ms: int | None = None, duration_ms: int | None = None) -> None:
        """Send keys to the other end; see `Call.send_dtmf`."""
        self._run(self._call.send_dtmf, digits, interval_ms=interval_ms, duration_ms=duration_ms)

    def log(self, text: object) -> None:
        """Write a line to Asterisk's log; see `Call.log`."""
        self._run(self._call.log, text)

    def events(self) -> SyncEvents:
        """Give all events from now on, until the call ends; see `Call.events`."""

        async def listen() -> Events:
            return self._call.events()

        return SyncEvents(self, self._run(listen))

    def exit(self, message: str = "") -> NoReturn:
        """Leave to the dialplan; see `Call.exit`. Raises `CallEnded`, which the handler should let pass."""
        self._run(self._call.exit, message)

    def hangup(self, message: str = "") -> NoReturn:
        """Hang up; see `Call.hangup`. Raises `CallEnded`, which the handler should let pass."""
        self._run(self._call.hangup, message)

    def _run(self, method: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        # Not even asked of the loop: it may be gone when a thread that was given up comes back.
        if self.over:
            raise CallEnded(self.over)
        return anyio.from_thread.run(partial(method, *args, **kwargs), token=self._token)
