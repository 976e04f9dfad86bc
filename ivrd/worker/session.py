"""One call in a worker, from its start to its end.

The rule that holds here: a call is ended by its supervisor, once, with one result, and on time. The supervisor, the
reader and the handler are tasks of their own; the reader never waits for the handler, and the supervisor ends the call
whether or not the handler ends, because a task may ignore cancellation and a thread cannot be stopped at all.
"""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, Protocol

import anyio
import msgspec
from anyio.abc import TaskGroup

from ivrd import eivr
from ivrd.config import App
from ivrd.errors import CallEnded
from ivrd.rules.deadlines import Limits
from ivrd.wire.messages import Ended, HeldCall, Result, Start, Tally
from ivrd.worker import tally
from ivrd.worker.call import Call
from ivrd.worker.channel import Channel
from ivrd.worker.handler import Handler, Runner
from ivrd.worker.keys import Fate
from ivrd.worker.kinds import is_async
from ivrd.worker.secrets import Secrets
from ivrd.worker.sync import SyncCall
from ivrd.worker.transport import Transport

__all__ = ["CALL_ID", "STATUS", "CoveringLog", "ErrorLog", "Session"]

STATUS: Final = "IVRD_STATUS"
"""The channel variable that says why ivrd sent a call on in the dialplan."""
CALL_ID: Final = "IVRD_CALL_ID"

Action = Literal["hangup", "exit"]


class ErrorLog(Protocol):
    """Where a session tells of what went wrong: a structlog logger, for one."""

    def error(self, event: str, **fields: object) -> object:
        """Write one line."""
        ...


class CoveringLog(ErrorLog, Protocol):
    """A log for all calls, in which those of others must not be read either."""

    def cover(self, secrets: Secrets) -> None:
        """Let a call's secrets appear in no line, for as long as anything of the call is there."""
        ...


class _Verdict(NamedTuple):
    result: Result
    detail: str
    leaves: bool = False  # to the dialplan, by our word


class Session:
    """A call and the handler that runs it.

    Args:
        start: what the daemon said of the call.
        app: the app's configuration.
        name: the app's name.
        handler: the app's function.
        transport: the way to Asterisk; the session closes it.
        close_timeout: seconds that Asterisk is given to close its side.
        log: where errors are told.
    """

    def __init__(
        self,
        start: Start,
        app: App,
        name: str,
        handler: Handler,
        transport: Transport,
        *,
        close_timeout: float,
        log: CoveringLog,
    ) -> None:
        self.id = start.id
        self._start = start
        self._app = app
        self._name = name
        self._transport = transport
        self._log = log
        self._admitted = anyio.current_time() - start.age
        self._limits = Limits(app.max_duration, app.idle_timeout, app.hangup_grace, close_timeout)
        self._channel = Channel(transport, self._look)
        self._verdict: _Verdict | None = None
        self._dropped = False
        self._begun = False
        self._decided = anyio.Event()
        self._read_all = anyio.Event()
        self._handled = anyio.Event()
        self._told = Tally()
        self._counted_at = 0
        call = Call(
            self._channel,
            self,
            id=start.id,
            app=name,
            args=tuple(arg.decode("utf-8", "surrogateescape") for arg in start.args),
            started=datetime.fromtimestamp(start.started, UTC),
            attempt=start.attempt,
            allow_functions=app.allow_functions,
        )
        self._runner = Runner(handler, call if is_async(handler) else SyncCall(call), self._channel.secrets)
        log.cover(self._channel.secrets)

    # For the owner

    def begin(self, handlers: TaskGroup) -> None:
        """Let the handler begin, before anything else of the call is set up: the caller waits for its first command.

        Args:
            handlers: where the handler's task is started.
        """
        if not self._begun:
            self._begun = True
            self._channel.receive(self._start.early)
            self._greet()
            handlers.start_soon(self._handle)

    async def run(self, handlers: TaskGroup) -> Ended:
        """Run the call to its end; begins it unless `begin` was called.

        Args:
            handlers: where the handler's task is started; it may outlive this call of `run` there.

        Returns:
            How the call ended. The transport is closed; the handler is over, or was given up and is `stuck`.
        """
        self.begin(handlers)
        try:
            async with anyio.create_task_group() as tasks:
                self._channel.run_writers_in(tasks)
                tasks.start_soon(self._read)
                await self._supervise()
                end_by = self._limits.end_by(anyio.current_time())
                if not self._dropped:
                    with anyio.CancelScope(deadline=end_by.closed + self._sends_for()):
                        await self._read_all.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._transport.close()
        with anyio.CancelScope(deadline=end_by.given_up):
            await self._handled.wait()
        if not self._handled.is_set():
            self._runner.scope.cancel()
            self._log.error("call.stuck", call=self.id, hangup_grace=self._app.hangup_grace)
        return self._ended()

    def drop(self) -> None:
        """End the call without a word, since the daemon has said it already."""
        self._dropped = True
        self._decide("operator", "ended by the daemon")

    def stop(self, broken: str = "") -> None:
        """Hang up, since the service stops; or end the call as an error of the app's does.

        Args:
            broken: what failed, where it is no stop.
        """
        if broken:
            self._leave("app_error", "ERROR", self._app.on_error, broken)
        else:
            self._decide("drained", "the service stops", eivr.hangup("ivrd stops"))

    def give_up(self, detail: str) -> Ended:
        """Say how a call ended whose `run` raised, and that the daemon has to end it unless that was done before."""
        said = self._channel.connection.ending
        detail = self._channel.secrets.masked(detail)
        self._decide("app_error", detail)
        self._runner.scope.cancel()
        return msgspec.structs.replace(self._ended(), unsaid="" if said else detail)

    @property
    def stuck(self) -> bool:
        """Whether the handler still runs; once `run` has returned, that it was given up."""
        return not self._runner.finished

    @property
    def handled(self) -> bool:
        """Whether the handler's task is over, as the event loop knows it."""
        return self._handled.is_set()

    def key_fate(self, number: int) -> Fate:
        """Say what became of a key; see `keys.Keys.fate`."""
        return self._channel.keys.fate(number)

    @property
    def pressed(self) -> int:
        """How many keys came so far."""
        return self._channel.keys.pressed

    @property
    def admitted(self) -> float:
        """When the daemon admitted the call, by this loop's clock."""
        return self._admitted

    def masked(self, text: str) -> str:
        """Give the text with all secret digits of this call replaced by asterisks."""
        return self._channel.secrets.masked(text)

    def held(self) -> HeldCall:
        """Describe the call to the next daemon."""
        start = self._start
        return HeldCall(
            id=start.id,
            args=start.args,
            started=start.started,
            age=anyio.current_time() - self._admitted,
            attempt=start.attempt,
            transport=start.transport,
            leaving=self._channel.connection.ending,
            max_duration=self._app.max_duration,
        )

    def count(self) -> Tally:
        """Give what was counted since the last time this was asked."""
        if self._counted_at == self._channel.counted:
            return Tally()  # most calls, most of the time: nothing was read or written
        self._counted_at = self._channel.counted
        now = self._channel.tally()
        part, self._told = tally.difference(now, self._told), now
        return part

    # For the app API

    def exit(self, message: str) -> None:
        """Leave to the dialplan, on the app's wish."""
        self._leave("completed", "OK", "exit", message)

    def hangup(self, message: str) -> None:
        """Hang up, on the app's wish."""
        self._leave("hangup", "", "hangup", message)

    # The supervisor

    def _greet(self) -> None:
        if self._verdict is None:
            if self._app.set_call_id:
                self._channel.note_call(eivr.set_variables({CALL_ID: self.id}))
            if self._app.log_call_id:
                self._channel.note_call(eivr.log(f"ivrd call {self.id}"))

    async def _supervise(self) -> None:
        """Wait for the verdict, and pass it where a time limit is reached."""
        while self._verdict is None:
            now = anyio.current_time()
            due = self._limits.due(
                now,
                admitted=self._admitted,
                active=self._channel.active,
                playing_until=max(self._channel.playlist.playing_until(), self._channel.sending_until),
            )
            if due.at <= now:
                limit = getattr(self._limits, due.which)
                self._leave("timeout", "TIMEOUT", self._app.on_timeout, f"{due.which} of {limit:g} s is over")
                return
            with anyio.CancelScope(deadline=due.look_again):
                await self._decided.wait()

    def _sends_for(self) -> float:
        """For how many more seconds Asterisk is known to be busy with keys that the app sent, if it may not be hurried.

        Who sends `E` must hold stdout and stderr open until Asterisk has closed, or the call is hung up; and it reads
        the `E` when the last key is out.
        """
        if self._verdict is None or not self._verdict.leaves:
            return 0.0
        return max(0.0, self._channel.sending_until - anyio.current_time())

    def _look(self) -> None:
        """Something came from Asterisk: is the caller gone?"""
        connection = self._channel.connection
        if connection.hungup:
            self._decide("hangup", "the caller hung up")
        elif connection.left:
            # Not on our word, so on that of another holder of the descriptors.
            self._decide("completed", "the call has left to the dialplan")
        elif connection.closed or self._channel.broken:
            self._decide("hangup", "Asterisk closed its side without a word")

    def _leave(self, result: Result, status: str, action: Action, message: str) -> None:
        """Decide, and end the call in the dialplan or by hanging up."""
        message = self._channel.secrets.masked(message)
        lines = [eivr.set_variables({STATUS: status})] if status else []
        lines.append(eivr.exit(message) if action == "exit" else eivr.hangup(message))
        if result == "completed" and self._channel.hungup:
            result = "hangup"  # under option i the handler goes on after the caller
        self._decide(result, message, *lines, leaves=action == "exit")

    def _decide(self, result: Result, detail: str, *lines: bytes, leaves: bool = False) -> None:
        """Pass the verdict, the first one only, and carry it out as far as that takes no waiting."""
        if self._verdict is not None:
            return
        self._verdict = _Verdict(result, detail, leaves)
        self._channel.finish(f"the call is over ({result})", *lines)
        if not self._runner.on_thread:
            self._runner.scope.cancel()
        self._decided.set()

    def _ended(self) -> Ended:
        self._runner.cancel_leftovers()
        verdict = self._verdict or _Verdict("app_error", "")
        return Ended(id=self.id, result=verdict.result, detail=verdict.detail, tally=self._channel.tally())

    # The reader

    async def _read(self) -> None:
        while True:
            await self._transport.wait_readable()
            try:
                data = self._transport.read()
            except BlockingIOError:
                continue
            except OSError:
                break
            if not data:
                break
            self._channel.receive(data)
        self._channel.receive_eof()
        self._read_all.set()

    # The handler

    async def _handle(self) -> None:
        try:
            if self._verdict is None:
                self._judge(await self._runner.run())
        finally:
            self._handled.set()
            self._runner.cancel_leftovers()

    def _judge(self, error: BaseException | None) -> None:
        if error is None:
            self._leave("completed", "OK", "exit", "the handler returned")
        elif _is_call_ended(error) and self._channel.hungup:
            self._leave("hangup", "OK", "exit", "the caller hung up")
        elif not (_is_call_ended(error) and self._verdict):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """The handler raised: during the call, which ends it, or while it cleaned up, which changes nothing more."""
        text = self._channel.secrets.masked("".join(traceback.format_exception(error)))
        line = self._channel.secrets.masked(traceback.format_exception_only(error)[-1].strip())
        event = "call.cleanup_error" if self._verdict else "call.app_error"
        self._log.error(event, call=self.id, error=line, exception=text)
        if self._verdict is None:
            self._transport.complain(f"ivrd: app {self._name} failed in call {self.id}: {line}")
            self._leave("app_error", "ERROR", self._app.on_error, line)


def _is_call_ended(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_call_ended, error.exceptions))
    return isinstance(error, CallEnded)
