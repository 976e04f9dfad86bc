"""Texts of a call: what an app, a caller or a dialplan said, as it may be shown and written.

The rule that holds here: nothing that is secret is in them, and no byte of theirs moves the cursor or stops the rest.
"""

from __future__ import annotations

from ivrd.cli.words import printable
from ivrd.simulator.caller import SimulatedCall

__all__ = ["fit", "readable"]


def fit(call: SimulatedCall, text: str) -> str:
    """Give a text of a call's as it may be shown on a terminal: printable, without what is secret."""
    return printable(call.masked(text))


def readable(text: str) -> str:
    """Give the text with a mark for what stands for bytes that are no UTF-8 (`surrogateescape`): no file takes it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
