"""Everything that ivrd raises on purpose: one tree, so that an app may catch `IvrdError` and a person reads what to do.

The rule that holds here: the class says *who* is to blame (the app, the configuration, Asterisk, a peer of ours), the
message says what is wrong, where, and what to do about it, in one line.
"""

from __future__ import annotations

__all__ = [
    "AppLoadError",
    "AsteriskProtocolError",
    "CallEnded",
    "ConfigError",
    "InvalidValue",
    "IvrdError",
    "NotAnswered",
    "PromptNotFound",
    "ServeError",
    "WireError",
]


class IvrdError(Exception):
    """The root of all errors that ivrd raises on purpose."""


class ConfigError(IvrdError):
    """The configuration cannot be used; the message names the file, the key and the mend."""


class AppLoadError(IvrdError):
    """An app's handler or lifespan cannot be imported, or is not something that can be called with a call."""


class ServeError(IvrdError):
    """The daemon cannot start here: a socket that is served already, a directory that is missing, a limit too low."""


class AsteriskProtocolError(IvrdError):
    """Asterisk (or what plays its part) sent something that `app_externalivr.c` never sends."""


class WireError(IvrdError):
    """A peer of ours (shim, worker, control client) sent what is malformed, too big or of an unknown version."""


class InvalidValue(IvrdError, ValueError):
    """An app asked for something that cannot be said to Asterisk safely; nothing was sent.

    Raised before a byte is written: commas and newlines in variable values, names that are dialplan functions, prompts
    with control characters, lines that would be cut at 1,023 bytes; and arguments that make no sense, such as a time
    limit that is a text.
    """


class CallEnded(IvrdError):
    """The call is over, so the command was not sent.

    In an `async def` handler the task is cancelled instead; this is for clean-up code that runs after it, and for plain
    `def` handlers, where every method of `SyncCall` raises it once the caller is gone.
    """


class PromptNotFound(IvrdError):
    """Asterisk has no sound file of that name in the channel's language (event `Z`).

    Attributes:
        prompt: the name as it was asked for.
    """

    def __init__(self, prompt: str) -> None:
        super().__init__(
            f"prompt {prompt!r} was not found by Asterisk: check the name (no extension) and the channel's language"
        )
        self.prompt = prompt


class NotAnswered(IvrdError):
    """The channel is not up (option `n` before `answer()`), so nothing can be played and no option set."""
