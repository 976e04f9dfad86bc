from . import strangers
from .report import BUSY, Report


async def test_strangers_get_nothing() -> None:
    report = Report(slack=BUSY)
    await strangers.strangers(report)
    report.check()
