"""What a daemon may say of itself, for tests of what is drawn: ordinary rows, and any at all."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ivrd.wire import control as wire

__all__ = ["any_app", "any_rows", "any_status", "app", "call", "status", "worker"]


def worker(**more: Any) -> wire.WorkerRow:
    """A worker that is well."""
    fields = {"pid": 77, "state": "ready", "generation": 1, "calls": 2, "served": 9, "age": 61, "rss": 33_000_000}
    return wire.WorkerRow(**{**fields, "lag": 0.002, "stuck": 0, "adopted": False, **more})


def app(name: str, **more: Any) -> wire.AppStatus:
    """An app that is well, with a worker."""
    fields = {"open": True, "generation": 1, "capacity": 4, "busy": 2, "waiting": 0, "backoff": 0.0, "failure": ""}
    return wire.AppStatus(name=name, **{**fields, "workers": (worker(),), **more})


def call(number: int, app: str = "menu", age: float = 5.0, **more: Any) -> wire.CallRow:
    """A call, with the id c-NUMBER."""
    fields = {"state": "running", "started": 1.7e9, "attempt": 1, "worker": 77, "args": 0, "transport": "pipe"}
    return wire.CallRow(**{"id": f"c-{number}", "app": app, "age": age, **fields, **more})


def status(*apps: wire.AppStatus, **more: Any) -> wire.StatusAnswer:
    """A daemon that is well."""
    fields = {"release": "0.1.0", "pid": 1, "uptime": 3700.0, "draining": False, "max_calls": 9, "results": {}}
    return wire.StatusAnswer(**{"calls": {}, "apps": apps, **fields, **more})


words = st.text(max_size=60)
counts = st.integers(0, 9_999)
times = st.floats(0, 1e7)
any_worker = st.builds(
    wire.WorkerRow, pid=counts, state=words, generation=counts, calls=counts, served=counts, age=times, rss=counts,
    lag=times, stuck=counts, adopted=st.booleans(),
)  # fmt: skip
any_app = st.builds(
    wire.AppStatus, name=words, open=st.booleans(), generation=counts, capacity=counts, busy=counts, waiting=counts,
    backoff=st.just(0.0) | times, failure=words, workers=st.lists(any_worker, max_size=8).map(tuple),
)  # fmt: skip
any_status = st.builds(
    wire.StatusAnswer, release=words, pid=counts, uptime=times, draining=st.booleans(), max_calls=counts,
    calls=st.dictionaries(words, counts, max_size=3), results=st.just({}),
    apps=st.lists(any_app, max_size=12).map(tuple),
)  # fmt: skip
any_call = st.builds(
    wire.CallRow, id=words, app=words, state=words, age=times, started=st.floats(0, 4e9), attempt=counts,
    worker=counts, args=counts, transport=words,
)  # fmt: skip
# Many calls cost a test much and differ in nothing but their number.
any_rows = st.lists(any_call, max_size=12).flatmap(lambda rows: st.sampled_from([rows, rows * 20]))
