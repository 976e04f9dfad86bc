"""A reception: leave a message or be put through, by leaving to the dialplan and coming back.

ExternalIVR() can neither record nor dial; the dialplan can. So this app says what it wants in RECEPTION_NEXT and
returns, the dialplan does it, says in RECEPTION_DONE how that went, and calls the app again. Each time is a call of its
own to ivrd (`call.id` differs), on whichever worker has room; what must last goes into channel variables or a database.
See [ivr-reception] in deploy/asterisk/extensions.conf.
"""

from __future__ import annotations

from ivrd import Call

MENU = ["vm-leavemsg", "vm-reachoper"]  # "Press 5 to leave a message; press 0 to reach an operator"
NEXT = {"5": "record", "0": "dial", "#": "leave"}

OUTCOMES = {
    "recorded": "vm-msgsaved",
    "BUSY": "vm-isonphone",
    "NOANSWER": "vm-nobodyavail",
    "CHANUNAVAIL": "vm-nobodyavail",
    "CONGESTION": "vm-nobodyavail",
}


async def main(call: Call) -> None:
    done = await call.get("RECEPTION_DONE")
    if done in OUTCOMES:
        await call.play(OUTCOMES[done], interrupt=True)
    choice = await call.menu(MENU, NEXT, invalid="pm-invalid-option")
    if choice is None:
        await call.play("vm-goodbye")
    await call.set(RECEPTION_NEXT=choice or "leave")
