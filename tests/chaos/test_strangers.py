from . import strangers
from .report import Report


async def test_strangers_get_nothing() -> None:
    report = Report()
    await strangers.strangers(report)
    report.check()
