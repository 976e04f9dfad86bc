"""The operator's commands: `ivrd status`, `calls`, `hangup`, `reload`, `drain`.

The rule that holds here: tables are for people and `--json` for scripts, and both show the same facts.
"""

from __future__ import annotations

import click
import msgspec
from rich.console import Console
from rich.table import Table

from ivrd.cli.client import ask, ask_all
from ivrd.cli.options import config_option, plain_errors
from ivrd.wire import control as wire

__all__ = ["calls", "drain", "hangup", "reload", "seconds", "status"]

json_option = click.option("--json", "as_json", is_flag=True, help="For scripts.")


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def seconds(value: float) -> str:
    """A time for a person: minutes and seconds, hours before them where there are any."""
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@click.command()
@config_option
@json_option
def status(config_path: str, as_json: bool) -> None:
    """Show apps, workers and calls."""
    with plain_errors():
        answer = ask(config_path, wire.Status())
    assert isinstance(answer, wire.StatusAnswer)
    if as_json:
        _print_json(answer)
        return
    console = Console()
    live = ", ".join(f"{count} {state}" for state, count in sorted(answer.calls.items())) or "none"
    results = ", ".join(f"{count} {result}" for result, count in sorted(answer.results.items())) or "none"
    console.print(
        f"ivrd {answer.release}, pid {answer.pid}, up {seconds(answer.uptime)}" + (", draining" * answer.draining)
    )
    console.print(f"calls: {live} (of {answer.max_calls} at most); ended: {results}")
    apps = Table("app", "calls", "of", "waiting", "generation", "state")
    workers = Table("app", "pid", "state", "calls", "served", "age", "memory", "lag", "stuck")
    for app in answer.apps:
        state = "closed" if not app.open else f"backs off {app.backoff:.0f} s: {app.failure}" if app.backoff else "well"
        figures = (app.busy, app.capacity, app.waiting, app.generation)
        apps.add_row(app.name, *map(str, figures), state)
        for worker in app.workers:
            old = " (old)" if worker.generation < app.generation else ""
            workers.add_row(
                app.name, str(worker.pid), worker.state + old, str(worker.calls), str(worker.served),
                seconds(worker.age), f"{worker.rss / 1e6:.0f} MB", f"{worker.lag * 1000:.0f} ms", str(worker.stuck),
            )  # fmt: skip
    console.print(apps, workers)


@click.command()
@config_option
@json_option
@click.option("--app", default="", help="Only the calls of this app.")
def calls(config_path: str, as_json: bool, app: str) -> None:
    """List the live calls, oldest first."""
    rows: list[wire.CallRow] = []
    with plain_errors():
        for answer in ask_all(config_path, wire.Calls(app)):
            assert isinstance(answer, wire.CallsAnswer)
            rows.extend(answer.rows)
            if answer.last:
                break
    if as_json:
        _print_json(rows)
        return
    table = Table("call", "app", "state", "age", "attempt", "worker")
    for row in rows:
        table.add_row(row.id, row.app, row.state, seconds(row.age), str(row.attempt), str(row.worker or ""))
    Console().print(table if rows else "no live calls")


@click.command()
@config_option
@click.argument("call_id", metavar="ID")
def hangup(config_path: str, call_id: str) -> None:
    """Hang a live call up."""
    _tell(config_path, wire.Hangup(call_id))


@click.command()
@config_option
def drain(config_path: str) -> None:
    """Take no new calls, see the live ones off, then stop."""
    _tell(config_path, wire.Drain())


def _tell(config_path: str, request: wire.Request) -> None:
    with plain_errors():
        answer = ask(config_path, request)
    assert isinstance(answer, wire.Done)
    click.echo(answer.text)


@click.command()
@config_option
@json_option
def reload(config_path: str, as_json: bool) -> None:
    """Read the configuration and import the apps again; wait until new calls run the new code."""
    with plain_errors():
        answer = ask(config_path, wire.Reload(), patience=None)
    assert isinstance(answer, wire.Reloaded)
    if as_json:
        _print_json(answer)
        return
    click.echo(f"reloaded: {', '.join(answer.apps)}")
    for text, names in (("new", answer.added), ("gone", answer.removed), ("waits for a restart", answer.restart)):
        if names:
            click.echo(f"{text}: {', '.join(names)}")
