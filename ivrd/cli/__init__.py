"""The command line: `ivrd COMMAND`.

The rule that holds here: an error is one line on stderr that says what is wrong and what to do, never a traceback, and
the exit status tells scripts the rest: 0 done, 1 it could not be done, 2 the command line or the configuration is
wrong. Commands are imported when they are run, so that `ivrd status` does not pay for the daemon.
"""

from __future__ import annotations

import importlib

import click

from ivrd import __version__

__all__ = ["main"]

_COMMANDS = {
    "serve": "ivrd.cli.serve",
    "check": "ivrd.cli.serve",
    "status": "ivrd.cli.operate",
    "calls": "ivrd.cli.operate",
    "top": "ivrd.cli.top",
    "trace": "ivrd.cli.trace",
    "hangup": "ivrd.cli.operate",
    "reload": "ivrd.cli.operate",
    "drain": "ivrd.cli.operate",
    "dial": "ivrd.cli.dial",
    "bench": "ivrd.cli.bench",
}


class _Commands(click.Group):
    """Finds a command's module by the command's name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="ivrd %(version)s")
def main() -> None:
    """Warm workers for Asterisk's ExternalIVR."""
