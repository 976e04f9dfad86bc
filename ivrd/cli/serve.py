"""`ivrd serve` and `ivrd check`: run the daemon, or say beforehand what would keep it from running well."""

from __future__ import annotations

import signal

import click

from ivrd.cli.options import config_option, fail, plain_errors
from ivrd.config import Config, load, without_effect
from ivrd.errors import ServeError

__all__ = ["check", "serve"]


def _tell_without_effect(config: Config) -> None:
    for line in without_effect(config.given):
        click.echo(f"ivrd: {line}", err=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@click.command()
@config_option
def serve(config_path: str) -> None:
    """Take calls until told to stop.

    SIGTERM and SIGINT drain and stop, a second one stops at once; SIGHUP reloads; SIGUSR2 leaves the calls to the
    workers and the workers to the next daemon.
    """
    import trio

    from ivrd.daemon.main import Daemon, raise_descriptor_limit
    from ivrd.daemon.signals import obey
    from ivrd.observe.logging import natural

    async def run(config: Config) -> None:
        daemon = Daemon(config, read=lambda: load(config_path), log_format=log_format)
        async with trio.open_nursery() as nursery:
            await nursery.start(
                obey,
                {
                    signal.SIGTERM: daemon.stop,
                    signal.SIGINT: daemon.stop,
                    signal.SIGHUP: daemon.reload_soon,
                    signal.SIGUSR2: daemon.leave,
                },
            )
            try:
                await daemon.run()
            except ServeError as error:
                failures.append(error)
            nursery.cancel_scope.cancel()

    with plain_errors():
        config = load(config_path)
        if (problem := raise_descriptor_limit(config)) is not None:
            fail(problem)
        _tell_without_effect(config)
        log_format = natural(config.server.log_format)
        failures: list[ServeError] = []
        trio.run(run, config)
        for failure in failures:
            raise failure


@click.command()
@config_option
def check(config_path: str) -> None:
    """Check the configuration and that each app can be imported; change nothing."""
    import resource

    from ivrd.cli.rehearsal import rehearse
    from ivrd.config import check_descriptors

    with plain_errors():
        config = load(config_path)
        _tell_without_effect(config)
        _, warnings = config.server.allowed_uids()
        warnings += config.server.missing_directories()
        for warning in warnings:
            click.echo(f"ivrd: warning: {warning}", err=True)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        problems = [problem] if (problem := check_descriptors(config, hard, hard)) is not None else []
        for name, app in config.apps.items():
            if (problem := rehearse(name, app)) is not None:
                problems.append(f"app {name}: {problem}")
        if problems:
            fail("\n".join(problems))
        verdict = f"{_count(len(warnings), 'warning')}, otherwise well" if warnings else "all well"
        click.echo(f"{config_path}: {_count(len(config.apps), 'app')}, {verdict}")
