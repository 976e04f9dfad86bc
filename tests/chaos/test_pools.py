from . import pools
from .report import BUSY, Report


async def test_a_pool_grows_and_shrinks() -> None:
    report = Report(slack=BUSY)
    await pools.elastic(report, workers=3, rounds=1)
    report.check()


async def test_replacing_workers_cuts_no_call() -> None:
    report = Report(slack=BUSY)
    await pools.recycling(report, replacements=3, per_worker=5)
    report.check()
