"""Real calls to real programs: spawns the shim, or any ExternalIVR program, and plays Asterisk's side on three pipes.

The rule that holds here: what is done for a call is what the channel thread of Asterisk does between two polls. A call
lives as long as its pipes, not as long as its child: the shim hands them on and exits.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import trio

from .caller import NotSeen, SimulatedCall
from .channel import Channel
from .poller import Poller
from .reader import READ_SIZE
from .records import Trace
from .sounds import Sounds, SoundTable

__all__ = ["Exchange", "ProcessCall", "open_exchange"]

# Bits, so that what is watched is one number. Where several are ready, the highest goes first: Asterisk looks at stderr
# before stdout, which makes the exit race.
_STDIN, _STDOUT, _STDERR, _EXIT = 1, 2, 4, 8

_STOP_GRACE = 1.0
"""Seconds that children have to exit by themselves, and again after SIGTERM, when the exchange closes."""

_NO_CHILD = frozenset({errno.EAGAIN, errno.ENOMEM})  # posix_spawn failed before there was a child to fail

# What ast_safe_fork sets back to its default. Python ignores SIGPIPE, and a child would inherit that.
_DEFAULT_SIGNALS = (
    signal.SIGHUP,
    signal.SIGCHLD,
    signal.SIGINT,
    signal.SIGURG,
    signal.SIGTERM,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)


class ProcessCall(SimulatedCall):
    """A call to a program of its own, made by `Exchange.dial`."""

    __slots__ = ("_deadline", "_dialled", "_exchange", "_fds", "_pidfd", "_watched", "exit_status", "pid")

    def __init__(self, exchange: Exchange, channel: Channel, dialled: float) -> None:
        super().__init__(channel)
        self._exchange = exchange
        self._dialled = dialled
        self._fds: dict[int, int] = {}
        self._pidfd = -1
        self._watched = 0
        self._deadline = math.inf
        self.pid: int | None = None
        """The child's process id; `None` when none could be started."""
        self.exit_status: int | None = None
        """The child's exit status, negative for a signal; `None` while it runs."""

    def now(self) -> float:
        """Seconds since the call was dialled."""
        return trio.current_time() - self._dialled

    async def exited(self, timeout: float = 10.0) -> int:
        """Wait until the child has exited, which may be long before the end of the call, or after it.

        Returns:
            Its exit status, negative for a signal.

        Raises:
            NotSeen: it still runs.
        """
        with anyio.move_on_after(timeout):
            while self.exit_status is None:
                await self.changed()
            return self.exit_status
        raise NotSeen(f"the caller waited {timeout:g} s in vain for process {self.pid} to exit:{self.transcript()}")

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._fds[_STDIN], data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return len(data)

    def _watch(self, stdout: bool, stderr: bool, stdin: bool, deadline: float | None) -> None:
        wanted = (_STDOUT if stdout else 0) | (_STDERR if stderr else 0) | (_STDIN if stdin else 0)
        if wanted != self._watched:
            for end, fd in self._fds.items():
                if wanted & ~self._watched & end:
                    self._exchange.poller.watch(fd, self, end, for_writing=end == _STDIN)
                elif self._watched & ~wanted & end:
                    self._exchange.poller.unwatch(fd)
            self._watched = wanted
        when = math.inf if deadline is None else deadline + self._dialled
        if when != self._deadline:
            self._deadline = when
            if when != math.inf:
                self._exchange.poller.schedule(self, when)

    def _close(self) -> None:
        self._watch(False, False, False, None)
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        self._exchange.calls.discard(self)

    def adopt(self, pid: int, pidfd: int) -> None:
        """The child was started: watch for its exit."""
        self.pid, self._pidfd = pid, pidfd
        self._exchange.children.add(self)
        self._exchange.poller.watch(pidfd, self, _EXIT)

    def connect(self, stdin: int, stdout: int, stderr: int) -> None:
        """Take Asterisk's ends of the pipes, non-blocking, and begin."""
        self._fds = {_STDIN: stdin, _STDOUT: stdout, _STDERR: stderr}
        self._exchange.calls.add(self)
        self._settle(self.now())

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the child a signal; nothing happens when there is none or it has exited."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def ready(self, end: int) -> None:
        """See `Polled.ready`: what the channel thread does after its poll, or the child has exited."""
        if end == _EXIT:
            self._reap()
            return
        now = self.now()
        if end != _STDIN and not self.channel.polled("stdout" if end == _STDOUT else "stderr", now):
            try:
                data = os.read(self._fds[end], READ_SIZE)
            except BlockingIOError:
                return
            (self.channel.stdout if end == _STDOUT else self.channel.stderr)(data, now)
        self._settle(now)

    def due(self, when: float) -> None:
        """See `Polled.due`."""
        if when == self._deadline:
            self._deadline = math.inf
            now = self.now()
            self.channel.advance(now)
            self._settle(now)

    def _reap(self) -> None:
        # Nothing follows for the call: others may hold its pipes.
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        assert result is not None
        self.exit_status = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        self._exchange.poller.unwatch(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._exchange.children.discard(self)
        self._tell()


class Exchange:
    """Where calls are dialled; made by `open_exchange`.

    Args:
        sounds: which prompts there are, unless `dial` says otherwise.
        burst_stall: True for Asterisk as it is, False for one that works off its buffer.
        patience: seconds that a channel may be stuck before its call ends as `deadlocked`.
        env: the children's environment; this process's own when not given.
    """

    def __init__(
        self,
        *,
        sounds: Sounds | None = None,
        burst_stall: bool = True,
        patience: float = 10.0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._sounds = SoundTable() if sounds is None else sounds
        self._burst_stall = burst_stall
        self._patience = patience
        self._env = dict(os.environ if env is None else env)
        self.poller = Poller()
        self.calls: set[ProcessCall] = set()
        """The calls that are not over."""
        self.children: set[ProcessCall] = set()
        """The calls whose child has not exited."""

    def dial(
        self,
        argv: Sequence[str],
        options: str = "",
        *,
        answered: bool = False,
        hung_up: bool = False,
        generator_fails: bool = False,
        sounds: Sounds | None = None,
        variables: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        trace: Trace | None = None,
    ) -> ProcessCall:
        """Call a program: `ExternalIVR(argv[0](argv[1],…),options)`.

        Args:
            argv: the program, by its path (`execv` looks nowhere else), and its arguments.
            options: the dialplan's option letters, of `n`, `i` and `d`.
            answered: whether the channel is up before; without option `n` ExternalIVR() answers it.
            hung_up: whether it is gone already, as in the `h` extension.
            generator_fails: whether Asterisk cannot start a generator on it; see `Channel`.
            sounds: which prompts there are.
            variables: the channel's variables.
            env: the child's environment, instead of the exchange's.
            trace: told of every line in both directions.

        Returns:
            The call, under way. A program that cannot be executed ends it as in Asterisk: a line in the log, then
            `went_away`.

        Raises:
            OSError: no more descriptors or processes.
        """
        dialled = trio.current_time()
        channel = Channel(
            argv,
            options,
            answered=answered,
            hung_up=hung_up,
            generator_fails=generator_fails,
            sounds=self._sounds if sounds is None else sounds,
            variables=variables,
            burst_stall=self._burst_stall,
            patience=self._patience,
            epoch=time.time(),
            trace=trace,
        )
        call = ProcessCall(self, channel, dialled)
        if channel.ended:
            return call  # refused before the fork
        fds: list[int] = []
        try:
            for _ in range(3):
                fds.extend(os.pipe())  # close-on-exec; posix_spawn's dup2 clears that in the child
            stdin, our_stdin, our_stdout, stdout, our_stderr, stderr = fds
            for fd in (our_stdin, our_stdout, our_stderr):
                os.set_blocking(fd, False)
            self._spawn(call, argv, self._env if env is None else env, stdin, stdout, stderr)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        for fd in (stdin, stdout, stderr):
            os.close(fd)
        call.connect(our_stdin, our_stdout, our_stderr)
        return call

    def _spawn(
        self, call: ProcessCall, argv: Sequence[str], env: Mapping[str, str], stdin: int, stdout: int, stderr: int
    ) -> None:
        try:
            pid = os.posix_spawn(
                argv[0],
                list(argv),
                env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, stdin, 0),
                    (os.POSIX_SPAWN_DUP2, stdout, 1),
                    (os.POSIX_SPAWN_DUP2, stderr, 2),
                ],
                setpgroup=0,  # Ctrl-C at a terminal is for the simulator, not for the app
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        except OSError as error:
            if error.errno in _NO_CHILD:
                raise
            # Asterisk has forked by now: its child says so on stderr and exits.
            os.write(stderr, f"Failed to execute '{argv[0]}': {os.strerror(error.errno or 0)}\n".encode())
            call.exit_status = 1
            return
        try:
            call.adopt(pid, os.pidfd_open(pid))
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    async def close(self) -> None:
        """Hang up all calls and wait for the children, which are terminated, then killed, when they stay."""
        for call in list(self.calls):
            call.hangup()
            call.crash()  # those that a hangup does not end: options i and d, a blocked channel
        for number, grace in ((None, _STOP_GRACE), (signal.SIGTERM, _STOP_GRACE), (signal.SIGKILL, math.inf)):
            children = list(self.children)
            with trio.move_on_after(grace):
                for call in children:
                    if number is not None:
                        call.kill(number)
                for call in children:
                    await call.exited(math.inf)


@asynccontextmanager
async def open_exchange(
    *,
    sounds: Sounds | None = None,
    burst_stall: bool = True,
    patience: float = 10.0,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Exchange]:
    """An exchange for as long as the block lasts; its end hangs up every call and outlives no child. See `Exchange`."""
    exchange = Exchange(sounds=sounds, burst_stall=burst_stall, patience=patience, env=env)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.poller.run)
            try:
                yield exchange
            finally:
                with trio.CancelScope(shield=True):
                    await exchange.close()
                nursery.cancel_scope.cancel()
    finally:
        exchange.poller.close()
