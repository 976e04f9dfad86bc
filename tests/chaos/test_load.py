from . import load
from .report import BUSY, Report


async def test_reloads_lose_no_call_and_leave_no_stale_code() -> None:
    report = Report(slack=BUSY)
    await load.reloads(report, reloads=5, refusals=9, rate=15)
    report.check()


async def test_overload_is_served_or_sent_on_in_time() -> None:
    report = Report(slack=BUSY)
    await load.overload(report, seconds=4, rate=30)
    report.check()


async def test_one_app_s_flood_does_not_starve_another_s() -> None:
    report = Report(slack=BUSY)
    await load.neighbours(report, seconds=3, flood=40, rate=10)
    report.check()


async def test_a_crash_loop_is_hardly_noticed_beside_it() -> None:
    report = Report(slack=BUSY)
    await load.crash_loop(report, windows=1, seconds=2, rate=15)
    # So few calls on a busy machine have no median to speak of, and two seconds no share of the processor: what is held
    # is that all went well, and the back-off.
    report.check(but=("rise of", "the daemon's CPU"))


async def test_many_calls_leave_nothing_behind() -> None:
    report = Report(slack=BUSY)
    await load.calls_in_a_row(report, calls=500, warm=200)
    report.check()
