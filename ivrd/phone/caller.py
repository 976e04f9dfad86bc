"""The caller in an app's test: dials, hears, presses keys, hangs up, and knows afterwards what became of the call.

The rule that holds here: every method lets virtual time pass until what it waits for has happened, then time stands
still again. What goes wrong is told with the call's transcript, at the test's own line.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

import anyio

from ivrd.config import Config
from ivrd.errors import IvrdError
from ivrd.phone.finding import find_app
from ivrd.phone.imports import Imports
from ivrd.phone.local import LocalCall
from ivrd.phone.world import World
from ivrd.simulator import script
from ivrd.simulator.caller import NotSeen
from ivrd.simulator.channel import Channel
from ivrd.simulator.follower import KEY_S
from ivrd.simulator.generator import Heard
from ivrd.simulator.records import Ending, Log, Outcome, SentDtmf
from ivrd.simulator.sounds import Sounds, SoundTable
from ivrd.wire.messages import Result
from ivrd.worker.handler import Handler

__all__ = ["AppFailed", "Caller", "Ivr"]

T = TypeVar("T")

HEARS_S = 60.0
ENDS_S = 3600.0
_SETTLE_S = 1e-6
"""Virtual seconds after which everything has run that can run at once: time passes only when nothing can."""


class AppFailed(NotSeen):
    """The app raised; its exception is the cause of this one."""


class Caller:
    """One call, made by `Ivr.dial`. All times are virtual, in seconds since the call was dialled.

    Attributes:
        sent_dtmf: keys that the app sent to the caller.
        function_writes: dialplan functions that the app wrote, as (`CALLERID(name)`, value).
    """

    def __init__(self, world: World, call: LocalCall) -> None:
        self._world = world
        self._call = call
        self._told = False

    def __repr__(self) -> str:
        return f"<Caller {self._call.outcome or self._call.channel.state}:{self._call.transcript()}>"

    async def hears(self, prompt: str, timeout: float = HEARS_S) -> Heard:
        """Wait until a prompt begins; those that an earlier `hears` passed over are not looked at again.

        Args:
            prompt: its name, as the app gave it.
            timeout: virtual seconds to wait.

        Returns:
            The prompt, with its times.

        Raises:
            NotSeen: it did not begin in time, or the call ended first.
            AppFailed: the app raised.
        """
        __tracebackhide__ = True
        return self._do(lambda: self._call.hears(prompt, timeout))

    async def press(self, keys: str) -> None:
        """Press keys one after the other, each in a tenth of a second; nothing happens on a call that is over.

        Small letters are keys too, as in scripts.

        Raises:
            ValueError: one of them is no key.
            AppFailed: the app raised.
        """
        __tracebackhide__ = True
        for key in keys.upper():
            self._do(lambda key=key: self._press(key))  # type: ignore[misc]

    async def hangup(self) -> None:
        """Hang up, and let the app notice."""
        __tracebackhide__ = True

        async def hangup() -> None:
            self._call.hangup()
            await anyio.sleep(_SETTLE_S)

        self._do(hangup)

    async def follow(self, text: str) -> None:
        """Do what a script says, such as `wait:welcome 1 pause:0.5 2 # hangup:3`.

        Raises:
            ScriptError: it makes no sense.
            NotSeen: a prompt did not come.
            AppFailed: the app raised.
        """
        __tracebackhide__ = True
        steps = script.read(text)
        self._do(lambda: self._call.follow(steps))

    async def wait(self, seconds: float) -> None:
        """Let virtual time pass."""
        __tracebackhide__ = True
        self._do(lambda: anyio.sleep(seconds))

    async def ended(self, timeout: float = ENDS_S) -> Ending:
        """Wait until the call is over, the app's clean-up included.

        Args:
            timeout: virtual seconds to wait.

        Returns:
            How ExternalIVR() ended, and when.

        Raises:
            NotSeen: it was not over in time.
            AppFailed: the app raised.
        """
        __tracebackhide__ = True

        async def end() -> Ending:
            ending = await self._call.ended(timeout)
            await self._call.until_handled()
            return ending

        return self._do(end)

    @property
    def variables(self) -> dict[str, str]:
        """The channel's variables."""
        return self._call.variables

    @property
    def heard(self) -> list[Heard]:
        """The prompts that the caller heard, with their times."""
        return self._call.heard

    @property
    def prompts(self) -> list[str]:
        """The names of the prompts that the caller heard."""
        return [heard.prompt for heard in self._call.heard]

    @property
    def log(self) -> list[Log]:
        """What Asterisk logged about the call."""
        return self._call.log

    @property
    def sent_dtmf(self) -> list[SentDtmf]:
        """The keys that the app sent to the caller."""
        return self._call.channel.sent_dtmf

    @property
    def function_writes(self) -> list[tuple[str, str]]:
        """The dialplan functions that the app wrote, as (`CALLERID(name)`, value)."""
        return self._call.channel.function_writes

    @property
    def outcome(self) -> Outcome | None:
        """How the call ended for Asterisk; None while it goes on."""
        return self._call.outcome

    @property
    def result(self) -> Result | None:
        """How the call ended for ivrd, as its metrics have it; None while it goes on."""
        return self._call.result.result if self._call.result else None

    @property
    def error(self) -> BaseException | None:
        """What the app raised."""
        return self._call.error

    def transcript(self) -> str:
        """What happened, a line for each thing; secret digits are masked."""
        return self._call.transcript()

    def masked(self, text: str) -> str:
        """Give a text without this call's secret digits."""
        return self._call.masked(text)

    def unseen(self) -> list[str]:
        """Tell what went wrong in the app that no method of this caller has raised."""
        problems = [text for text in self._call.problems if not (self._told and text.startswith("call.app_error"))]
        return [self._call.masked(text) for text in problems]

    async def _press(self, key: str) -> None:
        self._call.press(key)
        await self._call.follow([script.Pause(KEY_S)])

    def _do(self, function: Callable[[], Awaitable[T]]) -> T:
        __tracebackhide__ = True
        try:
            done = self._world.do(function)
        except NotSeen as error:
            if self._call.error is None:
                raise error.with_traceback(None) from None
        else:
            if self._call.error is None or self._told:
                return done
        self._told = True
        raised = self._call.error
        raise AppFailed(f"the app raised {raised!r}:{self._call.transcript()}") from raised


class Ivr:
    """What the fixture `ivr` gives: a telephone.

    Args:
        backend: the event loop that apps run on, unless they are configured apps with one of their own.
        sounds: which prompts there are.
        config: where apps are found by name; None where there is no configuration.
        imports: whose modules are there, over all telephones of the process.
    """

    def __init__(
        self,
        backend: Literal["asyncio", "trio"],
        sounds: Sounds,
        config: Callable[[], Config] | None,
        imports: Imports,
    ) -> None:
        self._backend = backend
        self._sounds = sounds
        self._config = config
        self._imports = imports
        self._world: World | None = None
        self._callers: list[Caller] = []
        self._lifespans: set[str] = set()
        self._path = list(sys.path)

    async def dial(
        self,
        app: str | Handler,
        *args: str,
        options: str = "",
        answered: bool = False,
        hung_up: bool = False,
        generator_fails: bool = False,
        variables: Mapping[str, str] | None = None,
        sounds: Sounds | Mapping[str, float] | None = None,
        keys: str = "",
        **settings: Any,
    ) -> Caller:
        """Call an app.

        Args:
            app: `module:function`, the function itself, or the name of a configured app.
            args: what the dialplan passes (`call.args`).
            options: the dialplan's option letters, of `n`, `i` and `d`.
            answered: whether the channel is up before; without option `n` ExternalIVR() answers it.
            hung_up: whether it is gone already, as in the `h` extension, for option `d`.
            generator_fails: whether Asterisk cannot start audio on it, which `call.answer` tells under option `n`.
            variables: the channel's variables.
            sounds: which prompts there are, or lengths of some of them in seconds.
            keys: a script that is followed on its own (see `Caller.follow`), whatever the test itself does and hears.
            settings: keys of the app's table in ivrd.toml, such as `max_duration=60`.

        Returns:
            The caller, whose call has just begun.

        Raises:
            AppLoadError: there is no such function.
            IvrdError: there is no such app, or a setting makes no sense.
            TypeError: an argument is no text.
        """
        for number, arg in enumerate(args, 1):
            if not isinstance(arg, str):
                raise TypeError(f"argument {number} is {arg!r}, but a dialplan passes text: dial with {str(arg)!r}")
        steps = script.read(keys)
        name, settled, handler, lifespan = find_app(app, settings, self._backend, self._config, self._imports)
        world = self._world_of(settled.backend)
        channel = Channel(
            ("/usr/bin/ivrd-shim", name, *args),
            options,
            answered=answered,
            hung_up=hung_up,
            generator_fails=generator_fails,
            variables=variables,
            sounds=SoundTable(sounds) if isinstance(sounds, Mapping) else sounds or self._sounds,
        )

        async def begin() -> LocalCall:
            if lifespan is not None and settled.lifespan not in self._lifespans:
                await world.stack.enter_async_context(lifespan())
                self._lifespans.add(settled.lifespan)
            call = LocalCall(channel, settled, name, handler, args, number=len(self._callers) + 1)
            world.start(call, steps)
            await anyio.sleep(_SETTLE_S)
            return call

        caller = Caller(world, world.do(begin))
        self._callers.append(caller)
        return caller

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass for all calls."""
        world = self._world_of(self._backend)
        world.do(lambda: anyio.sleep(seconds))

    def close(self) -> list[str]:
        """Hang up what is left.

        Returns:
            What went wrong and was not told before, in apps and with scripts that were followed on their own.
        """
        sys.path[:] = self._path
        if self._world is None:
            return []
        self._world.close()
        problems = [f"{text}\nin the call:{each.transcript()}" for each in self._callers for text in each.unseen()]
        problems += self._world.loose.told(each.masked for each in self._callers)
        told = ["the app went wrong where no caller saw it:", *problems] if problems else []
        astray = self._world.astray
        return told + (["a script could not be followed to its end (keys=…):", *astray] if astray else [])

    def _world_of(self, backend: Literal["asyncio", "trio"]) -> World:
        if self._world is None:
            self._world = World(backend)
        elif self._world.backend != backend:
            raise IvrdError(
                f"this test calls an app on {self._world.backend} already: test one for {backend} in another"
            )
        return self._world
