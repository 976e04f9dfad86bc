"""What commands share: the `--config` option, and how an error is told.

The rule that holds here: exit status 2 is the configuration's, 1 is everything else's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from ivrd.errors import ConfigError, IvrdError

__all__ = ["DEFAULT_CONFIG", "config_option", "fail", "plain_errors"]

DEFAULT_CONFIG = "/etc/ivrd/ivrd.toml"

config_option = click.option(
    "--config",
    "-c",
    "config_path",
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="IVRD_CONFIG",
    show_envvar=True,
    metavar="FILE",
    help="The configuration.",
)


def fail(text: str, status: int = 1) -> NoReturn:
    """Say on stderr what is wrong, a line for each problem, and exit."""
    for line in text.splitlines():
        click.echo(f"ivrd: {line}", err=True)
    raise SystemExit(status)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn ivrd's own errors into lines and exit statuses."""
    try:
        yield
    except ConfigError as error:
        fail(str(error), 2)
    except IvrdError as error:
        fail(str(error))
