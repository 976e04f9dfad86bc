"""Secret digits in real workers: whatever an app lets pass, and whoever tells of it, they are in no line of any log."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from ivrd.wire.messages import Ended, Traced
from ivrd.worker.secrets import Secrets

from .harness import open_daemon

Backend = Literal["asyncio", "trio"]
both = pytest.mark.parametrize("backend", ["asyncio", "trio"])
PIN = "8642"


async def told(handler: str, *keys: str, **settings: Any) -> tuple[Ended, list[dict[str, Any]], str]:
    """Run a traced call in which the keys are pressed; give its end, the log's lines, and all that was said of it."""
    async with open_daemon() as daemon:
        worker = await daemon.launch(f"leaks:{handler}", **settings)
        call_id, call = await daemon.start(worker, traced=True)
        call.press("".join(keys) or PIN)
        ended = await daemon.ended(worker, call_id)
        trace = [line.text for message in worker.messages if isinstance(message, Traced) for line in message.lines]
        asterisk = [line.text for line in call.log]
        return ended, daemon.logged(), "\n".join([daemon.log_text(), ended.detail, *trace, *asterisk])


@both
@pytest.mark.parametrize(
    ("handler", "events"),
    [
        ("raises", ["call.app_error"]),
        ("task_group", ["call.app_error"]),
        ("leaves", []),
        ("thread", ["thread.failed"]),
    ],
)
async def test_what_a_handler_lets_pass(backend: Backend, handler: str, events: list[str]) -> None:
    _, lines, said = await told(handler, backend=backend)
    assert [line["event"] for line in lines] == events
    assert "bad pin ****" in said
    assert PIN not in said


@pytest.mark.parametrize(
    ("handler", "event", "has_call", "message"),
    [
        ("task", "task.failed", True, "Task exception was never retrieved"),
        ("callback", "task.failed", True, "Exception in callback fail('****')"),
        ("exits", "task.exited", False, "None"),
        ("lifespans_task", "task.failed", False, "Task exception was never retrieved"),
    ],
)
async def test_what_tasks_of_asyncio_let_pass(handler: str, event: str, has_call: bool, message: str) -> None:
    settings = {"lifespan": "leaks:lifespan"} if handler == "lifespans_task" else {}
    ended, (line,), said = await told(handler, **settings)
    assert line["event"] == event
    assert line.get("call") == (ended.id if has_call else None)
    assert "bad pin ****" in line["error"]
    assert str(line.get("message")).startswith(message)
    assert PIN not in said


async def test_two_digits_are_covered_where_it_is_known_whose_they_are() -> None:
    _, (line,), said = await told("short_secret", "97", PIN)
    assert line["error"] == "ValueError: bad pin ****, ****"
    assert PIN not in said


async def test_what_a_finalizer_lets_pass_is_told_in_pythons_words_without_the_secret() -> None:
    _, lines, said = await told("finalizer")
    assert lines == []
    assert "Exception ignored in: <function Finalized.__del__" in said
    assert "ValueError: bad pin ****" in said
    assert PIN not in said


async def test_a_call_is_found_by_its_id_whatever_is_secret() -> None:
    async with open_daemon() as daemon:
        daemon.called = int(PIN) - 1
        worker = await daemon.launch("leaks:raises")
        call_id, call = await daemon.start(worker)
        call.press(PIN)
        await daemon.ended(worker, call_id)
        (line,) = daemon.logged()
    assert (line["call"], line["error"]) == (f"call{PIN}", "ValueError: bad pin ****")


def test_of_what_belongs_to_no_call_only_what_gives_something_away_is_covered() -> None:
    secrets = Secrets()
    for digits in ("7", "12", "345", "4711"):
        secrets.keep(digits)
    assert secrets.masked_elsewhere("line 12: 345 or 4711, digits/7") == "line 12: **** or ****, digits/7"
