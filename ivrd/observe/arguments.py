"""What a log line shows of what the dialplan passed: nothing, a hash of each argument, or the arguments themselves.

The rule that holds here: arguments are callers' numbers and worse, so by default a log lets one find the calls of a
number that one knows, on the machine where they were, and read no number out of it.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

__all__ = ["Shown", "machine_id", "shown"]

Shown = Literal["none", "hash", "plain"]
_DIGITS = 12


def machine_id(path: str = "/etc/machine-id") -> bytes:
    """What this machine has and others do not, to be hashed along; empty where there is no such thing."""
    try:
        return Path(path).read_bytes().strip()
    except OSError:
        return b""


def shown(args: Sequence[bytes], how: Shown, salt: bytes) -> str | None:
    """Give the arguments as they may be shown, in their order.

    `hash` is the first twelve digits of `sha256sum` over salt and argument, so that a shell can make it too.

    Args:
        args: as they came.
        how: `[apps.NAME] log_args`.
        salt: from `machine_id`.

    Returns:
        One line, the arguments as a shell would quote them; None for nothing.
    """
    if how == "none" or not args:
        return None
    if how == "hash":
        return " ".join(hashlib.sha256(salt + arg).hexdigest()[:_DIGITS] for arg in args)
    return shlex.join(map(_printable, args))


def _printable(arg: bytes) -> str:
    text = arg.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
