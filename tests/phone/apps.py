"""Apps for the tests of the plugin."""

from __future__ import annotations

import anyio

from ivrd import Call, SyncCall


async def menu(call: Call) -> None:
    choice = await call.menu("welcome", {"1": "paid", "2": "slow"})
    if choice == "slow":
        await anyio.sleep(3600)
    await call.set(RESULT=choice or "none")
    await call.play("goodbye")


def plain_menu(call: SyncCall) -> None:
    choice = call.menu("welcome", {"1": "paid", "2": "slow"})
    call.set(RESULT=choice or "none")
    call.play("goodbye")
