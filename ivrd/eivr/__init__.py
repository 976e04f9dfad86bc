"""The ExternalIVR protocol, sans-IO: bytes in, events out; commands in, bytes out.

The rule that holds in this package: no clock, no socket, no state but that of one call's two streams. Facts about
Asterisk are from `app_externalivr.c`, `iostream.c` and `pbx_variables.c` and hold for Asterisk 16 to 22.
"""

from ivrd.eivr.commands import (
    MAX_LINE,
    MIN_LINE,
    answer,
    append,
    autoclear,
    check_line,
    command_tag,
    exit,  # noqa: A004 - the command's name; use it as `eivr.exit`
    get_params,
    get_variables,
    hangup,
    interrupt,
    log,
    play_now,
    send_dtmf,
    set_function,
    set_variables,
)
from ivrd.eivr.connection import Connection
from ivrd.eivr.events import (
    REPLY_LIMIT,
    TAGS,
    Cause,
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
    parse,
    tag,
)
from ivrd.eivr.lines import LINE_LIMIT, LineSplitter

__all__ = [
    "LINE_LIMIT",
    "MAX_LINE",
    "MIN_LINE",
    "REPLY_LIMIT",
    "TAGS",
    "Cause",
    "Connection",
    "Dropped",
    "Event",
    "Failed",
    "Finished",
    "Hungup",
    "Inform",
    "Interrupted",
    "Key",
    "Left",
    "LineSplitter",
    "Params",
    "Variables",
    "answer",
    "append",
    "autoclear",
    "check_line",
    "command_tag",
    "exit",
    "get_params",
    "get_variables",
    "hangup",
    "interrupt",
    "log",
    "parse",
    "play_now",
    "send_dtmf",
    "set_function",
    "set_variables",
    "tag",
]
