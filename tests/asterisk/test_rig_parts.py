"""The parts of the rig that need no Asterisk: what it refuses, and the RTP that its callers send."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.asterisk.rig.configs import extensions_conf
from tests.asterisk.rig.dtmf_pcap import key_presses
from tests.asterisk.rig.roots import RELEASES, RigUnavailable, cache_dir, installed_version, root_for


def root_with(version: str, directory: Path) -> Path:
    status = directory / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    packages = {"apt": "2.9", "asterisk-modules": "1:1.2.3", "asterisk": version, "zlib": "1:9"}
    status.write_text("\n".join(f"Package: {name}\nArch: any\nVersion: {it}\nX: y\n" for name, it in packages.items()))
    return directory


def test_the_version_is_read_and_checked(tmp_path: Path) -> None:
    assert installed_version(RELEASES["22"], root_with("1:22.10.1+dfsg-1", tmp_path / "a")) == "22.10.1"
    assert installed_version(RELEASES["16"], root_with("16.28.0~dfsg-0", tmp_path / "b")) == "16.28.0"
    with pytest.raises(RigUnavailable, match=r"sid has Asterisk 23\.0, the tests want 22\.x"):
        installed_version(RELEASES["22"], root_with("1:23.0~rc1", tmp_path / "c"))


def test_a_cache_without_roots_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IVRD_TEST_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    with pytest.raises(RigUnavailable, match=r"python -m tests\.asterisk\.rig setup"):
        root_for("22")


def test_the_rigs_own_contexts_are_not_to_be_taken() -> None:
    with pytest.raises(ValueError, match="rig-"):
        extensions_conf("[app]\nexten => 1,1,NoOp()\n[rig-caller]\n")


@pytest.mark.parametrize("keys", [[(0.5, "x")], [(0.5, "12")], [(0.5, "1"), (0.1, "2")], [(0.5, "")]])
def test_keys_that_cannot_be_pressed_are_refused(keys: list[tuple[float, str]]) -> None:
    with pytest.raises(ValueError, match="one key of 0123456789"):
        key_presses(keys)


def test_rtp_runs_on_from_key_to_key() -> None:
    capture, offset, events = key_presses([(0.5, "1"), (1.0, "#")]), 24, []
    while offset < len(capture):
        seconds, micros, length, _ = struct.unpack_from("=IIII", capture, offset)
        rtp = capture[offset + 16 + 42 : offset + 16 + length]
        offset += 16 + length
        kind, sequence, timestamp = struct.unpack_from("!BHI", rtp, 1)
        if kind & 0x7F == 101:
            event, flags, duration = struct.unpack_from("!BBH", rtp, 12)
            events.append(
                (round(seconds + micros / 1e6, 3), bool(kind & 0x80), sequence, timestamp, event, flags >> 7, duration)
            )
    assert [event[2] for event in events] == list(range(1, 15)), "one sequence, no gap"
    one, pound = events[:7], events[7:]
    assert {(e[3], e[4]) for e in one} == {(4000, 1)}
    assert {(e[3], e[4]) for e in pound} == {(12000, 11)}
    assert [e[1] for e in one] == [True] + [False] * 6, "the marker is on the first"
    assert [(e[5], e[6]) for e in one] == [(0, 160), (0, 320), (0, 480), (0, 640), (1, 800), (1, 800), (1, 800)]
    assert pound[0][0] - one[0][0] == pytest.approx(1.0)
