"""The call, as an `async def` handler gets it: what an app can hear, play, ask, set and end.

The rule that holds here: each method says one thing to Asterisk or waits for one thing from the caller, refuses what
cannot be said before a byte is written, and is a place where the handler is cancelled once the caller has hung up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import NoReturn, Protocol, TypeVar, overload

import anyio
import anyio.lowlevel

from ivrd import eivr
from ivrd.errors import CallEnded, NotAnswered, PromptNotFound
from ivrd.worker.channel import Channel, EventQueue
from ivrd.worker.digits import Entry, collect, one_key
from ivrd.worker.playback import ANY_KEY, LONGEST_PROMPT, Batch, Played, interrupting_keys
from ivrd.worker.speech import digit_prompts, number_prompts

__all__ = ["Call", "Ender", "Events", "Prompt"]

T = TypeVar("T")
Prompt = str | tuple[str, ...] | list[str]
"""What may be played as a question: the name of one prompt, or a sequence of names."""

# After an interruption Asterisk tells at once of each prompt that it still knew; what is untold then was lost before.
_SETTLE_S = 2.0
_FENCE = "IVRD_FENCE"


class Ender(Protocol):
    """What ends a call on the app's wish."""

    def exit(self, message: str) -> None:
        """Leave to the dialplan."""
        ...

    def hangup(self, message: str) -> None:
        """Hang up."""
        ...


class Events:
    """The events of a call as they come, from the moment at which `call.events()` was called."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._queue: EventQueue = channel.listen()

    @property
    def dropped(self) -> int:
        """How many were dropped because 1,024 others waited already."""
        return self._queue.dropped

    def __aiter__(self) -> AsyncIterator[eivr.Event]:
        return self

    async def __anext__(self) -> eivr.Event:
        try:
            await self._channel.until(lambda: bool(self._queue.waiting))
        except CallEnded:
            raise StopAsyncIteration from None
        return self._queue.waiting.popleft()


class Call:
    """One call, from the moment at which a worker has it to its end.

    A handler leaves the call to the dialplan by returning, and is cancelled when the caller hangs up:

        async def main(call: Call) -> None:
            await call.play("welcome")
            pin = await call.digits("enter-pin", max=4, secret=True)
            if not pin:
                await call.exit("no PIN")
            await call.set(PIN_GIVEN="yes")

    Every method may raise `CallEnded` once the call is over, which only clean-up code and shielded scopes meet.

    What the options of `ExternalIVR()` mean for an app:

    - `n` (do not answer): until `answer()` nothing can be played (`NotAnswered`); variables and `exit()` work.
    - `i` (ignore hangup): the handler is *not* cancelled when the caller hangs up. `call.hungup` is then True, what
      needs the caller (`play`, `digits`, `menu`, …) raises `CallEnded`, and `get`, `set`, `log`, `exit` and `hangup`
      still work. The handler has to end; its time limits hold on.
    - `d` (dead channel, in the `h` extension): there is no caller, so playing raises `NotAnswered`; the rest works.

    Attributes:
        id: the call's id, unique across daemons and restarts, the one in logs and in `IVRD_CALL_ID`.
        app: the name of the app.
        args: what the dialplan passed; bytes that are not UTF-8 are kept by way of surrogateescape.
        started: when the call was admitted.
        attempt: 1, or 2 when the call was begun anew after a worker's death (`on_crash = "retry"`).
    """

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

    # Playing

    async def play(self, *prompts: str, interrupt: bool | str = False, longest: float = LONGEST_PROMPT) -> Played:
        """Play prompts one after the other, behind what is queued already, and wait until they are over.

            played = await call.play("welcome", "news", interrupt="*#")
            if played.key == "*":
                ...

        Cancelling this (by `anyio.move_on_after` for one) stops the prompts.

        Args:
            prompts: names of sound files, without extension, relative to Asterisk's sounds directory or absolute.
            interrupt: which keys stop them: none, all (True), or those in this text. Only keys that are pressed while
                they play count; the key stays among those that `digits()` and `menu()` take.
            longest: seconds that one prompt may play at most. A file that exists and cannot be opened makes Asterisk
                say nothing at all; this is when such a prompt is given up if no other follows it.

        Returns:
            Which prompts finished, which did not, and the key that interrupted.

        Raises:
            PromptNotFound: Asterisk does not have one of them; what was queued is cleared.
            NotAnswered: the channel is not up.
            InvalidValue: one is no legal name; nothing was sent.
            CallEnded: the call is over.
        """
        return await self._play(prompts, interrupting_keys(interrupt), longest)

    async def queue(self, *prompts: str) -> None:
        """Queue prompts to be played, and do not wait for them.

        One that Asterisk does not have is passed over; `events()` tells of it.

        Raises:
            InvalidValue: one is no legal name; nothing was sent.
            CallEnded: the call is over.
        """
        self._queue(prompts, "", LONGEST_PROMPT)
        await self._channel.written()

    async def interrupt(self) -> None:
        """Stop what plays and clear all that is queued; nothing is sent when nothing plays.

        Raises:
            CallEnded: the call is over.
        """
        self._channel.require_caller()
        self._channel.interrupt()
        await self._channel.written()

    async def say_digits(self, digits: str, *, interrupt: bool | str = False) -> Played:
        """Say digits one by one with Asterisk's stock prompts.

        Args:
            digits: any of `0`-`9`, `*`, `#`, `-`; blanks are left out.
            interrupt: as in `play`.

        Raises:
            InvalidValue: there is something else among them; and all that `play` raises.
        """
        return await self.play(*self._channel.make(digit_prompts, digits), interrupt=interrupt)

    async def say_number(self, number: int, *, interrupt: bool | str = False) -> Played:
        """Say a whole number in English with Asterisk's stock prompts.

        Args:
            number: from -999,999,999 to 999,999,999.
            interrupt: as in `play`.

        Raises:
            InvalidValue: it is not such a number; and all that `play` raises.
        """
        return await self.play(*self._channel.make(number_prompts, number), interrupt=interrupt)

    # Keys

    async def digits(
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
        """Ask for digits.

            account = await call.digits("enter-account", max=10)
            pin = await call.digits(["enter-pin", "then-hash"], max=6, timeout=10, secret=True)

        The first key stops the prompt and is the first digit. Where keys were pressed before the question the prompt is
        left out. A terminator that comes within a second after the last of `max` digits is taken as part of the entry.

        Args:
            prompt: what to play first, one prompt or several.
            max: how many digits are enough.
            timeout: seconds to wait for the first digit, from the end of the prompt.
            digit_timeout: seconds to wait for each further digit.
            terminators: keys that end the entry and are not part of it; "" for none.
            secret: they appear in no log; what is logged of this call shows `****` in their place.
            type_ahead: keys pressed before the question count; False throws them away.

        Returns:
            The digits; "" when none came.

        Raises:
            InvalidValue: `max` or `terminators` make no sense.
            CallEnded: the caller hung up (under option `i`); and what `play` raises.
        """
        entry = Entry(max, timeout, digit_timeout, terminators.upper())
        entry.check()
        self._begin_question(type_ahead)
        await self._ask(prompt)
        typed = await collect(self._channel, entry)
        if secret:
            self._channel.keep_secret(typed)
        return typed

    @overload
    async def menu(
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
    async def menu(
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

    async def menu(
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
        """Ask for one key of several, again where none or a wrong one was pressed.

            key = await call.menu("main-menu", "123", invalid="not-a-choice")
            department = await call.menu("departments", {"1": "sales", "2": "support"})
            if department is None:
                await call.exit("no choice")

        Args:
            prompt: what to play, one prompt or several; a key stops it, and one pressed before leaves it out.
            choices: the keys that may be pressed, or what each of them stands for.
            retries: how many times to ask again.
            timeout: seconds to wait for a key, from the end of the prompt.
            invalid: what to play first after a wrong key.
            no_input: what to play first after no key.
            type_ahead: keys pressed before the question count; False throws them away.

        Returns:
            The key, or what it stands for where `choices` is a mapping; None when there was no right one.

        Raises:
            InvalidValue: a choice is not one key.
            CallEnded: the caller hung up (under option `i`); and what `play` raises.
        """
        meanings: Mapping[str, str | T] = {key: key for key in choices} if isinstance(choices, str) else choices
        entry = Entry(1, timeout, timeout, "")
        keys = {one_key(key): meaning for key, meaning in meanings.items()}
        self._begin_question(type_ahead)
        for asked_again in range(retries + 1):
            await self._ask(prompt)
            key = await collect(self._channel, entry)
            if key in keys:
                return keys[key]
            self._channel.keys.clear()
            if asked_again < retries:
                await self._ask(invalid if key else no_input)
        return None

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
        await self._channel.send(line)

    async def log(self, text: str) -> None:
        """Write a line to Asterisk's log; secret digits are masked, what does not fit is cut.

        Raises:
            CallEnded: the call is over.
        """
        await self._channel.send(eivr.log(self._channel.masked(text)))

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
        await self._end(lambda: self._ender.exit(message))

    async def hangup(self, message: str = "") -> NoReturn:
        """Hang up; the handler ends here. Works from any task of the handler.

        Args:
            message: for Asterisk's log.

        Raises:
            CallEnded: the call was over already.
        """
        await self._end(lambda: self._ender.hangup(message))

    # How

    def _queue(self, prompts: Sequence[str], keys: str, longest: float) -> Batch:
        lines = [self._channel.make(eivr.append, prompt) for prompt in prompts]
        self._channel.require_caller()
        self._channel.post(*lines)
        return self._channel.playlist.add(prompts, anyio.current_time(), keys=keys, longest=longest)

    async def _play(self, prompts: Sequence[str], keys: str, longest: float) -> Played:
        batch = self._queue(prompts, keys, longest)
        try:
            await self._channel.written()
            await self._over(batch)
            self._channel.require_caller()
            if batch.not_up:
                self._channel.playlist.give_up(batch)
                raise NotAnswered("nothing can be played because the channel is not up: await call.answer() first")
            if batch.missing is not None:
                raise PromptNotFound(batch.missing)
            return batch.played()
        finally:
            # Cancelled, or one is missing: what is left of it is not to be heard.
            if batch.waiting and not self._channel.over:
                self._channel.interrupt()

    async def _over(self, batch: Batch) -> None:
        """Wait until the prompts of a batch are over, or are interrupted and Asterisk has told how far they came."""
        channel = self._channel
        while not batch.settled and not batch.stopped:
            until = channel.playlist.playing_until()
            if until <= anyio.current_time():
                channel.interrupt()
                break
            with anyio.CancelScope(deadline=until):
                await channel.until(lambda: batch.settled or batch.stopped, live=True)
        if not batch.settled:
            with anyio.move_on_after(_SETTLE_S):
                await channel.until(lambda: batch.settled, live=True)
            channel.playlist.give_up(batch)

    async def _ask(self, prompt: Prompt | None) -> None:
        """Play a question, unless a key was pressed already."""
        if prompt and not self._channel.keys:
            await self._play([prompt] if isinstance(prompt, str) else prompt, ANY_KEY, LONGEST_PROMPT)

    def _begin_question(self, type_ahead: bool) -> None:
        self._channel.require_caller()
        if not type_ahead:
            self._channel.keys.clear()

    async def _end(self, end: Callable[[], None]) -> NoReturn:
        if not self._channel.over:
            end()
            # The handler's task is cancelled by now, and stops here unless it is shielded.
            await anyio.lowlevel.checkpoint()
        raise CallEnded(self._channel.over)
