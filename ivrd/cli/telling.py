"""How `ivrd dial` tells a call that is over: as lines for a person, as JSON for a script.

The rule that holds here: every text of the call's comes masked and through `texts` on its way out. Digits that
are secret, or of which nobody knows whether they are, are nowhere in it.
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ivrd.cli.dialling import Served
from ivrd.cli.texts import fit, readable
from ivrd.cli.words import printable
from ivrd.phone.recording import Recording

__all__ = ["tell", "tell_json"]


def tell(served: Served, changes: list[str] | None) -> None:
    """Print a call for a person.

    Args:
        served: the call.
        changes: where the app now differs from a recording; None when there is none.
    """
    call = served.call
    for when, what in call.happenings(strict=True):
        click.echo(f"{when:8.2f}  {printable(what)}")
    for name, value in call.variables.items():
        click.echo(f"{'':8}  {fit(call, name)} = {fit(call, value)}")
    if served.result:
        click.echo(f"{'':8}  result: {served.result}")
    for text in [*served.errors, *([served.problem] if served.problem else [])]:
        click.echo("ivrd: " + "\n".join(map(printable, text.rstrip().splitlines())), err=True)
    if changes:
        click.echo("the app behaves differently:")
        for line in changes:
            click.echo(f"  {printable(line)}")
    elif changes is not None:
        as_it_did = "the app behaves as it did"
        click.echo(f"{as_it_did}, but the recorded caller could not go on" if served.problem else as_it_did)


def tell_json(served: Served, now: Recording, changes: list[str]) -> str:
    """Give a call as JSON.

    Args:
        served: the call.
        now: its recording.
        changes: where the app now differs from another recording.
    """
    call = served.call
    ending = call.channel.ended

    def shown(text: str) -> str:
        return readable(call.masked(text))

    told: dict[str, Any] = {
        "app": readable(now.app),
        "args": [readable(arg) for arg in now.args],
        "outcome": ending.outcome if ending else None,
        "detail": shown(ending.detail) if ending else "",
        "duration": round(ending.time, 3) if ending else None,
        "result": served.result,
        "problem": served.problem,
        "errors": [readable(text) for text in served.errors],
        "heard": [
            {
                "prompt": shown(one.prompt),
                "start": round(one.start, 3),
                "end": one.end and round(one.end, 3),
                "how": one.how,
            }
            for one in call.heard
        ],
        "pressed": [
            {"at": round(at, 3), "key": key if call.key_fate(number) == "public" else None}
            for number, (at, key) in enumerate(call.keys)
        ],
        "variables": {shown(name): shown(value) for name, value in call.variables.items()},
        "function_writes": [[shown(name), shown(value)] for name, value in call.channel.function_writes],
        "log": [{"at": round(one.time, 3), "level": one.level, "text": shown(one.text)} for one in call.log],
        "differences": changes,
        "wire": now.lines,
    }
    return msgspec.json.format(msgspec.json.encode(told)).decode()
