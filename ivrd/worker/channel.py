"""One call's channel as the app API sees it: what was read from Asterisk put where apps wait for it, and commands sent.

The rule that holds here: nothing that is read ever waits for the app (keys and events are kept in bounded queues), each
command is one write of one whole line, and all commands of a call leave in the order in which they were given.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import ParamSpec, TypeVar
from weakref import WeakSet

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from ivrd import eivr
from ivrd.errors import CallEnded, InvalidValue
from ivrd.wire.messages import Tally
from ivrd.worker.events import EventQueue
from ivrd.worker.keys import Keys
from ivrd.worker.playback import Playlist
from ivrd.worker.secrets import Secrets
from ivrd.worker.tally import RESPONSES_KEPT
from ivrd.worker.transport import Transport

__all__ = ["Channel", "Request"]
P = ParamSpec("P")
R = TypeVar("R")


class Request:
    """A question to Asterisk whose answer is on its way: a variable's name for `G`, "" for `P`."""

    __slots__ = ("name", "reply")

    def __init__(self, name: str) -> None:
        self.name = name
        self.reply: eivr.Variables | eivr.Params | None = None


class Channel:
    """The state of one call that apps wait on.

    Args:
        transport: the way to Asterisk.
        notify: called after anything came from Asterisk or the way to it broke.

    Attributes:
        connection: the protocol's state.
        playlist: what plays.
        keys: the keys that were pressed.
        secrets: the digits that no log may show.
        active: when the last event came or the last command was sent.
        sending_until: when the last key that was to be sent to the other end will be sent, or a moment that is past.
        over: why the app may send nothing any more, "" while it may.
        broken: a write failed because Asterisk is gone.
        setup_failure: what the last `T` failed with.
        counted: goes up whenever the tally changes.
    """

    def __init__(self, transport: Transport, notify: Callable[[], None]) -> None:
        self.connection = eivr.Connection()
        self.playlist = Playlist()
        self.keys = Keys()
        self.secrets = Secrets()
        self.started = self.active = anyio.current_time()
        self.sending_until = -math.inf
        self.over = ""
        self.broken = False
        self.setup_failure = ""
        self._transport = transport
        self._notify = notify
        self._writers: TaskGroup | None = None
        self._context = copy_context()
        self._backlog: deque[bytes] = deque()
        self._posted = self._written = 0
        self._requests: deque[Request] = deque()
        self._queues: WeakSet[EventQueue] = WeakSet()
        self._changed: anyio.Event | None = None
        self._key_at: float | None = None
        self._first_command: float | None = None
        self._refused: dict[str, int] = {}
        self.counted = 0
        self._responses: list[float] = []

    # From Asterisk

    def receive(self, data: bytes) -> None:
        """Take what was read from Asterisk."""
        self.active = anyio.current_time()
        self.counted += 1
        for event in self.connection.receive(data):
            match event:
                case eivr.Key():
                    if not self._press(event.key):
                        continue
                case eivr.Failed(cause="answer_failure" | "generator_failure"):
                    self.setup_failure = event.detail
                case eivr.Finished() | eivr.Interrupted() | eivr.Dropped() | eivr.Failed():
                    self.playlist.note(event, self.active)
                case eivr.Variables() | eivr.Params():
                    self._answer(event)
                case eivr.Inform(detail="HANGUP"):
                    self.playlist.cut_off()
                case _:
                    pass
            for queue in self._queues:
                queue.put(event)
        self._change()

    def receive_eof(self) -> None:
        """Take note that Asterisk closed its side."""
        self.connection.receive_eof()
        self._change()

    @property
    def hungup(self) -> bool:
        """Whether the caller is gone, whether or not commands may still be sent."""
        connection = self.connection
        return connection.hungup or connection.hangup_informed or connection.closed or self.broken

    def listen(self) -> EventQueue:
        """Give a queue in which all events from now on are put, for as long as somebody holds it."""
        queue = EventQueue()
        self._queues.add(queue)
        return queue

    def _press(self, key: str) -> bool:
        if not self.keys.press(key, self.active):
            return False
        self._key_at = self.active
        if self.playlist.interrupting(key) and not self.over:
            # Here and not in the app's task: what plays stops at once, whatever the app is busy with.
            self._stop_playing()
        return True

    def _answer(self, event: eivr.Variables | eivr.Params) -> None:
        # Replies come in the order of the questions. One that does not fit is no reply to a question of ours.
        if self._requests:
            name = self._requests[0].name
            fits = event.raw.startswith(f"{name}=") if isinstance(event, eivr.Variables) else not name
            if fits:
                self._requests.popleft().reply = event

    # To Asterisk

    def run_writers_in(self, tasks: TaskGroup) -> None:
        """Say where a task may be started that waits until Asterisk takes commands again."""
        self._writers = tasks
        self._context = copy_context()
        if self._backlog:
            tasks.start_soon(self._write_backlog)

    def make(self, command: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Make a command, with a function of `eivr` for one, and count it if it is refused."""
        try:
            return command(*args, **kwargs)
        except InvalidValue:
            self._count_refusal("invalid_value")
            raise

    def post(self, *lines: bytes) -> None:
        """Send commands of the app's, without waiting even if Asterisk does not take them at once.

        Raises:
            CallEnded: the call is over; nothing was sent.
        """
        self._require_say()
        now = anyio.current_time()
        for line in lines:
            self._send(line)
        if self._first_command is None:
            self._first_command = now - self.started
        if self._key_at is not None:
            if len(self._responses) < RESPONSES_KEPT:
                self._responses.append(now - self._key_at)
            self._key_at = None

    async def send(self, *lines: bytes) -> None:
        """Send commands of the app's and wait until they are written.

        Raises:
            CallEnded: the call is over, or became so before all was written.
        """
        self.post(*lines)
        await self.written()

    async def send_keys(self, line: bytes, seconds: float) -> None:
        """Send a command of the app's that keeps Asterisk busy for so long, and wait until it is written.

        Raises:
            CallEnded: the call is over, or became so before it was written.
        """
        self.post(line)
        # It is dealt with when those before it are.
        self.sending_until = max(self.sending_until, self.active) + seconds
        await self.written()

    async def written(self) -> None:
        """Wait until all that was sent up to now is written.

        Raises:
            CallEnded: the call ended first.
        """
        mine = self._posted
        # A checkpoint in any case: an app that only sends must not keep the others from running.
        await anyio.lowlevel.checkpoint()
        await self.until(lambda: self._written >= mine)

    def interrupt(self) -> None:
        """Stop what plays and clear the playlist; nothing is sent when nothing plays.

        Raises:
            CallEnded: the call is over.
        """
        self._require_say()
        self._stop_playing()

    def _stop_playing(self) -> None:
        if self.playlist.waiting:
            self.playlist.interruption()
            self.note_call(eivr.interrupt())

    def ask(self, *questions: tuple[str, bytes]) -> list[Request]:
        """Send questions, each the name that its answer begins with ("" for `P`) and its command."""
        self.post(*(line for _, line in questions))
        requests = [Request(name) for name, _ in questions]
        self._requests.extend(requests)
        return requests

    def note_call(self, *lines: bytes) -> None:
        """Send commands of ivrd's own, which are nobody's answer to a key, unless Asterisk has ended the call."""
        # One read brings a key and the hangup behind it: the end is known by the time at which the key is looked at.
        with suppress(CallEnded):
            for line in lines:
                self._send(line)

    def finish(self, why: str, *lines: bytes) -> None:
        """End the app's say: send the last commands, unless Asterisk is gone, and let nothing follow."""
        self.over = why
        self.note_call(*lines)
        self._change()

    def _require_say(self) -> None:
        if self.over:
            self._count_refusal("call_ended")
            raise CallEnded(self.over)

    def _send(self, line: bytes) -> None:
        line = self.connection.send(line)
        self.active = anyio.current_time()
        self.counted += 1
        self._posted += 1
        if self._backlog:
            self._backlog.append(line)
            return
        try:
            self._transport.write(line)
        except BlockingIOError:
            self._backlog.append(line)
            if self._writers is not None:
                # Not in the context of the handler, whose tasks end with it.
                self._context.run(self._writers.start_soon, self._write_backlog)
        except OSError:
            self._lose()
        else:
            self._written += 1

    async def _write_backlog(self) -> None:
        while self._backlog:
            await self._transport.wait_writable()
            try:
                self._transport.write(self._backlog[0])
            except BlockingIOError:
                continue
            except OSError:
                self._lose()
                return
            self._backlog.popleft()
            self._written += 1
            self._wake()

    def _lose(self) -> None:
        self.broken = True
        self._backlog.clear()
        self._change()

    # Waiting

    async def until(self, ready: Callable[[], bool], *, live: bool = False) -> None:
        """Wait until something about the call is so.

        Args:
            ready: looked at whenever something happened.
            live: it can only come to be while the caller is there.

        Raises:
            CallEnded: the call ended first.
        """
        while not ready():
            if self.over:
                # An `async def` handler is cancelled at its next checkpoint; others get the error.
                await anyio.lowlevel.checkpoint()
                raise CallEnded(self.over)
            if live:
                self.require_caller()
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()

    def require_caller(self) -> None:
        """Raise CallEnded when the caller has hung up, though the call goes on under option `i`."""
        if self.connection.hangup_informed:
            raise CallEnded("the caller hung up: under option i variables can still be set, then return")

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _change(self) -> None:
        self._wake()
        self._notify()

    # Books

    def _count_refusal(self, reason: str) -> None:
        self.counted += 1
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def tally(self) -> Tally:
        """Give what was counted so far."""
        return Tally(
            events=dict(self.connection.events_by_tag),
            commands=dict(self.connection.commands_by_tag),
            refused=dict(self._refused),
            malformed=self.connection.malformed,
            first_command=self._first_command,
            responses=list(self._responses),
        )
