"""A small crowd: that several hundred calls at once are held and answered; `make bench` has the 4,000."""

from __future__ import annotations

from tests.bench.crowd import crowd


async def test_five_hundred_calls_at_once_are_held_and_answered() -> None:
    seen = await crowd(calls=500, workers=2, keys=500, rate=250)
    assert (seen.up, seen.answered, seen.left) == (500, 500, 0)
    assert seen.answer.p50 < 1.0  # seconds; some tenths of a millisecond where nothing else runs
    assert sum(seen.pss) / seen.calls < 500_000
