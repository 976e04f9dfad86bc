"""What Asterisk's playlist holds, followed from what was sent and what came back; pure.

The rule that holds here: prompts play in the order in which they were queued and Asterisk tells of them in that order,
so an event about one prompt settles all before it. That is how a prompt is noticed that left the playlist without a
word: a file that exists and cannot be opened makes no event at all.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from ivrd.eivr import Dropped, Failed, Finished, Interrupted

__all__ = ["LONGEST_PROMPT", "Batch", "Played", "Playlist"]

LONGEST_PROMPT: Final = 600.0
"""Seconds that a prompt may play with no event before it counts as lost, unless the app says otherwise."""

State = Literal["waiting", "finished", "interrupted", "dropped", "missing", "not_up", "lost"]


class Played(msgspec.Struct, frozen=True):
    """What became of the prompts of one `play()`.

    Attributes:
        finished: those that played to their end.
        interrupted: the one that was stopped while it played.
        dropped: those behind it, which did not play.
        lost: those of which Asterisk never told anything, because their files cannot be opened (see Asterisk's log).
        key: the key that interrupted, if a key did. It stays among the keys that `digits()` and `menu()` take.
    """

    finished: tuple[str, ...] = ()
    interrupted: str | None = None
    dropped: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    key: str | None = None

    @property
    def complete(self) -> bool:
        """Whether all of them played to their ends."""
        return self.interrupted is None and not self.dropped and not self.lost


class _Entry:
    __slots__ = ("longest", "prompt", "state")

    def __init__(self, prompt: str, longest: float) -> None:
        self.prompt = prompt
        self.longest = longest
        self.state: State = "waiting"


class Batch:
    """The prompts of one `play()` on their way through the playlist.

    Attributes:
        keys: the keys that interrupt it.
        key: the key that did.
        stopped: an interruption was sent after it was queued.
    """

    __slots__ = ("entries", "key", "keys", "stopped")

    def __init__(self, entries: Sequence[_Entry], keys: str) -> None:
        self.entries = entries
        self.keys = keys
        self.key: str | None = None
        self.stopped = False

    @property
    def settled(self) -> bool:
        """Whether the fate of each prompt is known, or that of one which leaves nothing to wait for."""
        return self.not_up or self.missing is not None or not self.waiting

    @property
    def waiting(self) -> bool:
        """Whether the fate of a prompt is unknown."""
        return any(entry.state == "waiting" for entry in self.entries)

    @property
    def not_up(self) -> bool:
        """Whether Asterisk refused one because the channel is not up."""
        return any(entry.state == "not_up" for entry in self.entries)

    @property
    def missing(self) -> str | None:
        """The first prompt that Asterisk does not have."""
        return next((entry.prompt for entry in self.entries if entry.state == "missing"), None)

    def played(self) -> Played:
        """Sum up; what is not known by now counts as lost."""

        def those(*states: State) -> tuple[str, ...]:
            return tuple(entry.prompt for entry in self.entries if entry.state in states)

        interrupted = those("interrupted")
        return Played(
            finished=those("finished"),
            interrupted=interrupted[0] if interrupted else None,
            dropped=those("dropped"),
            lost=those("lost", "waiting"),
            key=self.key,
        )


class Playlist:
    """The prompts that are queued in Asterisk, as far as is known here."""

    def __init__(self) -> None:
        # None is an interruption that was sent: in a channel that is not up it is answered like a prompt.
        self._queue: deque[_Entry | None] = deque()
        self._batches: list[Batch] = []
        self._progressed = -math.inf
        self._known_up = False

    @property
    def waiting(self) -> bool:
        """Whether a prompt plays or is queued."""
        return any(entry is not None and entry.state == "waiting" for entry in self._queue)

    def playing_until(self) -> float:
        """When what plays now counts as lost if no event comes; a past moment where nothing plays."""
        for entry in self._queue:
            if entry is not None and entry.state == "waiting":
                return self._progressed + entry.longest
        return -math.inf

    def add(self, prompts: Sequence[str], now: float, *, keys: str = "", longest: float = LONGEST_PROMPT) -> Batch:
        """Take note that these prompts are being queued.

        Args:
            prompts: their names.
            now: the time.
            keys: the keys that interrupt them.
            longest: seconds that each may play.
        """
        if not self.waiting:
            self._progressed = now
        batch = Batch([_Entry(prompt, longest) for prompt in prompts], keys)
        self._queue.extend(batch.entries)
        self._batches = [*(other for other in self._batches if not other.settled), batch]
        return batch

    def interrupting(self, key: str) -> bool:
        """Whether this key interrupts what plays; takes note of it for the batch whose key it is."""
        for batch in self._batches:
            if key in batch.keys and not batch.stopped and not batch.settled:
                batch.key = key
                return True
        return False

    def interruption(self) -> None:
        """Take note that an interruption is being sent."""
        self._queue.append(None)
        for batch in self._batches:
            batch.stopped = True

    def give_up(self, batch: Batch) -> None:
        """Count what is still unknown of a batch as lost; events about it may still come."""
        for entry in batch.entries:
            if entry.state == "waiting":
                entry.state = "lost"

    def cut_off(self) -> None:
        """Take note that the channel is gone: nothing plays any more, and no event will tell of it."""
        for entry in self._queue:
            if entry is not None and entry.state == "waiting":
                entry.state = "dropped"
        self._queue.clear()

    def note(self, event: Finished | Interrupted | Dropped | Failed, now: float) -> None:
        """Take an event of Asterisk's about the playlist."""
        match event:
            case Finished():
                self._settle(event.prompt, "finished")
            case Interrupted():
                self._settle(event.prompt, "interrupted")
            case Dropped():
                self._settle(event.prompt, "dropped")
            case Failed(detail=""):
                self._refused()
            case Failed():
                self._missing(event.detail)
        self._progressed = now

    def _settle(self, prompt: str, state: State) -> None:
        self._known_up = True
        for index, entry in enumerate(self._queue):
            if entry is not None and entry.prompt == prompt:
                for _ in range(index):
                    passed = self._queue.popleft()
                    if passed is not None and passed.state == "waiting":
                        passed.state = "lost"
                self._queue.popleft()
                entry.state = state
                return

    def _missing(self, prompt: str) -> None:
        # This comes when the command is handled, while prompts before it still play: it settles nothing but its own.
        for entry in self._queue:
            if entry is not None and entry.prompt == prompt and entry.state == "waiting":
                self._known_up = True
                entry.state = "missing"
                self._queue.remove(entry)
                return

    def _refused(self) -> None:
        if self._known_up:
            # It was up, so it is just being hung up, and the news of that comes next.
            self.cut_off()
        elif self._queue:
            entry = self._queue.popleft()
            if entry is not None:
                entry.state = "not_up"
