"""How `ivrd dial` tells a call that is over: as lines for a person, as JSON for a script.

The rule that holds here: every text of the call's comes masked and through `texts` on its way out. Digits that
are secret, or of which nobody knows whether they are, are nowhere in it.
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ivrd.cli.dialling import Order, Served
from ivrd.cli.texts import fit, readable
from ivrd.cli.words import printable
from ivrd.phone.audio import write_wav
from ivrd.phone.recording import Recording, save
from ivrd.phone.replay import differences
from ivrd.simulator.sounds import DirectorySounds

__all__ = ["After"]


class After:
    """What is done with a call that is over: it is recorded, told, and made a sound of.

    Args:
        app: what was dialled.
        order: how.
        as_json: tell it for scripts.
        then: the recording whose caller it had.
        save: where to record it.
        audio: where to write what was heard.
    """

    def __init__(
        self,
        app: str,
        order: Order,
        *,
        as_json: bool,
        then: Recording | None,
        save: str | None,
        audio: str | None,
    ) -> None:
        self._app = app
        self._order = order
        self._as_json = as_json
        self._then = then
        self._save = save
        self._audio = audio

    def tell(self, served: Served) -> int:
        """Do it.

        Returns:
            The exit status: whether the call went as its script and the app meant it to, and as the recorded one did.

        Raises:
            IvrdError: a file cannot be written.
        """
        call, order, then = served.call, self._order, self._then
        now = Recording(
            app=readable(self._app),
            args=tuple(map(readable, order.args)),
            options=order.options,
            lines=served.wire.lines(),
            result=served.result,
            dropped=served.wire.dropped,
            keys_hidden=call.hides_keys,
        )
        changes = differences(then, now, [key for _, key in call.keys]) if then else []
        if self._as_json:
            click.echo(_as_json(served, now, changes))
        else:
            _tell(served, changes if then else None)
        if self._save:
            save(self._save, now)
        if self._audio:
            assert isinstance(order.sounds, DirectorySounds)
            for prompt in dict.fromkeys(fit(call, each) for each in write_wav(self._audio, call.heard, order.sounds)):
                click.echo(
                    f"ivrd: {prompt} is silence in {self._audio}: of .wav, .ulaw, .alaw and .slin it has none of 8 kHz",
                    err=True,
                )
        return int(not served.went_well or bool(changes))


def _tell(served: Served, changes: list[str] | None) -> None:
    call = served.call
    for when, what in call.happenings():
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


def _as_json(served: Served, now: Recording, changes: list[str]) -> str:
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
