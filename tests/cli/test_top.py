"""`ivrd top`: what is on the screen for what the operator chose, on any terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, RenderableType

from ivrd.cli.detail import Detail
from ivrd.cli.picture import draw
from ivrd.cli.view import SORTS, View
from ivrd.wire import control as wire
from tests.cli.answers import any_rows, any_status, app, call, status, worker
from tests.service import Service


def drawn(picture: RenderableType, size: ConsoleDimensions) -> list[str]:
    """The lines of a picture on a terminal of that size."""
    out = io.StringIO()
    Console(file=out, width=size.width, height=size.height, color_system=None).print(picture)
    assert out.getvalue().endswith("\n")
    return out.getvalue()[:-1].split("\n")


def screen(
    view: View, rows: list[wire.CallRow], height: int = 40, width: int = 100, problem: str = "", **more: Any
) -> str:
    answer = status(*more.pop("apps", (app("menu"), app("survey"))), **{"calls": {"running": len(rows)}, **more})
    view.take(rows, [app.name for app in answer.apps])
    size = ConsoleDimensions(width, height)
    return "\n".join(drawn(draw(view, answer, size, problem), size))


def test_calls_workers_and_apps_are_shown() -> None:
    text = screen(View(), [call(1, "menu", 5), call(2, "survey", 70)])
    assert "up 1:01:40" in text
    assert all(word in text for word in ("menu", "survey", "77", "33 MB", "c-1", "c-2", "1:10", "2/4"))
    assert text.index("c-2") < text.index("c-1")  # the oldest first


def test_only_one_app_where_one_is_chosen() -> None:
    text = screen(View(app="menu"), [call(1, "menu", 5), call(2, "survey", 70)])
    assert "c-1" in text
    assert "1 shown: app menu" in text
    assert "c-2" not in text
    assert "survey" not in text


def test_what_does_not_fit_is_counted() -> None:
    text = screen(View(), [call(number) for number in range(100)], height=30)
    shown = text.count("c-")
    assert 0 < shown < 30
    assert f"… and {100 - shown} more" in text


def test_on_a_small_terminal_each_table_has_its_share() -> None:
    apps = [app(name, workers=(worker(),) * 4) for name in ("menu", "survey")]
    text = screen(View(), [call(number) for number in range(50)], height=24, apps=apps)
    assert text.count("33 MB") == 8
    assert "… and 42 more" in text
    text = screen(View(), [call(number) for number in range(50)], height=12, apps=apps)
    assert [line for line in text.splitlines() if "more" in line] == ["… and 7 more", "… and 48 more"]
    text = screen(View(), [call(number) for number in range(50)], height=8, apps=apps)
    assert "pid " not in text.splitlines()[4]  # the workers have gone first
    assert "… and 49 more" in text


def test_columns_that_do_not_fit_are_left_out_whole() -> None:
    text = screen(View(), [call(1)], width=40)
    assert "c-1" in text
    assert not any(word in text for word in ("attempt", "stuck", "█"))
    assert text.count("…") == 2  # where the first and the last line go on


def test_more_calls_than_places_do_not_make_the_bar_longer() -> None:
    assert screen(View(), [], apps=[app("menu", busy=9, capacity=4)]).count("█") == 20
    assert screen(View(), [], apps=[app("menu", busy=9, capacity=0)]).count("█") == 20
    assert screen(View(), [], apps=[app("menu", busy=0, capacity=0)]).count("█") == 0


def test_a_daemon_that_drains_or_does_not_answer_says_so() -> None:
    text = screen(View(), [], draining=True, problem="no daemon listens")
    assert "DRAINING" in text
    assert "no daemon listens" in text
    assert "no live calls" in text


def test_the_cursor_is_always_on_the_screen() -> None:
    rows = [call(number, age=1000 - number) for number in range(100)]
    view = View()
    for line in range(100):
        assert f"c-{line} " in screen(view, rows, height=12)
        view.press("down")
    assert "of them above" in screen(view, rows, height=12)


sizes = st.builds(ConsoleDimensions, st.integers(40, 250), st.integers(8, 80))
views = st.builds(
    View, sort=st.sampled_from(list(SORTS)), reverse=st.booleans(), workers=st.booleans(), paused=st.booleans(),
    typing=st.booleans(), find=st.sampled_from(["", "", "e", "[x]"]), line=st.just(0),
)  # fmt: skip
pressed = st.lists(st.sampled_from(["up", "down", "page down", "end", "s", "r", "a", "w", "escape"]), max_size=5)


@settings(max_examples=200)
@given(any_status, any_rows, views, pressed, sizes, st.sampled_from(["", "no [daemon] listens"]))
def test_any_picture_fits_any_terminal(
    answer: wire.StatusAnswer,
    rows: list[wire.CallRow],
    view: View,
    keys: list[str],
    size: ConsoleDimensions,
    problem: str,
) -> None:
    view.take(rows, [app.name for app in answer.apps])
    for key in keys:
        view.press(key)
    lines = drawn(draw(view, answer, size, problem), size)
    assert len(lines) == size.height
    assert max(map(cell_len, lines)) <= size.width
    assert lines[0].startswith("ivrd")
    assert lines[-1].startswith("find: " if view.typing else "q quit")


@given(any_rows, st.lists(st.text(), max_size=90), sizes)
def test_any_call_fits_any_terminal(rows: list[wire.CallRow], told: list[str], size: ConsoleDimensions) -> None:
    for row in rows[:1]:
        detail = Detail(row)
        for text in told:
            detail.note(text)
        lines = drawn(detail.draw(size), size)
        assert len(lines) == size.height
        assert max(map(cell_len, lines)) <= size.width
        assert lines[0].startswith("call ")
        assert lines[-1].startswith("esc back")


@pytest.mark.parametrize("height", range(8))
def test_less_than_that_is_no_error(height: int) -> None:
    size = ConsoleDimensions(20, height)
    view = View()
    view.take([call(number) for number in range(9)], ["menu"])
    assert len(drawn(draw(view, status(app("menu")), size), size)) == max(2, height)
    assert len(drawn(Detail(call(1)).draw(size), size)) == max(3, height)


def test_it_says_that_it_needs_a_terminal() -> None:
    with Service('[apps.a]\nhandler = "a:main"\nworkers = 1', files={"a.py": "def main(call): pass\n"}) as service:
        done = service.ctl("top")
    assert done.returncode == 1
    assert "needs a terminal" in done.stderr
