"""The caller's end of a simulated call: pressing keys, hanging up, and waiting for what is heard.

The rule that holds here: after every input the model's output is written before anything else happens, since Asterisk's
thread does nothing while it writes. How bytes travel is the affair of the subclass: real pipes in `process`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Literal

import anyio

from ivrd.errors import IvrdError

from .channel import Channel
from .follower import Follower
from .generator import Heard
from .masking import MASK, hide_keys
from .records import Ending, Log, Outcome
from .script import Step

__all__ = ["NotSeen", "SimulatedCall"]


class NotSeen(IvrdError, AssertionError):
    """What a caller waited for did not happen; the message ends with the call's transcript."""


class SimulatedCall(ABC):
    """One call and its caller. All times are in seconds since the call was dialled.

    Args:
        channel: the model, whose time begins at 0 as well.
    """

    __slots__ = ("_change", "_listener", "channel", "hides_keys", "keys")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.keys: list[tuple[float, str]] = []
        """The keys that were pressed, with their times."""
        self.hides_keys = False
        """Nothing is known of what the keys are for, so none is shown, in no text either; see `masking`."""
        self._listener = Follower(self)
        self._change: anyio.Event | None = None

    # What the caller does

    def press(self, keys: str) -> None:
        """Press keys one after the other, without a pause. On a call that is over this does nothing.

        Raises:
            ValueError: one of them is no key (`0`-`9`, `A`-`D`, `*`, `#`).
        """
        for key in keys:
            now = self.now()
            over = self.channel.ended is not None
            self.channel.key(key, now)
            if not over:
                self.keys.append((now, key))
                self._settle(now)

    def hangup(self) -> None:
        """Hang up. With option `i` or `d` the call stays until the app ends it."""
        now = self.now()
        self.channel.hangup(now)
        self._settle(now)

    def crash(self) -> None:
        """Let Asterisk die: its ends of the pipes are closed, and the app is told nothing."""
        now = self.now()
        self.channel.crash(now)
        self._settle(now)

    async def hears(self, prompt: str, timeout: float = 10.0) -> Heard:
        """Wait until a prompt begins to play; prompts that an earlier `hears` passed over are not looked at again.

        Args:
            prompt: its name, as the app gave it; `****` in it stands for any digits, as in what is told of a call.
            timeout: how long to wait, in seconds.

        Returns:
            The prompt, with its times.

        Raises:
            NotSeen: it did not begin in time, or the call ended first.
        """
        return await self._listener.hears(prompt, timeout)

    async def ended(self, timeout: float = 10.0) -> Ending:
        """Wait until ExternalIVR() is over.

        Raises:
            NotSeen: it was not over in time.
        """
        await self.until(lambda: self.channel.ended is not None, "the end of the call", timeout)
        assert self.channel.ended is not None
        return self.channel.ended

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
        """Wait until a condition holds, which is looked at whenever something happened to the call.

        Args:
            condition: anything about the call, `call.channel` included.
            what: what is waited for, in words, for the error.
            timeout: how long to wait, in seconds.

        Raises:
            NotSeen: it did not hold in time, or the call ended without it.
        """
        with anyio.move_on_after(timeout):
            while not condition():
                if self.channel.ended is not None:
                    raise NotSeen(f"the call ended while the caller waited for {what}:{self._transcript_to(what)}")
                await self.changed()
            return
        raise NotSeen(f"the caller waited {timeout:g} s in vain for {what}:{self._transcript_to(what)}")

    async def follow(self, steps: Iterable[Step]) -> None:
        """Do what a script says (see `script`); over when its last step is done or the call has ended.

        Prompts that an earlier `hears` has passed over are not waited for again: this is the same caller. For another
        one beside it see `Follower`.

        Raises:
            NotSeen: a prompt did not come.
        """
        await self._listener.follow(steps)

    # What is known of the call

    @property
    def outcome(self) -> Outcome | None:
        """How the call ended; `None` while it goes on."""
        return self.channel.ended.outcome if self.channel.ended else None

    @property
    def variables(self) -> dict[str, str]:
        """The channel's variables."""
        return self.channel.variables

    @property
    def heard(self) -> list[Heard]:
        """The prompts that the caller heard."""
        return self.channel.heard

    @property
    def log(self) -> list[Log]:
        """What Asterisk logged about the call."""
        return self.channel.log

    @property
    def first_command_at(self) -> float | None:
        """When Asterisk handled the app's first line."""
        return self.channel.first_command_at

    def key_fate(self, number: int) -> Literal["secret", "public", "untaken"]:
        """Say whether a key may be shown, counted from 0; here nothing is known of secrets."""
        return "secret" if self.hides_keys else "public"

    def masked(self, text: str) -> str:
        """Give the text without the secret digits, as far as they are known; without any of the caller's where not."""
        return hide_keys(text, [key for _, key in self.keys]) if self.hides_keys else text

    def happenings(self) -> list[tuple[float, str]]:
        """What happened so far, in order: each thing's time and what it was.

        A key that the app has not taken yet is not shown either: a PIN may have been typed ahead.
        """
        lines = [(one.start, f"hears {one.prompt} ({one.how})") for one in self.channel.heard]
        for number, (when, key) in enumerate(self.keys):
            shown = {"public": key, "secret": MASK, "untaken": f"{MASK} (not taken)"}
            lines.append((when, f"presses {shown[self.key_fate(number)]}"))
        lines += [(sent.time, f"is sent the keys {sent.digits}") for sent in self.channel.sent_dtmf]
        lines += [(line.time, f"{line.level}: {line.text}") for line in self.channel.log]
        if self.channel.ended:
            lines.append((self.channel.ended.time, f"{self.channel.ended.outcome}: {self.channel.ended.detail}"))
        elif self.channel.blocked:
            lines.append((self.now(), self.channel.blocked))
        return [(when, self.masked(what)) for when, what in sorted(lines, key=lambda line: line[0])]

    def transcript(self) -> str:
        """The call so far, a line for each thing that happened, each on a line of its own after a newline."""
        return "".join(f"\n  {when:7.2f} {what}" for when, what in self.happenings())

    def _transcript_to(self, what: str) -> str:
        """The transcript with the point of failure at its end."""
        return f"{self.transcript()}\n> {self.now():7.2f} waits for {what}"

    # What the transport does

    @abstractmethod
    def now(self) -> float:
        """Seconds since the call was dialled."""

    @abstractmethod
    def _write(self, data: bytes) -> int:
        """Write to the app's stdin without waiting; the number of bytes taken, all of them where nobody reads."""

    @abstractmethod
    def _watch(self, stdout: bool, stderr: bool, stdin: bool, deadline: float | None) -> None:
        """Say what is waited for: bytes on stdout or stderr, room in stdin, the time to advance the model."""

    @abstractmethod
    def _close(self) -> None:
        """Close all of Asterisk's ends."""

    def _settle(self, now: float) -> None:
        """Write what the model has to write, then wait for what it wants. Every input ends with this."""
        channel = self.channel
        while (line := channel.next_write()) is not None:
            size = self._write(line)
            channel.wrote(size, now)
            if size < len(line):
                break
        if channel.ended:
            self._close()
        else:
            stdout, stderr = channel.wants
            self._watch(stdout, stderr, channel.next_write() is not None, channel.next_deadline())
        self._tell()

    async def changed(self) -> None:
        """Wait until something happens to the call."""
        if self._change is None:
            self._change = anyio.Event()
        await self._change.wait()

    def _tell(self) -> None:
        """Wake those who wait for something about the call."""
        if self._change is not None:
            self._change.set()
            self._change = None
