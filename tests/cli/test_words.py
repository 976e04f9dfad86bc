"""What comes from outside is shown as it came by every command that draws: no markup, no word lost, no cursor moved."""

from __future__ import annotations

import io
import json

import msgspec
from rich.console import Console, ConsoleDimensions, RenderableType

from ivrd.cli import bench, ladder
from ivrd.cli.detail import Detail
from ivrd.cli.picture import draw
from ivrd.cli.view import View
from ivrd.cli.words import app_state, cell, printable
from ivrd.wire.messages import WireLine
from tests.cli.answers import app, call, status, worker
from tests.service import Service

HOSTILE = "[/var/lib/x] [menu] [bold]b[/bold] :warning: \x1b[31m\a"
SHOWN = "[/var/lib/x] [menu] [bold]b[/bold] :warning: ?[31m?"
APPS = '[apps.good]\nhandler = "good:main"\nworkers = 1\n\n[apps.bad]\nhandler = "bad:main"\nworkers = 1\n'
FILES = {"good.py": "async def main(call):\n    pass\n", "bad.py": f"raise RuntimeError({HOSTILE!r})\n"}
WORKER = worker(state=HOSTILE)
APP = app(HOSTILE, backoff=3.0, failure=HOSTILE, workers=(WORKER,))
STATUS = status(APP, release=HOSTILE, calls={HOSTILE: 1}, results={HOSTILE: 2})
CALL = call(1, HOSTILE, id=HOSTILE, state=HOSTILE, transport=HOSTILE)
SIZE = ConsoleDimensions(600, 60)


def drawn(what: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=SIZE.width, height=SIZE.height).print(what)
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
    view = View(app=HOSTILE, find="[menu]")
    view.take([CALL], [HOSTILE])
    text = drawn(draw(view, STATUS, SIZE, problem=HOSTILE))
    # The release, the problem and the filter; an app's name and failure; a worker's app and state; a call's id, app
    # and state.
    assert text.count(SHOWN) == 10
    assert "with '[menu]'" in text
    assert "\x1b" not in text


def test_a_call_in_top() -> None:
    detail = Detail(CALL)
    detail.note(HOSTILE)
    text = drawn(detail.draw(SIZE))
    assert text.count(SHOWN) == 5  # its id, app, state and transport, and a line
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
