"""`ivrd trace`: what goes over the wire of one live call, as a ladder that a person can read, or into a file.

The rule that holds here: the daemon tells only what is fit to be seen; what it left out, because somebody was too slow,
is said. A file is readable by its owner only and can be played again with `ivrd dial --replay`.
"""

from __future__ import annotations

import click

from ivrd.cli.client import ask_all
from ivrd.cli.options import config_option, fail, plain_errors
from ivrd.cli.words import printable
from ivrd.errors import IvrdError
from ivrd.phone.recording import Line, Recording, save
from ivrd.wire import control as wire
from ivrd.wire.messages import WireLine

__all__ = ["trace"]

_MEANINGS = {
    "event": {
        "F": "played to its end", "T": "was stopped", "D": "was dropped", "Z": "could not be done", "P": "parameters",
        "G": "variable", "I": "news", "H": "hung up", "E": "left to the dialplan",
    },
    "command": {
        "A": "play", "S": "play at once", "I": "stop playing", "O": "option", "T": "answer", "D": "send keys",
        "V": "set", "G": "get", "P": "get parameters", "L": "log", "E": "leave to the dialplan", "H": "hang up",
    },
}  # fmt: skip


@click.command()
@config_option
@click.argument("call_id", metavar="ID", default="")
@click.option("--next", "next_call", is_flag=True, help="The next call that comes, from its first line.")
@click.option("--app", default="", help="The next call of this app.")
@click.option("--save", "path", metavar="FILE", help="Write it to a file as well, for `ivrd dial --replay`.")
def trace(config_path: str, call_id: str, next_call: bool, app: str, path: str | None) -> None:
    """Show what goes over the wire of call ID, or of the next call, until it ends or Ctrl-C."""
    if bool(call_id) == (next_call or bool(app)):
        fail("say which call: its ID (`ivrd calls` lists them), or --next, or --app APP for that app's next one", 2)
    recording = Recording(app=app, lines=[])
    with plain_errors():
        try:
            for answer in ask_all(config_path, wire.Trace(id=call_id, app=app), patience=None):
                _take(answer, recording)
                if isinstance(answer, wire.TraceOver):
                    break
            else:
                raise IvrdError("the daemon went away; the call goes on with its worker: trace it again")
        except KeyboardInterrupt:
            click.echo()
        finally:
            if path is not None and recording.lines:
                save(path, recording)


def _take(answer: wire.Answer, recording: Recording) -> None:
    match answer:
        case wire.Tracing():
            recording.app = answer.app
            recording.args = tuple(arg.decode("utf-8", "replace") for arg in answer.args)
            since = f", {answer.age:.1f} s old" if answer.age >= 0.1 else ""
            click.echo(f"call {answer.id} of {answer.app}{since}")
        case wire.TraceLines():
            for line in answer.lines:
                recording.lines.append(Line(line.at, line.kind, line.text))
                click.echo(_rung(line))
            if answer.dropped:
                click.echo(f"{'':10}  {answer.dropped} lines were left out so far: they came too fast", err=True)
        case wire.TraceOver():
            recording.result = answer.result
            click.echo(f"{'':10}  over: {answer.result}{f' ({printable(answer.detail)})' if answer.detail else ''}")
        case _:
            raise IvrdError("the daemon answered something else: is it of another release?")


def _rung(line: WireLine) -> str:
    """One line of the ladder: Asterisk on the left, the app on the right."""
    letter, comma, _ = line.text.partition(",")
    event = line.kind == "event"
    meaning = "key" if event and not comma and letter not in ("H", "E", "Z") else _MEANINGS[line.kind].get(letter, "")
    arrow = "Asterisk ──▶ app" if event else "Asterisk ◀── app"
    return f"{line.at:10.3f}  {arrow}  {printable(line.text):<40}  {meaning}".rstrip()
