from . import deaths
from .report import BUSY, Report


async def test_a_death_ends_its_own_calls_and_no_others() -> None:
    report = Report(slack=BUSY)
    await deaths.worker_deaths(report, deaths=6, calls=40, workers=4, heartbeat=3.0)
    report.check()


async def test_a_call_lives_twice_and_knows_nothing_of_the_first_time() -> None:
    report = Report(slack=BUSY)
    await deaths.second_lives(report, rounds=3, calls=20, workers=3, heartbeat=3.0)
    report.check()


async def test_a_blocked_worker_shows_where() -> None:
    report = Report(slack=BUSY)
    await deaths.stacks(report, heartbeat=3.0)
    report.check()
