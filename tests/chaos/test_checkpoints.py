from . import checkpoints
from .report import BUSY, Report


async def test_cancelled_anywhere_the_daemon_leaves_nothing_behind() -> None:
    report = Report(slack=BUSY)
    await checkpoints.cancel_everywhere(report, share=0.1)
    report.check()
