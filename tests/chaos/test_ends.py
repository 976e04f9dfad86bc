from . import ends
from .report import BUSY, Report


async def test_what_happens_in_the_queue() -> None:
    report = Report(slack=BUSY)
    await ends.queued(report, calls=5)
    report.check()


async def test_calls_end_on_time() -> None:
    report = Report(slack=BUSY)
    await ends.deadlines(report, calls=3)
    report.check()


async def test_a_drain_lets_calls_finish() -> None:
    report = Report(slack=BUSY)
    await ends.drain(report, calls=10, seconds=2.0)
    report.check()


async def test_a_second_signal_hurries() -> None:
    report = Report(slack=BUSY)
    await ends.hurry(report, calls=10)
    report.check()
