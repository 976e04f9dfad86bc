"""The manual page ivrd(1), made from the command line itself.

The rule that holds here: commands, options and their help come from click; only what stands around them is written
here.
"""

from __future__ import annotations

import click

from docs.roff import roff
from ivrd.cli import main

_HEAD = r"""
.\" Made by python -m docs.generate from ivrd/cli: do not edit.
.TH IVRD 1 "" ivrd "User commands"
.SH NAME
ivrd \- warm workers for Asterisk's ExternalIVR
.SH SYNOPSIS
.B ivrd
.I COMMAND
.RI [ OPTION ...]
.RI [ ARGUMENT ...]
.SH DESCRIPTION
Asterisk's
.B ExternalIVR()
starts
.BR ivrd\-shim (1)
for each call. It hands the call to the daemon,
.BR "ivrd serve" ,
which gives it to a long\-lived worker process; there runs the app, a function in Python.
All other commands talk to a running daemon by its control socket, or need none.
.SH COMMANDS
""".lstrip("\n")

_END = r"""
.SH SIGNALS OF ivrd serve
.TP
.BR SIGTERM ", " SIGINT
Take no new calls, give live ones
.BR drain_timeout ,
then stop. A second one stops at once.
.TP
.B SIGHUP
Reload, as
.BR "ivrd reload" .
.TP
.B SIGUSR2
Leave the calls to the workers, and the workers to the next daemon; then stop.
.SH EXIT STATUS
0 done; 1 it could not be done; 2 the command line or the configuration is wrong.
What was wrong is said on stderr, in a line.
.SH ENVIRONMENT
.TP
.B IVRD_CONFIG
The configuration where no
.B \-\-config
is given, for all commands.
.SH FILES
.TP
.I /etc/ivrd/ivrd.toml
The configuration, see
.BR ivrd.toml (5).
.TP
.I /run/ivrd
The sockets.
.SH SEE ALSO
.BR ivrd\-shim (1),
.BR ivrd.toml (5)
""".lstrip("\n")


def manual() -> str:
    """The manual page."""
    context = click.Context(main, info_name="ivrd")
    parts = [_HEAD]
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        parts.append(_command(command, click.Context(command, parent=context, info_name=name)))
    return "".join([*parts, _END])


def _command(command: click.Command, context: click.Context) -> str:
    arguments = " ".join(
        piece
        for param in command.params
        if isinstance(param, click.Argument)
        for piece in param.get_usage_pieces(context)
    )
    name = roff(f"ivrd {context.info_name} {arguments}".strip())
    text = " ".join((command.help or "").split())
    parts = [f".SS {name}\n{roff(text)}\n"]
    for param in command.params:
        record = param.get_help_record(context) if isinstance(param, click.Option) else None
        if record is not None:
            option, help_text = record
            parts.append(f".TP\n.B {roff(option)}\n{roff(' '.join(help_text.split()))}\n")
    if command.epilog:
        parts.append(f".PP\n{roff(' '.join(command.epilog.split()))}\n")
    return "".join(parts)
