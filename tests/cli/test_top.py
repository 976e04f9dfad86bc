"""`ivrd top`: what is on the screen for what the operator chose, and keys that choose it."""

from __future__ import annotations

import io

from rich.console import Console

from ivrd.cli.top import SORTS, View, draw
from ivrd.wire import control as wire
from tests.service import Service

WORKER = wire.WorkerRow(
    pid=77, state="ready", generation=1, calls=2, served=9, age=61, rss=33_000_000, lag=0.002, stuck=0, adopted=False
)


def app(name: str, **more: object) -> wire.AppStatus:
    fields = {"open": True, "generation": 1, "capacity": 4, "busy": 2, "waiting": 0, "backoff": 0.0, "failure": ""}
    return wire.AppStatus(name=name, workers=(WORKER,), **{**fields, **more})  # type: ignore[arg-type]  # as said


def row(number: int, app: str, age: float) -> wire.CallRow:
    return wire.CallRow(
        id=f"c-{number}", app=app, state="running", age=age, started=0, attempt=1, worker=77, args=0, transport="pipe"
    )


def screen(view: View, rows: list[wire.CallRow], height: int = 40, **status: object) -> str:
    fields = {"release": "0.1.0", "pid": 1, "uptime": 3700.0, "draining": False, "max_calls": 9, "results": {}}
    answer = wire.StatusAnswer(
        calls={"running": len(rows)},
        apps=(app("menu"), app("survey")),
        **{**fields, **status},  # type: ignore[arg-type]
    )
    out = io.StringIO()
    Console(file=out, width=100, height=height, color_system=None).print(draw(view, answer, rows, height))
    return out.getvalue()


def test_calls_workers_and_apps_are_shown() -> None:
    text = screen(View(), [row(1, "menu", 5), row(2, "survey", 70)])
    assert "up 1:01:40" in text
    assert all(word in text for word in ("menu", "survey", "77", "33 MB", "c-1", "c-2", "1:10", "2/4"))
    assert text.index("c-2") < text.index("c-1")  # the oldest first


def test_only_one_app_where_one_is_chosen() -> None:
    text = screen(View(app="menu"), [row(1, "menu", 5), row(2, "survey", 70)])
    assert "c-1" in text
    assert "c-2" not in text


def test_what_does_not_fit_is_counted() -> None:
    text = screen(View(), [row(number, "menu", number) for number in range(100)], height=30)
    shown = sum(f" c-{number} " in text for number in range(100))
    assert 0 < shown < 30
    assert f"and {100 - shown} more" in text
    assert len(text.splitlines()) <= 30


def test_a_daemon_that_drains_says_so() -> None:
    text = screen(View(), [], draining=True)
    assert "DRAINING" in text
    assert "no live calls" in text


def test_keys_choose() -> None:
    view = View(apps=["menu", "survey"])
    for expected in [*list(SORTS)[1:], "age"]:
        assert view.press("s")
        assert view.sort == expected
    for expected in ("menu", "survey", ""):
        view.press("a")
        assert view.app == expected
    view.press("w")
    view.press("p")
    assert (view.workers, view.paused) == (False, True)
    assert view.press("?")
    assert not view.press("q")


def test_an_app_that_is_gone_is_not_chosen_any_more() -> None:
    view = View(app="gone", apps=["menu"])
    view.press("a")
    assert view.app == ""


def test_it_says_that_it_needs_a_terminal() -> None:
    with Service('[apps.a]\nhandler = "a:main"\nworkers = 1', files={"a.py": "def main(call): pass\n"}) as service:
        done = service.ctl("top")
    assert done.returncode == 1
    assert "needs a terminal" in done.stderr
