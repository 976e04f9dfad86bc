"""What a configuration asks of the machine and of a running daemon: descriptors, restarts, keys without effect.

The rule that holds here: pure arithmetic and comparison over checked configurations; limits come in as arguments.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable

from .keys import Config

__all__ = ["NOT_YET", "check_descriptors", "descriptors_needed", "needs_restart", "without_effect"]

# Keys that are parsed and checked but do nothing yet, and why: `server.KEY` or `apps.NAME.KEY`.
NOT_YET: dict[str, str] = {}

# Keys that name what is opened once, at start: everything else is read again at a reload.
_ONCE = ("socket", "worker_socket", "control_socket", "metrics", "log_format")

_PER_CALL = 3  # the daemon's duplicates of Asterisk's pipes (`ivr://` takes one)
_PER_WAITING_CALL = 1  # the shim's connection, kept until a worker has confirmed the start
_PER_WORKER = 4  # its registered socket, its pidfd, its stderr, and one to spare while it is born
_SPARE = 256  # listeners, epoll, log, scrapes, control clients, and shims between connect and admission (six each)


def descriptors_needed(config: Config) -> int:
    """The most descriptors that the daemon may hold at once, so that a call is never refused for want of one.

    `3 * max_calls`, and one more for each call that can be queued or starting at the same time (never more than
    `max_calls`, nor than all queues and all places of all workers hold), and four for each worker, twice, since a
    reload warms a second generation beside the first, and 256 for the rest.
    """
    calls = config.server.max_calls
    return calls * _PER_CALL + min(calls, _places(config)) * _PER_WAITING_CALL + _fixed(config)


def check_descriptors(config: Config, soft_limit: int, hard_limit: int) -> str | None:
    """Whether the limit on open files lets `max_calls` calls in.

    Args:
        config: the configuration.
        soft_limit: RLIMIT_NOFILE's soft value, after the caller has raised it if it wants to, or RLIM_INFINITY.
        hard_limit: its hard value.

    Returns:
        None when it does, else one line that says what to raise.
    """
    needed = descriptors_needed(config)
    soft, hard = (float("inf") if limit == resource.RLIM_INFINITY else limit for limit in (soft_limit, hard_limit))
    key = f"{config.source}: server.max_calls: " if config.source else "server.max_calls: "
    what = f"{key}{config.server.max_calls} calls need {needed} descriptors, "
    if needed > hard:
        fits = _fitting_calls(config, hard_limit)
        lower = f"give max_calls = {fits} or less" if fits > 0 else "have fewer workers"
        return (
            f"{what}the hard limit is {hard_limit}; raise LimitNOFILE= of the unit (ulimit -Hn) to {needed}, or {lower}"
        )
    if needed > soft:
        return f"{what}the soft limit is {soft_limit}; raise it with ulimit -Sn {needed}, which the hard limit allows"
    return None


def needs_restart(old: Config, new: Config) -> list[str]:
    """The keys that differ but that a reload cannot apply: `server.socket` and what else is opened once."""
    return [f"server.{key}" for key in _ONCE if getattr(old.server, key) != getattr(new.server, key)]


def without_effect(given: Iterable[tuple[str, ...]]) -> list[str]:
    """The keys that a file sets and that do nothing yet.

    Args:
        given: `Config.given`.

    Returns:
        one line for each: the key, and why it has no effect.
    """
    lines = []
    for path in given:
        general = "apps.NAME" if path[0] == "apps" else path[0]
        if why := NOT_YET.get(f"{general}.{path[-1]}"):
            lines.append(f"{'.'.join(path)}: has no effect yet: {why}")
    return lines


def _places(config: Config) -> int:
    """How many calls can be queued or with a worker at once."""
    return sum(app.queue + app.pool_max * app.concurrency for app in config.apps.values())


def _fixed(config: Config) -> int:
    return 2 * _PER_WORKER * sum(app.pool_max for app in config.apps.values()) + _SPARE


def _fitting_calls(config: Config, limit: int) -> int:
    """The largest `max_calls` that `limit` descriptors serve."""
    left = limit - _fixed(config)
    # need = 3n + min(n, places), so either bound suffices
    return max(left // (_PER_CALL + _PER_WAITING_CALL), (left - _places(config)) // _PER_CALL)
