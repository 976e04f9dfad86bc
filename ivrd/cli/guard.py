"""Leaving `ivrd dial`, whatever the app does: signals are taken on a thread of their own, beside the event loop.

The rule that holds here: the first signal asks the caller to hang up, and the app may clean up; the second is for those
who will not wait. An app that blocks its event loop, or a task or thread of its that does not end, keeps nobody: the
terminal is restored and the process ends by `os._exit`, as a worker does.
"""

from __future__ import annotations

import os
import select
import signal
import site
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, NoReturn

import anyio

__all__ = ["Guard"]

_BEAT_S: Final = 0.1
_BLOCKED_S: Final = 1.0
"""Seconds that an event loop may be held up before it is told of."""
_UNHEARD_S: Final = 5.0
"""Seconds that a signal of which nobody will send a second one may go unheard."""
_LEAVE_S: Final = 1.0
"""Seconds for what is left to do once nobody waits for the app any more."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Guard:
    """Watches over one event loop on the main thread, for the length of a `with` block around its run.

    Args:
        restore: puts the terminal and the standard descriptors in order; may be called from any thread.
        alarm: shows a line to whoever looks on.
    """

    def __init__(self, restore: Callable[[], None], alarm: Callable[[str], None]) -> None:
        self._restore = restore
        self._alarm = alarm
        self._signals, self._signals_in = os.pipe()
        self._wishes, self._wishes_in = os.pipe()
        self._found: dict[int, object] = {}
        self._beat = 0.0  # the last one of the loop, 0 while there is none
        self._wished: list[tuple[int, float]] = []
        self._heard = 0
        self._blocked = ""
        self._over = threading.Event()
        self._main = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="ivrd-guard", daemon=True)

    def __enter__(self) -> Guard:
        os.set_blocking(self._signals_in, False)
        for number in _SIGNALS:
            self._found[number] = signal.signal(number, self._take)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        os.write(self._signals_in, b"\0")
        self._thread.join()
        for number, found in self._found.items():
            signal.signal(number, found)  # type: ignore[arg-type]  # as it came
        for fd in (self._signals, self._signals_in, self._wishes, self._wishes_in):
            os.close(fd)

    async def beat(self) -> NoReturn:
        """Show that the event loop runs, until cancelled."""
        # Signals reach the thread by way of C: Python's own handlers have to wait for whatever blocks this one. In the
        # place of trio's descriptor, which only wakes the loop.
        before = signal.set_wakeup_fd(self._signals_in, warn_on_full_buffer=False)
        try:
            while True:
                self._beat = time.monotonic()
                await anyio.sleep(_BEAT_S)
        finally:
            signal.set_wakeup_fd(before)
            self._beat = 0.0

    async def wishes(self) -> AsyncIterator[int]:
        """Give a number for each time that somebody wished to leave: 1, then 2."""
        while True:
            await anyio.wait_readable(self._wishes)
            for _ in os.read(self._wishes, 64):
                self._heard += 1
                yield self._heard

    def _take(self, number: int, _frame: object) -> None:
        if not self._beat:
            os.write(self._signals_in, bytes([number]))

    # The thread

    def _watch(self) -> None:
        while not self._over.is_set():
            ready, _, _ = select.select([self._signals], [], [], _BEAT_S)
            for number in os.read(self._signals, 64) if ready else b"":
                if number in _SIGNALS:
                    self._wish(number)
            self._look()

    def _wish(self, number: int) -> None:
        if number == signal.SIGQUIT:
            self._leave(number)
        self._wished.append((number, time.monotonic()))
        os.write(self._wishes_in, b".")
        if len(self._wished) > 1 and not self._over.wait(_LEAVE_S):
            self._leave(number)

    def _look(self) -> None:
        now = time.monotonic()
        if self._wished and not self._heard:
            number, since = self._wished[0]
            if number != signal.SIGINT and now - since > _UNHEARD_S:
                self._leave(number)
        if not self._beat or now - self._beat < _BLOCKED_S:
            self._blocked = ""
        elif not self._blocked:
            self._blocked = f"the app blocks its event loop{self._where()}"
            self._alarm(f"{self._blocked}; Ctrl-C twice leaves all the same")

    def _where(self) -> str:
        """Where the main thread is in code that is neither Python's, nor a package's, nor ours."""
        frame = sys._current_frames().get(self._main)
        others = (sysconfig.get_path("stdlib"), *site.getsitepackages(), str(Path(__file__).parents[1]))
        for each in reversed(traceback.extract_stack(frame)):
            if not each.filename.startswith(others) and os.path.exists(each.filename):
                return f" at {os.path.basename(each.filename)}:{each.lineno}, {each.line}"
        return ""

    def _leave(self, number: int) -> NoReturn:
        self._restore()
        why = f"{self._blocked}; " if self._blocked else ""
        os.write(2, f"ivrd: {why}left without waiting for the app, the call is not told\n".encode())
        os._exit(128 + number)
