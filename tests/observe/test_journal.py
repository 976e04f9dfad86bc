"""Log lines in journald's own form, as a journal would take them apart again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ivrd.observe.journal import JournalWriter, encode, is_stderr

names = st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True).filter(
    lambda name: name not in ("event", "level", "timestamp", "exception")
)


def take_apart(datagram: bytes) -> list[tuple[str, bytes]]:
    """Journald's side: `NAME=value` lines, or name, length and value."""
    fields = []
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
            datagram = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            name, value = line, rest[8 : 8 + size]
            assert rest[8 + size : 9 + size] == b"\n"
            datagram = rest[9 + size :]
        fields.append((name.decode("ascii"), value))
    return fields


@given(st.dictionaries(names, st.text(max_size=50)))
def test_every_field_arrives_whatever_is_in_it(fields: dict[str, str]) -> None:
    found = dict(take_apart(encode({"event": "ivrd_call", "level": "warning", **fields})))
    assert found["PRIORITY"] == b"4"
    assert found["IVRD_EVENT"] == b"ivrd_call"
    assert found["MESSAGE"].startswith(b"ivrd_call")
    for name, value in fields.items():
        assert found[f"IVRD_{name.upper()}"] == value.encode("utf-8", "backslashreplace")


def test_a_caller_cannot_forge_a_field() -> None:
    hostile = "x\nIVRD_CALL=forged\n_PID=1"
    fields = take_apart(encode({"event": "e", "call": "c1", "detail": hostile}))
    assert [value for name, value in fields if name == "IVRD_CALL"] == [b"c1"]
    assert not any(name == "_PID" for name, _ in fields)


def test_a_traceback_is_behind_the_message() -> None:
    found = dict(take_apart(encode({"event": "call.app_error", "exception": "Traceback\n  boom"})))
    assert found["MESSAGE"] == b"call.app_error\nTraceback\n  boom"


SCRIPT = """
import sys
from ivrd.observe import journal
journal.JournalWriter.__init__.__defaults__ = (sys.argv[1],)
from ivrd.observe.logging import configure, get_logger
configure("journal", "info", app="menu")
get_logger(call="c1").info("ivrd_call", result="completed")
"""


def log(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=True)


def test_the_logger_writes_datagrams(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(5)
        done = log(tmp_path / "socket")
        found = dict(take_apart(journal.recv(65_536)))
    assert done.stderr == ""
    assert (found["IVRD_CALL"], found["IVRD_APP"], found["IVRD_RESULT"]) == (b"c1", b"menu", b"completed")


def test_lines_that_the_journal_does_not_take_are_counted_and_hold_nobody_up(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full,
    ):
        full.setblocking(False)
        writer = JournalWriter(path)
        try:
            line = encode({"event": "e", "exception": "Traceback\n  boom"})
            writer.msg(line)  # nobody is there
            journal.bind(path)
            sent = 0
            with suppress(BlockingIOError):
                while True:
                    full.sendto(b"MESSAGE=x\n", path)
                    sent += 1
            writer.msg(line)  # it does not keep up
            for _ in range(sent):
                journal.recv(100)
            writer.msg(line)
            writer.msg(line)
            first, second = (dict(take_apart(journal.recv(65_536))) for _ in range(2))
        finally:
            writer.close()
    assert first["IVRD_LINES_LOST"] == b"2"
    assert "IVRD_LINES_LOST" not in second
    assert second["MESSAGE"] == b"e\nTraceback\n  boom"


def test_only_the_stream_that_systemd_names_is_the_journal() -> None:
    status = os.fstat(sys.__stderr__.fileno()) if sys.__stderr__ else None
    assert status is not None
    assert not is_stderr({})
    assert not is_stderr({"JOURNAL_STREAM": "1:2"})
