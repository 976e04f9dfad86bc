"""ivrd: a daemon of warm workers for Asterisk's ExternalIVR.

This package exports the names an app's author needs, and nothing else: all below it is the daemon's own business. They
are imported when they are first used, so that the daemon and the command line do not pay for what only workers need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ivrd.eivr import (
        Dropped,
        Event,
        Failed,
        Finished,
        Hungup,
        Inform,
        Interrupted,
        Key,
        Left,
        Params,
        Variables,
    )
    from ivrd.errors import CallEnded, InvalidValue, IvrdError, NotAnswered, PromptNotFound
    from ivrd.worker.call import Call
    from ivrd.worker.events import Events
    from ivrd.worker.playback import Played
    from ivrd.worker.sync import SyncCall, SyncEvents

__all__ = [
    "Call",
    "CallEnded",
    "Dropped",
    "Event",
    "Events",
    "Failed",
    "Finished",
    "Hungup",
    "Inform",
    "Interrupted",
    "InvalidValue",
    "IvrdError",
    "Key",
    "Left",
    "NotAnswered",
    "Params",
    "Played",
    "PromptNotFound",
    "SyncCall",
    "SyncEvents",
    "Variables",
    "__version__",
]

__version__ = "0.1.0"

_HOMES = {
    "ivrd.eivr": (
        "Dropped",
        "Event",
        "Failed",
        "Finished",
        "Hungup",
        "Inform",
        "Interrupted",
        "Key",
        "Left",
        "Params",
        "Variables",
    ),
    "ivrd.errors": ("CallEnded", "InvalidValue", "IvrdError", "NotAnswered", "PromptNotFound"),
    "ivrd.worker.call": ("Call",),
    "ivrd.worker.events": ("Events",),
    "ivrd.worker.playback": ("Played",),
    "ivrd.worker.sync": ("SyncCall", "SyncEvents"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
