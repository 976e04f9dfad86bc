"""`ivrd trace`: what goes over the wire of one live call, as a ladder that a person can read, or into a file.

The rule that holds here: the daemon tells only what is fit to be seen; what it left out, because somebody was too slow,
is said. A file is readable by its owner only and can be played again with `ivrd dial --replay`.
"""

from __future__ import annotations

import sys

import click

from ivrd.cli.client import ask_all
from ivrd.cli.ladder import Ladder
from ivrd.cli.options import config_option, fail, plain_errors
from ivrd.errors import IvrdError
from ivrd.phone.recording import Line, Recording, save
from ivrd.wire import control as wire

__all__ = ["trace"]


@click.command()
@config_option
@click.argument("call_id", metavar="[ID]", default="")
@click.option("--next", "next_call", is_flag=True, help="The next call that comes, from its first line.")
@click.option("--app", default="", help="The next call of this app.")
@click.option("--save", "path", metavar="FILE", help="Write it to a file as well, for `ivrd dial --replay`.")
def trace(config_path: str, call_id: str, next_call: bool, app: str, path: str | None) -> None:
    """Show what goes over the wire of call ID, or of the next call, until it ends or Ctrl-C."""
    if bool(call_id) == (next_call or bool(app)):
        fail("say which call: its ID (`ivrd calls` lists them), or --next, or --app APP for that app's next one", 2)
    recording = Recording(app=app, lines=[])
    ladder = Ladder()
    if not call_id and sys.stderr.isatty():
        click.echo("ivrd: waiting for the next call; Ctrl-C ends it", err=True)
    with plain_errors():
        try:
            for answer in ask_all(config_path, wire.Trace(id=call_id, app=app), patience=None):
                _keep(answer, recording, late=bool(call_id))
                for line in ladder.lines(answer):
                    click.echo(line)
                if isinstance(answer, wire.TraceOver):
                    break
            else:
                raise IvrdError("the daemon went away; the call goes on with its worker: trace it again")
        except KeyboardInterrupt:
            click.echo()
        finally:
            if path is not None and recording.lines:
                save(path, recording)


def _keep(answer: wire.Answer, recording: Recording, *, late: bool) -> None:
    """Take an answer into a recording of a call that one looks at from its first line, or `late`."""
    match answer:
        case wire.Tracing():
            recording.app = answer.app
            recording.since = max(0.001, round(answer.age, 3)) if late else 0.0
            recording.args = tuple(arg.decode("utf-8", "replace") for arg in answer.args)
        case wire.TraceLines():
            recording.lines += [Line(line.at, line.kind, line.text) for line in answer.lines]
            recording.dropped = answer.dropped
        case wire.TraceOver():
            recording.result = answer.result
        case _:
            pass
