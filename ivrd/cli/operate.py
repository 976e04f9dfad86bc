"""The operator's commands: `ivrd status`, `calls`, `hangup`, `reload`, `drain`.

The rule that holds here: tables are for people and `--json` for scripts, and both show the same facts.
"""

from __future__ import annotations

import time

import click
import msgspec
from rich.console import Console
from rich.table import Table

from ivrd.cli.client import ask, ask_all
from ivrd.cli.options import config_option, plain_errors
from ivrd.cli.words import CALLS, WORKERS, app_state, call_row, cell, seconds, worker_row
from ivrd.wire import control as wire

__all__ = ["calls", "drain", "hangup", "reload", "status"]

json_option = click.option("--json", "as_json", is_flag=True, help="For scripts.")


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


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
    draining = ", draining" if answer.draining else ""
    console.print(cell(f"ivrd {answer.release}, pid {answer.pid}, up {seconds(answer.uptime)}{draining}"))
    console.print(cell(f"calls: {live} (of {answer.max_calls} at most); ended: {results}"))
    console.print(cell(f"daemon: {_health(answer)}"))
    console.print(cell(f"last reload: {_reload(answer.reload)}"))
    apps = Table("app", "calls", "of", "waiting", "generation", "state")
    workers = Table(*WORKERS)
    for app in answer.apps:
        figures = (app.name, app.busy, app.capacity, app.waiting, app.generation)
        apps.add_row(*map(cell, figures), app_state(app))
        for worker in app.workers:
            workers.add_row(*worker_row(app, worker))
    console.print(apps, workers)


def _health(answer: wire.StatusAnswer) -> str:
    open_files = f"{answer.descriptors} of {answer.descriptor_limit} descriptors open"
    return f"its loop was {answer.lag * 1000:.0f} ms late at most, {open_files}"


def _reload(last: wire.LastReload | None) -> str:
    if last is None:
        return "none since the start"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last.at))
    return f"{when}, failed: {last.error.splitlines()[0]}" if last.error else f"{when}, well"


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
    table = Table(*CALLS)
    for row in rows:
        table.add_row(*call_row(row))
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
    """Take no new calls, give the live ones `drain_timeout`, then stop."""
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
