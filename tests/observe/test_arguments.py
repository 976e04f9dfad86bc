"""Callers' numbers in the log: to be found, not to be read."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ivrd.observe.arguments import machine_id, shown


def test_a_shell_finds_the_calls_of_a_number(tmp_path: Path) -> None:
    """As docs/log.md says."""
    file = tmp_path / "machine-id"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    command = f'printf %s "$(cat {file})5551234" | sha256sum | cut -c1-12'
    found = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.strip()
    line = shown((b"1700000000.1", b"5551234"), "hash", machine_id(str(file)))
    assert line is not None
    assert line.split()[1] == found
    assert "5551234" not in line


def test_two_machines_have_different_hashes_of_one_number() -> None:
    assert shown((b"5551234",), "hash", b"one") != shown((b"5551234",), "hash", b"two")
    assert machine_id("/nonexistent") == b""


def test_arguments_can_be_shown_whatever_is_in_them() -> None:
    assert shown((b"a b", b"\xff\n", b""), "plain", b"") == "'a b' '\\xff\\n' ''"
    assert shown((b"a",), "none", b"") is None
    assert shown((), "plain", b"") is None
