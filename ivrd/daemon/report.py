"""What the daemon shows of itself: the same facts for the operator's tables and for the metrics.

The rule that holds here: everything is read off the switchboard at the moment of asking; nothing is kept twice.
"""

from __future__ import annotations

import os
import resource
from collections import Counter

import trio

from ivrd import __version__
from ivrd.observe.exporter import Health
from ivrd.observe.gauges import AppFigures, Snapshot
from ivrd.wire import control as wire

from .calls import Call
from .pool import Pool
from .switchboard import Switchboard

__all__ = ["call_row", "calls", "health", "line", "open_descriptors", "snapshot", "status"]

_DESCRIPTORS = "/proc/self/fd"


def calls(board: Switchboard, app: str = "") -> list[Call]:
    """The live calls, oldest first; only an app's own where one is named."""
    chosen = (call for call in board.calls.values() if app in ("", call.pool.name))
    return sorted(chosen, key=lambda call: call.started)


def call_row(call: Call) -> wire.CallRow:
    """What an operator is told of a call."""
    return wire.CallRow(
        id=call.id,
        app=call.pool.name,
        state=call.life.state.value,
        age=call.age,
        started=call.started,
        attempt=call.life.attempt,
        worker=0 if call.worker is None else call.worker.pid,
        args=len(call.args),
        transport=call.transport,
    )


async def open_descriptors() -> int:
    """How many files this process has open."""
    # Since Linux 6.2 the directory's size says it; before, that is 0, and to count the thousands takes milliseconds,
    # which are not for the loop.
    return os.stat(_DESCRIPTORS).st_size or len(await trio.to_thread.run_sync(os.listdir, _DESCRIPTORS))


def status(board: Switchboard, reload: wire.LastReload | None, descriptors: int) -> wire.StatusAnswer:
    """How it is going.

    Args:
        board: the switchboard.
        reload: how the last reload went.
        descriptors: how many files are open.
    """
    return wire.StatusAnswer(
        release=__version__,
        pid=os.getpid(),
        uptime=trio.current_time() - board.born,
        draining=board.draining,
        max_calls=board.config.server.max_calls,
        calls=dict(Counter(call.life.state.value for call in board.calls.values())),
        results=dict(board.results.items()),
        apps=tuple(_app(pool) for pool in board.pools.values()),
        reload=reload,
        lag=board.metrics.worst_lag("daemon"),
        descriptors=descriptors,
        descriptor_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def line(board: Switchboard) -> str:
    """How it is going, in a line for `systemctl status`."""
    calls = Counter(call.life.state.value for call in board.calls.values())
    states = ", ".join(f"{count} {state}" for state, count in sorted(calls.items()))
    workers = sum(len(pool.workers) for pool in board.pools.values())
    troubled = "; ".join(f"{name}: {problem}" for name, problem in health(board).apps.items() if problem)
    return (
        f"{'draining: ' * board.draining}{len(board.calls)} calls{f' ({states})' if states else ''}, "
        f"{workers} workers, {board.results.total()} calls ended{f'; {troubled}' if troubled else ''}"
    )


def snapshot(board: Switchboard) -> Snapshot:
    """The gauges of this moment."""
    now = trio.current_time()
    calls: dict[str, Counter[str]] = {}
    for call in board.calls.values():
        calls.setdefault(call.pool.name, Counter())[call.life.state.value] += 1
    return Snapshot(
        apps={
            name: AppFigures(
                calls=calls.get(name, {}),
                queue=pool.desk.waiting,
                workers=Counter(worker.state for worker in pool.workers.values()),
                backoff=max(0.0, pool.backoff.until - now),
                rss=sum(worker.rss for worker in pool.workers.values()),
                least=pool.app.pool_min if pool.open else 0,
                most=pool.app.pool_max if pool.open else 0,
                slots=pool.desk.places,
                slots_taken=pool.desk.taken,
            )
            for name, pool in board.pools.items()
            if pool.open or pool.workers
        }
    )


def health(board: Switchboard) -> Health:
    """Whether each app takes calls."""
    apps = {pool.name: pool.problem for pool in board.open_pools}
    return Health(apps=apps, problem="draining" if board.draining else "")


def _app(pool: Pool) -> wire.AppStatus:
    now = trio.current_time()
    return wire.AppStatus(
        name=pool.name,
        open=pool.open,
        generation=pool.generation,
        capacity=pool.desk.places,
        busy=pool.desk.busy,
        waiting=pool.desk.waiting,
        backoff=max(0.0, pool.backoff.until - now),
        failure=pool.failure,
        workers=tuple(
            wire.WorkerRow(
                pid=worker.pid,
                state=worker.state,
                generation=worker.generation,
                calls=len(worker.calls),
                served=worker.served,
                age=now - worker.born,
                rss=worker.rss,
                lag=worker.lag,
                stuck=worker.stuck,
                adopted=worker.adopted,
            )
            for worker in pool.workers.values()
        ),
    )
