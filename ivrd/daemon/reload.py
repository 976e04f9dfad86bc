"""Reload: the configuration read again, the apps imported again, and no call dropped.

The rule that holds here: all or nothing. Every app's new generation is warm before the first new call moves over;
whatever fails before that, the old configuration and the old workers stay as they were, and the reason is told and
counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec
import structlog
import trio

from ivrd.config import Config, check_descriptors, needs_restart
from ivrd.errors import ConfigError, IvrdError
from ivrd.wire.control import LastReload

from .switchboard import Switchboard

__all__ = ["Outcome", "ReloadError", "Reloader"]

log = structlog.get_logger("ivrd.daemon")


class ReloadError(IvrdError):
    """The reload changed nothing; the message says why, a line for each problem."""


class Outcome(msgspec.Struct, frozen=True):
    """What a reload did.

    Attributes:
        apps: apps that run a new generation.
        added: apps that are new.
        removed: apps that take no new calls any more.
        restart: keys that changed and wait for a restart.
    """

    apps: list[str]
    added: list[str]
    removed: list[str]
    restart: list[str]


class Reloader:
    """Reloads, one at a time.

    Args:
        board: where the pools are.
        read: reads the configuration; raises `ConfigError`.
        limit: the number of files that may be open.
        announce: surrounds each reload, for systemd to see.

    Attributes:
        last: how the last one went; None before the first.
    """

    def __init__(
        self,
        board: Switchboard,
        read: Callable[[], Config],
        limit: int,
        announce: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._board = board
        self._read = read
        self._limit = limit
        self._announce = announce
        self._one = trio.Lock()
        self.last: LastReload | None = None

    async def reload(self) -> Outcome:
        """Read, warm, move over.

        Returns:
            What has changed, when new calls go to the new generation and nowhere else.

        Raises:
            ReloadError: nothing has changed.
        """
        async with self._one, self._announce():
            try:
                outcome = await self._reload()
            except ReloadError as error:
                log.error("reload_failed", reason=str(error))
                self._board.metrics.reload(False)
                self.last = LastReload(at=time.time(), error=str(error))
                raise
            log.info("reloaded", **msgspec.structs.asdict(outcome))
            self._board.metrics.reload(True)
            self.last = LastReload(at=time.time())
            return outcome

    async def _reload(self) -> Outcome:
        board = self._board
        if board.draining:
            raise ReloadError("ivrd is stopping: nothing is reloaded")
        try:
            config = self._read()
        except ConfigError as error:
            raise ReloadError(str(error)) from None
        if (problem := check_descriptors(config, self._limit, self._limit)) is not None:
            raise ReloadError(problem)
        # What waits for a restart stays as it is for the new workers, too: they are to find our sockets.
        restart = needs_restart(board.config, config)
        kept = {key: getattr(board.config.server, key) for key in (name.removeprefix("server.") for name in restart)}
        config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, **kept))
        before = {pool.name for pool in board.open_pools}
        pools = {
            name: board.pools.get(name) or board.add_pool(name, app, open=False) for name, app in config.apps.items()
        }

        async def prepare(name: str) -> None:
            await pools[name].prepare(config.apps[name], config.server)
            if pools[name].rejection:
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for name in config.apps:
                nursery.start_soon(prepare, name)
        # Asked only now, for one that was warm may have died while another app's were still to be.
        failures = {name: pools[name].rejection for name in config.apps if pools[name].rejection}
        if failures or board.draining:
            for name in config.apps:
                pools[name].abandon()
            if not failures:
                raise ReloadError("ivrd is stopping: nothing is reloaded")
            raise ReloadError("\n".join(f"app {name} does not start: {why}" for name, why in failures.items()))
        board.configure(config)
        board.metrics.set_apps(list(config.apps))
        for name, app in config.apps.items():
            board.pools[name] = pools[name]  # its last workers may just have died, and it have been struck out
            pools[name].commit(app)
        for name in before - config.apps.keys():
            board.pools[name].close()
        return Outcome(
            apps=sorted(config.apps),
            added=sorted(config.apps.keys() - before),
            removed=sorted(before - config.apps.keys()),
            restart=restart,
        )
