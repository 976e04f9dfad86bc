from . import daemons
from .report import BUSY, Report


async def test_a_daemon_s_death_touches_no_call() -> None:
    report = Report(slack=BUSY)
    await daemons.daemon_kills(report, kills=4, calls=60, workers=2)
    report.check()


async def test_a_stopped_daemon_is_no_concern_of_a_caller() -> None:
    report = Report(slack=BUSY)
    await daemons.daemon_stopped(report, seconds=5.0, calls=60, workers=2, heartbeat=2.0)
    report.check()


async def test_an_upgrade_costs_no_call() -> None:
    report = Report(slack=BUSY)
    await daemons.upgrades(report, upgrades=3, calls=30, rate=10)
    report.check()


async def test_workers_wait_for_the_next_daemon() -> None:
    report = Report(slack=BUSY)
    await daemons.workers_without_daemon(report)
    report.check()
