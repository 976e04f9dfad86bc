"""A call-back: the caller leaves a number, which a library that blocks stores for those who will call.

The handler is a plain `def`, so each call runs on a thread of its own and may block: here for sqlite3, elsewhere for a
CRM's client. Its methods are those of `Call` without `await`; once the caller has hung up each of them raises
`CallEnded`, which ends the handler, as it should.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from ivrd import SyncCall

DATABASE = os.environ.get("CALLBACK_DATABASE", "callbacks.sqlite3")


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """Around each worker's life: it takes calls once this has come to its `yield`."""
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS callbacks (call TEXT PRIMARY KEY, number TEXT, asked TEXT)")
    yield


def main(call: SyncCall) -> None:
    caller = call.args[1] if len(call.args) > 1 else ""
    number = ask_number(call, caller)
    if not number:
        call.set(CALLBACK_RESULT="none")
        call.play("vm-goodbye")
        return
    store(call, number)
    call.set(CALLBACK_RESULT="stored", CALLBACK_NUMBER=number)
    call.play("num-was-successfully", "added")


def ask_number(call: SyncCall, caller: str) -> str:
    """The number to call: the caller's own after a 1, or another."""
    if caller:
        call.say_digits(caller.lstrip("+"), interrupt=True)
        choice = call.menu(["if-correct-press", "digits/1", "vm-calldiffnum"], "12", retries=1)
        if choice != "2":
            return caller if choice else ""
    return call.digits(["vm-enter-num-to-call", "vm-then-pound"], max=15, timeout=10)


def store(call: SyncCall, number: str) -> None:
    """Blocking, which is fine here: nobody but this caller waits for it."""
    with closing(sqlite3.connect(DATABASE, timeout=10)) as database, database:
        database.execute("INSERT INTO callbacks VALUES (?, ?, ?)", (call.id, number, call.started.isoformat()))
