from . import deaths
from .report import Report


async def test_a_death_ends_its_own_calls_and_no_others() -> None:
    report = Report()
    await deaths.worker_deaths(report, deaths=6, calls=40, workers=4)
    report.check()


async def test_a_call_lives_twice_and_knows_nothing_of_the_first_time() -> None:
    report = Report()
    await deaths.second_lives(report, rounds=3, calls=20, workers=3)
    report.check()


async def test_a_blocked_worker_shows_where() -> None:
    report = Report()
    await deaths.stacks(report)
    report.check()
