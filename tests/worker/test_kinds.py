"""What may be a handler: each kind is run as what it is, or refused; none is called and then not run."""

from __future__ import annotations

from typing import Literal

import pytest

from ivrd.wire.messages import Failed

from .harness import open_daemon

Backend = Literal["asyncio", "trio"]
both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@both
@pytest.mark.parametrize(
    "handler",
    [
        "main", "plain", "wrapped", "wrapped_plain", "partial", "partial_of_wrapped", "wrapped_partial",
        "menu", "method", "partial_of_object",
    ],
)  # fmt: skip
async def test_what_can_be_told_is_run(backend: Backend, handler: str) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch(f"kinds:{handler}", backend=backend)
        call_id, call = await daemon.start(worker)
        ended = await daemon.ended(worker, call_id)
        assert (ended.result, call.variables) == ("completed", {"RAN": "yes", "IVRD_STATUS": "OK"}), daemon.log_text()


@both
@pytest.mark.parametrize(
    ("handler", "says"),
    [
        ("hidden", "gave back a coroutine, nothing of which was run: make it an `async def`, or let its decorator"),
        ("hidden_generator", "gave back a generator, nothing of which was run: a handler has no `yield`"),
        ("hidden_async_generator", "gave back an async_generator, nothing of which was run: a handler has no `yield`"),
        ("forgetful", "handler main wraps an `async def` and gave back a NoneType, not what is to be awaited: return"),
    ],
)
async def test_what_cannot_be_told_and_is_not_run_is_an_error_of_the_app(
    backend: Backend, handler: str, says: str
) -> None:
    async with open_daemon() as daemon:
        worker = await daemon.launch(f"kinds:{handler}", backend=backend)
        call_id, call = await daemon.start(worker)
        ended = await daemon.ended(worker, call_id)
        assert ended.result == "app_error"
        assert says in ended.detail
        assert call.variables == {"IVRD_STATUS": "ERROR"}
        assert [line["event"] for line in daemon.logged()] == ["call.app_error"]
        assert "never awaited" not in daemon.log_text()


@pytest.mark.parametrize("handler", ["generator", "async_generator", "partial_generator"])
async def test_what_never_runs_is_refused(handler: str) -> None:
    async with open_daemon() as daemon:
        daemon.spawn(f"kinds:{handler}")
        worker, _ = await daemon.accept()
        assert f"handler 'kinds:{handler}' has a `yield`" in (await worker.next(Failed)).error
