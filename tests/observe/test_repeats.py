"""A flood of one complaint is thinned out and counted, and drowns no other."""

from __future__ import annotations

import json
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from ivrd.observe.repeats import BURST, WINDOW, Repeats


def test_a_burst_is_written_then_left_out_then_counted() -> None:
    repeats = Repeats()
    assert [repeats.admit("a", 0.0) for _ in range(BURST)] == [0] * BURST
    assert [repeats.admit("a", 1.0) for _ in range(7)] == [None] * 7
    assert repeats.admit("b", 1.0) == 0
    assert repeats.admit("a", WINDOW) == 7
    assert repeats.admit("a", WINDOW) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=300))
def test_every_line_is_written_or_counted(lines: list[tuple[str, float]]) -> None:
    repeats = Repeats()
    now, written, counted, given = 0.0, 0, 0, dict.fromkeys("abc", 0)
    for kind, pause in lines:
        now += pause
        given[kind] += 1
        left_out = repeats.admit(kind, now)
        if left_out is not None:
            written += 1
            counted += left_out
    # The windows that are still open tell at their end.
    counted += sum(repeats.admit(kind, now + WINDOW) or 0 for kind in "abc")
    assert written + counted == sum(given.values())


def test_ever_new_kinds_do_not_fill_the_memory() -> None:
    repeats = Repeats()
    for number in range(10_000):
        assert repeats.admit(str(number), 0.0) == 0
    assert len(repeats._seen) <= 1000


FLOOD = """
from ivrd.observe.logging import configure, get_logger
from ivrd.observe.repeats import Repeats
repeats = Repeats()
configure("json", "info", repeats)
logger = get_logger()
for number in range(100):
    logger.info("ivrd_call", number=number)
    logger.warning("handoff_rejected", number=number)
configure("json", "info", repeats)  # as a reload does
logger.warning("handoff_rejected", number=100)
logger.warning("handoff_rejected", app="other")
"""


def test_the_log_keeps_all_calls_and_thins_out_complaints() -> None:
    done = subprocess.run([sys.executable, "-c", FLOOD], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines].count("ivrd_call") == 100
    rejected = [line for line in lines if line["event"] == "handoff_rejected"]
    assert len(rejected) == BURST + 1
    assert rejected[-1]["app"] == "other"
