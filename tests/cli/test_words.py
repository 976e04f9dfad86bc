"""What comes from outside is shown as it came by every command that draws: no markup, no word lost, no cursor moved."""

from __future__ import annotations

import io
import json

import msgspec
from rich.console import Console, RenderableType

from ivrd.cli import bench, ladder
from ivrd.cli.top import View, draw
from ivrd.cli.words import app_state, cell, printable
from ivrd.wire import control as wire
from ivrd.wire.messages import WireLine
from tests.service import Service

HOSTILE = "[/var/lib/x] [menu] [bold]b[/bold] :warning: \x1b[31m\a"
SHOWN = "[/var/lib/x] [menu] [bold]b[/bold] :warning: ?[31m?"
APPS = '[apps.good]\nhandler = "good:main"\nworkers = 1\n\n[apps.bad]\nhandler = "bad:main"\nworkers = 1\n'
FILES = {"good.py": "async def main(call):\n    pass\n", "bad.py": f"raise RuntimeError({HOSTILE!r})\n"}
WORKER = wire.WorkerRow(
    pid=77, state=HOSTILE, generation=1, calls=2, served=9, age=61, rss=0, lag=0.0, stuck=0, adopted=False
)
APP = wire.AppStatus(
    name=HOSTILE, open=True, generation=1, capacity=4, busy=2, waiting=0, backoff=3.0, failure=HOSTILE,
    workers=(WORKER,),
)  # fmt: skip
STATUS = wire.StatusAnswer(
    release=HOSTILE, pid=1, uptime=0.0, draining=False, max_calls=9, calls={HOSTILE: 1}, results={HOSTILE: 2},
    apps=(APP,),
)  # fmt: skip
CALL = wire.CallRow(
    id=HOSTILE, app=HOSTILE, state=HOSTILE, age=1, started=0, attempt=1, worker=77, args=0, transport="pipe"
)


def drawn(what: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=600, height=60).print(what)
    return out.getvalue()


def test_a_cell() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("línea · 電話 \udcff\n") == "línea · 電話 ??"
    assert SHOWN in drawn(cell(HOSTILE))


def test_an_app_that_fails_is_not_called_well_while_it_tries_again() -> None:
    assert app_state(msgspec.structs.replace(APP, failure="no luck")).plain == "backs off 3 s: no luck"
    assert app_state(msgspec.structs.replace(APP, failure="no luck", backoff=0.0)).plain == "tries again: no luck"
    assert app_state(msgspec.structs.replace(APP, failure="", backoff=0.0)).plain == "well"


def test_top() -> None:
    text = drawn(draw(View(), STATUS, [CALL], 60))
    # The release; an app's name and failure; a worker's app and state; a call's id, app and state.
    assert text.count(SHOWN) == 8
    assert "\x1b" not in text


def test_the_ladder() -> None:
    assert SHOWN in ladder._rung(WireLine(1.0, "command", f"V,NAME={HOSTILE}"))


def test_the_bench() -> None:
    assert drawn(bench._counts({HOSTILE: 3})).strip() == f"3 {SHOWN}"


def test_the_commands_themselves() -> None:
    with Service(APPS, files=FILES) as ivrd:
        ivrd.env["COLUMNS"] = "300"
        done = ivrd.ctl("status")
        assert json.loads(ivrd.ctl("status", "--json").stdout)["apps"][1]["failure"].count(HOSTILE) == 1
    assert (done.returncode, done.stderr) == (0, "")
    assert f"RuntimeError: {SHOWN}" in done.stdout
