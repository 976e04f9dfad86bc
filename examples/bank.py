"""A bank's menu: the caller proves who they are with a secret PIN, hears the balance, or asks for an agent.

The dialplan passes who calls, since an app cannot ask Asterisk for that, and looks at BANK_RESULT afterwards:

    same => n,ExternalIVR(/usr/bin/ivrd-shim(bank,${UNIQUEID},${FILTER(0-9+*#,${CALLERID(num)})}))
    same => n,GotoIf($["${BANK_RESULT}" = "agent"]?agent)
"""

from __future__ import annotations

from dataclasses import dataclass

from ivrd import Call


@dataclass(frozen=True)
class Account:
    pin: str
    balance: int


# By caller number. A real app would ask a database here, with a client that can be awaited.
ACCOUNTS = {"100": Account(pin="8642", balance=20), "+15550100": Account(pin="1357", balance=-1250)}

MENU = ["to-listen-to-it", "vm-press", "digits/1", "vm-reachoper"]  # "To listen to it, press 1; press 0 to reach…"


async def main(call: Call) -> None:
    """One call. Whatever is set here is a channel variable once the dialplan goes on."""
    number = call.args[1] if len(call.args) > 1 else ""
    account = ACCOUNTS.get(number)
    if account is None or not await knows_pin(call, account):
        await call.set(BANK_RESULT="refused")
        await call.play("vm-goodbye")
        return

    choice = await call.menu(MENU, {"1": "balance", "0": "agent"}, invalid="pm-invalid-option")
    if choice == "balance":
        await call.queue("vm-youhave")  # plays while the number is looked for
        said = await call.say_number(account.balance, interrupt="#")
        await call.set(BANK_HEARD="all" if said.complete else "part")
        await call.play("vm-goodbye")
    await call.set(BANK_RESULT=choice or "nothing")


async def knows_pin(call: Call, account: Account, tries: int = 3) -> bool:
    """Ask for the PIN. `secret` keeps it out of every log, even where the caller mistyped it."""
    prompt = "agent-pass"
    for _ in range(tries):
        if await call.digits(prompt, max=4, timeout=10, digit_timeout=5, secret=True) == account.pin:
            await call.play("auth-thankyou", interrupt=True)
            return True
        prompt = "auth-incorrect"
    return False
