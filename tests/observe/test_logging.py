"""What an operator's tools rely on in a log line, seen as the process's own stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
from ivrd.observe.logging import configure, get_logger
configure({format!r}, {level!r}, app="menu")
logger = get_logger(call="c1")
logger.info("call.ended", result="completed", args=("a\\udcff", b"\\xff"))
def handler(pin):
    raise ValueError("bad")
try:
    handler("4711")
except ValueError:
    logger.exception("call.app_error")
"""


def logged(kind: str, level: str) -> str:
    script = SCRIPT.format(format=kind, level=level)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def test_json_is_one_object_a_line_with_the_event_and_all_fields() -> None:
    ended, error = map(json.loads, logged("json", "info").splitlines())
    assert ended.pop("timestamp").endswith("Z")
    assert ended == {
        "event": "call.ended",
        "level": "info",
        "app": "menu",
        "call": "c1",
        "result": "completed",
        "args": ["a\udcff", "b'\\xff'"],
    }
    assert error["level"] == "error"
    assert error["exception"].endswith("ValueError: bad")


@pytest.mark.parametrize("kind", ["console", "json"])
def test_a_traceback_shows_no_values_of_local_variables(kind: str) -> None:
    text = logged(kind, "info")
    assert "ValueError: bad" in text
    assert "in handler" in text
    assert text.count("4711") == 0


def test_console_has_no_colours_where_stderr_is_no_terminal() -> None:
    text = logged("console", "info")
    assert "\x1b" not in text
    assert "call.ended" in text
    assert "result=completed" in text


def test_lines_below_the_level_are_not_written() -> None:
    assert "call.ended" not in logged("json", "error")


@pytest.mark.parametrize("kind", ["console", "json"])
def test_a_log_that_nobody_reads_any_more_is_no_reason_to_stop(kind: str) -> None:
    script = SCRIPT.format(format=kind, level="info") + "\nprint('alive')"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=full, text=True, check=False
        )
    assert done.stdout == "alive\n"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=write, text=True, check=False)
    os.close(write)
    assert done.stdout == "alive\n"


def test_importing_the_module_does_not_import_structlog() -> None:
    script = "import sys, ivrd.observe.logging; sys.exit('structlog' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
