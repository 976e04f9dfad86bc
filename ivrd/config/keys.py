"""The keys of ivrd.toml: each one's name, type, range, default, unit and description, side by side.

The rule that holds here: this is the single source. The checks, the error messages, `document()` and the configuration
reference are made from these annotations; nothing else repeats a range or a default.
"""

from __future__ import annotations

import os
import pwd
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .forms import memory_bytes, metrics_address

__all__ = ["App", "Config", "Server"]

_YEAR = 31_536_000  # seconds; the longest any time may be: finite, so that every deadline can be computed

# A time where 0 has a meaning of its own (off, or at once), and one where it has none.
_Seconds = Annotated[float, Meta(ge=0, le=_YEAR, extra={"unit": "seconds"})]
_SomeSeconds = Annotated[float, Meta(gt=0, le=_YEAR, extra={"unit": "seconds"})]
_Workers = Annotated[int, Meta(ge=1, le=1024, extra={"unit": "workers"})]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The `[server]` table: the daemon itself. Relative socket paths were resolved against the file's directory."""

    socket: Annotated[
        str,
        Meta(description="The Unix socket on which shims hand calls over; `ivrd-shim --socket` must agree with it."),
    ] = "/run/ivrd/ivrd.sock"
    worker_socket: Annotated[
        str,
        Meta(
            description="The Unix socket on which workers register, also with the next daemon after a crash or upgrade."
        ),
    ] = "/run/ivrd/workers.sock"
    control_socket: Annotated[
        str,
        Meta(description="The Unix socket on which `ivrd status`, `calls`, `reload` and the like reach the daemon."),
    ] = "/run/ivrd/control.sock"
    metrics: Annotated[
        str,
        Meta(
            description="HOST:PORT on which Prometheus finds `/metrics`, `/healthz` and `/readyz`; an IPv6 host "
            'goes in brackets, port 0 takes any free one; "" is off.'
        ),
    ] = "127.0.0.1:9949"
    allow_users: Annotated[
        tuple[str | int, ...],
        Meta(
            description="Users, by name or number, whose shims may hand calls over (SO_PEERCRED); root and the "
            "daemon's own user always may. A name that this machine does not have is a warning."
        ),
    ] = ("asterisk",)
    max_calls: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Calls held at once, over all apps, queued ones included; one more is refused as overload. "
            "The limit on descriptors must fit it.",
            extra={"unit": "calls"},
        ),
    ] = 5000
    drain_timeout: Annotated[
        _Seconds,
        Meta(
            description="How long live calls may go on after SIGTERM or `ivrd drain` before they are ended; "
            "0 ends them at once."
        ),
    ] = 300.0
    close_timeout: Annotated[
        _SomeSeconds,
        Meta(
            description="How long Asterisk is given to close a call that was ended, before ivrd closes it all the same."
        ),
    ] = 5.0
    log_format: Annotated[
        Literal["", "console", "json"],
        Meta(
            description='How log lines look; "" is `console` on a terminal, journald fields under systemd, else `json`.'
        ),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least severe log lines that are written.")
    ] = "info"

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of the exporter, or None where it is off."""
        return metrics_address(self.metrics)

    def allowed_uids(self) -> tuple[frozenset[int], list[str]]:
        """Look up `allow_users` on this machine.

        Returns:
            the numbers of the users that may hand calls over, root and this process's own user among them; and one
            line of warning for each name that does not exist here.
        """
        uids = {0, os.geteuid()}
        warnings: list[str] = []
        for user in self.allow_users:
            if isinstance(user, int):
                uids.add(user)
                continue
            try:
                uids.add(pwd.getpwnam(user).pw_uid)
            except KeyError:
                warnings.append(
                    f"server.allow_users: this machine has no user {user!r}, so nobody is let in by that name; "
                    "create the user or take the name out"
                )
        return frozenset(uids), warnings

    def missing_directories(self) -> list[str]:
        """Give one line of warning for each directory of a socket that is not there; `ivrd serve` makes none."""
        places = {os.path.dirname(getattr(self, key)): key for key in ("control_socket", "worker_socket", "socket")}
        return [
            f"server.{key}: the directory {place} does not exist; create it, owned by the user that runs `ivrd serve`"
            for place, key in places.items()
            if not os.path.isdir(place)
        ]


class App(msgspec.Struct, frozen=True, kw_only=True):
    """One `[apps.NAME]` table. A relative `path` was resolved against the file's directory."""

    handler: Annotated[
        str,
        Meta(
            description="The function that runs a call, as `module:function`: an `async def` on the worker's loop, or "
            "a plain `def` on a thread of its own."
        ),
    ]
    lifespan: Annotated[
        str,
        Meta(
            description="An async context manager, as `module:function`, entered once around each worker's life "
            '(database pools, caches); "" is none.'
        ),
    ] = ""
    path: Annotated[
        str,
        Meta(
            description="A directory to put first on the app's `sys.path`; a relative one counts from this file's "
            'directory; "" adds nothing.'
        ),
    ] = ""
    backend: Annotated[
        Literal["asyncio", "trio"],
        Meta(description="The event loop that the workers run, and so what the app may await."),
    ] = "asyncio"
    workers: Annotated[
        _Workers, Meta(description="Worker processes, a fixed number; give this or `min_workers` and `max_workers`.")
    ] = 2
    min_workers: Annotated[
        _Workers | None, Meta(description="The fewest workers of an elastic pool; goes with `max_workers`.")
    ] = None
    max_workers: Annotated[
        _Workers | None, Meta(description="The most workers of an elastic pool; goes with `min_workers`.")
    ] = None
    spare_slots: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Free places for calls that an elastic pool keeps ready, so that it grows before it must.",
            extra={"unit": "calls"},
        ),
    ] = 0
    shrink_after: Annotated[
        _Seconds,
        Meta(description="How long a worker of an elastic pool has had no call when it is let go as one too many."),
    ] = 30.0
    concurrency: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Calls that one worker holds at once.", extra={"unit": "calls per worker"}),
    ] = 200
    queue: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Calls that may wait for a free place; one more is refused as overload. 0: none waits.",
            extra={"unit": "calls"},
        ),
    ] = 100
    queue_timeout: Annotated[
        _SomeSeconds, Meta(description="How long a call may wait in the queue before `on_overload` is done with it.")
    ] = 2.0
    on_overload: Annotated[
        Literal["hangup", "exit"],
        Meta(description="What becomes of a call that finds no place: hung up, or sent on (`OVERLOADED`)."),
    ] = "hangup"
    on_crash: Annotated[
        Literal["hangup", "exit", "retry"],
        Meta(
            description="What becomes of a call whose worker died: hung up, sent on (`CRASHED`), or begun anew, once, "
            "on another."
        ),
    ] = "hangup"
    on_error: Annotated[
        Literal["hangup", "exit"],
        Meta(description="What becomes of a call whose handler raised: hung up, or sent on in the dialplan (`ERROR`)."),
    ] = "hangup"
    on_timeout: Annotated[
        Literal["hangup", "exit"],
        Meta(
            description="What becomes of a call past `max_duration` or `idle_timeout`: hung up, or sent on (`TIMEOUT`)."
        ),
    ] = "hangup"
    max_duration: Annotated[_Seconds, Meta(description="The longest that a call may last; 0 is off.")] = 3600.0
    idle_timeout: Annotated[
        _Seconds,
        Meta(description="How long a call may pass without an event or a command while no prompt plays; 0 is off."),
    ] = 300.0
    hangup_grace: Annotated[
        _Seconds, Meta(description="How long a handler may clean up after the caller hung up; 0 gives it no time.")
    ] = 5.0
    heartbeat_timeout: Annotated[
        _SomeSeconds,
        Meta(
            description="A worker silent for so long is stuck: its stacks go to the log, it is killed, "
            "`on_crash` applies."
        ),
    ] = 15.0
    start_timeout: Annotated[
        _SomeSeconds,
        Meta(description="How long a worker may take to import the app and enter its lifespan."),
    ] = 60.0
    max_calls_per_worker: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="A worker is replaced after so many calls, give or take some jitter; 0 is off.",
            extra={"unit": "calls"},
        ),
    ] = 0
    max_memory: Annotated[
        str,
        Meta(
            description='A worker whose resident memory is above this is replaced, such as "512 MiB"; "" is off.',
            extra={"unit": "bytes, with a unit"},
        ),
    ] = ""
    max_age: Annotated[_Seconds, Meta(description="A worker older than this is replaced; 0 is off.")] = 0.0
    allow_functions: Annotated[
        tuple[str, ...],
        Meta(description='Dialplan functions that `call.set_function` may write, such as ["CALLERID", "CDR"].'),
    ] = ()
    set_call_id: Annotated[
        bool,
        Meta(description="Set channel variable `IVRD_CALL_ID` at the start of each call, so that CDRs can carry it."),
    ] = False
    log_call_id: Annotated[
        bool, Meta(description="Write the call's id to Asterisk's own log at the start of each call.")
    ] = False
    log_args: Annotated[
        Literal["none", "hash", "plain"],
        Meta(description="What ivrd's log shows of what the dialplan passed: nothing, hashes, or all of it."),
    ] = "hash"

    @property
    def pool_min(self) -> int:
        """The fewest workers that are kept: `min_workers` of an elastic pool, else `workers`."""
        return self.workers if self.min_workers is None else self.min_workers

    @property
    def pool_max(self) -> int:
        """The most workers that take new calls at once: `max_workers` of an elastic pool, else `workers`."""
        return self.workers if self.max_workers is None else self.max_workers

    @property
    def max_memory_bytes(self) -> int:
        """`max_memory` in bytes; 0 is off."""
        return memory_bytes(self.max_memory)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration that was checked.

    Attributes:
        server: the `[server]` table.
        apps: the `[apps.NAME]` tables by name, in the file's order; at least one.
        source: the file it was read from, for messages.
        given: the keys that the file sets, as paths such as `("apps", "menu", "workers")`; the others hold defaults.
    """

    server: Server
    apps: dict[str, App]
    source: str = ""
    given: tuple[tuple[str, ...], ...] = ()
