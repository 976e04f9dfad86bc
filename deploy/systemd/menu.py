"""A first app, to be changed: asks for a number, says it back, and leaves it to the dialplan as `MENU_CHOICE`."""

from ivrd import Call


async def main(call: Call) -> None:
    """Run one call."""
    digits = await call.digits("pls-entr-num-uwish2-call", max=8, timeout=5)
    if digits:
        await call.say_digits(digits)
    await call.set(MENU_CHOICE=digits)
