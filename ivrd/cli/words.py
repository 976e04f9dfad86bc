"""What commands say of apps, workers and calls, as a person reads it: the same in `status`, `calls`, `top` and `trace`.

The rule that holds here: whatever comes from outside (what an app's error says, what went over the wire) is text. It is
never taken for rich's markup, and it never moves the cursor.
"""

from __future__ import annotations

from rich.text import Text

from ivrd.wire import control as wire

__all__ = ["CALLS", "WORKERS", "app_state", "call_row", "cell", "printable", "seconds", "worker_row"]

CALLS = ("call", "app", "state", "age", "attempt", "worker")
WORKERS = ("app", "pid", "state", "calls", "served", "age", "memory", "lag", "stuck")


def printable(text: str) -> str:
    """Give the text with a `?` for each character that is none to be seen, control characters above all."""
    return "".join(character if character.isprintable() else "?" for character in text)


def cell(value: object, style: str = "") -> Text:
    """Give anything as what rich shows as it stands."""
    return Text(printable(str(value)), style)


def seconds(value: float) -> str:
    """A time for a person: minutes and seconds, hours before them where there are any."""
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def app_state(app: wire.AppStatus) -> Text:
    """Whether an app is well, and if not, why."""
    if not app.open:
        return cell("closed")
    if app.backoff:
        return cell(f"backs off {app.backoff:.0f} s: {app.failure}")
    return cell(f"tries again: {app.failure}" if app.failure else "well")


def worker_row(app: wire.AppStatus, worker: wire.WorkerRow) -> list[Text]:
    """A worker's cells, one for each of `WORKERS`."""
    old = " (old)" if worker.generation < app.generation else ""
    cells = (
        app.name, worker.pid, worker.state + old, worker.calls, worker.served,
        seconds(worker.age), f"{worker.rss / 1e6:.0f} MB", f"{worker.lag * 1000:.0f} ms", worker.stuck,
    )  # fmt: skip
    return [cell(value) for value in cells]


def call_row(row: wire.CallRow) -> list[Text]:
    """A call's cells, one for each of `CALLS`."""
    return [cell(value) for value in (row.id, row.app, row.state, seconds(row.age), row.attempt, row.worker or "")]
