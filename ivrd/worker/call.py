"""The call, as an `async def` handler gets it: what a caller hears and presses, on top of `controls`.

The rule that holds here: what is asked or played is over when the method returns, and each wait is a place where the
handler is cancelled once the caller has hung up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TypeVar, overload

import anyio

from ivrd import eivr
from ivrd.errors import NotAnswered, PromptNotFound
from ivrd.worker.arguments import choices_of, interrupting_keys, keys_of, prompts_of, seconds, whole
from ivrd.worker.controls import Controls
from ivrd.worker.digits import Entry, collect
from ivrd.worker.keys import ANY_KEY
from ivrd.worker.playback import LONGEST_PROMPT, Batch, Played
from ivrd.worker.speech import digit_prompts, number_prompts

__all__ = ["Call", "Prompt"]

T = TypeVar("T")
Prompt = str | tuple[str, ...] | list[str]
"""What may be played as a question: the name of one prompt, or a sequence of names."""

# After an interruption Asterisk tells at once of each prompt that it still knew; what is untold then was lost before.
_SETTLE_S = 2.0


class Call(Controls):
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
            InvalidValue: one is no legal name, or another argument makes no sense; nothing was sent.
            CallEnded: the call is over.
        """
        return await self._play(prompts, interrupting_keys(interrupt), seconds("longest", longest))

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
            secret: they appear in no log, trace or recording of ivrd's: `****` stands in their place from now on, and
                for the names of prompts that say digits. Where that ends is said in docs/security.md.
            type_ahead: keys pressed before the question count; False throws them away.

        Returns:
            The digits; "" when none came.

        Raises:
            InvalidValue: an argument makes no sense, or a prompt is no legal name.
            CallEnded: the caller hung up (under option `i`); and what `play` raises.
        """
        entry = Entry(
            whole("max", max, 1),
            seconds("timeout", timeout),
            seconds("digit_timeout", digit_timeout),
            keys_of("terminators", terminators),
        )
        prompts = self._prompts(prompt)
        with self._channel.keys.secret_question() if secret else nullcontext():
            self._begin_question(type_ahead)
            await self._ask(prompts)
            typed = await collect(self._channel, entry)
        if secret:
            self._channel.secrets.keep(typed)
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
            InvalidValue: a choice is not one key, another argument makes no sense, or a prompt is no legal name.
            CallEnded: the caller hung up (under option `i`); and what `play` raises.
        """
        keys = choices_of(choices)
        entry = Entry(1, seconds("timeout", timeout), 0.0, "")
        times = whole("retries", retries, 0) + 1
        question, after_wrong, after_none = map(self._prompts, (prompt, invalid, no_input))
        self._begin_question(type_ahead)
        for left in reversed(range(times)):
            await self._ask(question)
            key = await collect(self._channel, entry)
            if key in keys:
                return keys[key]  # type: ignore[return-value]  # of the type that the overloads say
            self._channel.keys.clear()
            if left:
                await self._ask(after_wrong if key else after_none)
        return None

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

    def _prompts(self, prompt: Prompt | None) -> list[str]:
        """Give what is to be played as a question, after seeing that it can be."""
        prompts = prompts_of(prompt)
        for each in prompts:
            self._channel.make(eivr.append, each)
        return prompts

    async def _ask(self, prompts: Sequence[str]) -> None:
        """Play a question, unless a key was pressed already."""
        if prompts and not self._channel.keys.waiting:
            await self._play(prompts, ANY_KEY, LONGEST_PROMPT)

    def _begin_question(self, type_ahead: bool) -> None:
        self._channel.require_caller()
        if not type_ahead:
            self._channel.keys.clear()
