"""The rig on the real thing: a call's keys and variables arrive as they are, calls are counted right, nothing stays."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.asterisk.conftest import StartAsterisk
from tests.asterisk.rig import AsteriskError, run_sipp
from tests.asterisk.rig.roots import root_for

pytestmark = pytest.mark.asterisk
both_versions = pytest.mark.parametrize("version", ["22", "16"])

PROBE = Path(__file__).with_name("probe.pl")
DIALPLAN = """
[from-sip]
exten => probe,1,Goto(app,probe,1)

[app]
exten => probe,1,Answer()
 same => n,ExternalIVR(/usr/bin/probe(/probe,${UNIQUEID}))
 same => n,Set(DB(probe/${UNIQUEID})=${PROBE})
 same => n,Log(NOTICE,RESULT=${PROBE}.)
 same => n,Hangup()
exten => stuck,1,Answer()
 same => n,ExternalIVR(/usr/bin/perl(-e,sleep 600))
"""


def logs_of_probe(directory: Path) -> list[str]:
    """What each probe wrote, without the timestamps' digits."""
    return [re.sub(r",\d{10}$", ",TIME", file.read_text(), flags=re.MULTILINE) for file in directory.iterdir()]


def until(condition: Callable[[], bool], timeout: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return met


@both_versions
def test_local_call_presses_keys_and_the_dialplan_sees_the_variable(
    version: str, start_asterisk: StartAsterisk, tmp_path: Path
) -> None:
    asterisk = start_asterisk(version, dialplan=DIALPLAN, bind={PROBE: "/usr/bin/probe", tmp_path: "/probe"})
    asterisk.call("probe@app", keys="12#")
    asterisk.wait_log(r"RESULT=12\.$")
    asterisk.wait_channels(0)
    assert list(asterisk.database("probe").values()) == ["12"]
    assert logs_of_probe(tmp_path) == ["1,TIME\n2,TIME\n#,TIME\nE,TIME\neof\n"]
    assert not re.findall("WARNING|ERROR", asterisk.log_text())


@both_versions
def test_local_caller_who_hangs_up_is_seen_to(version: str, start_asterisk: StartAsterisk, tmp_path: Path) -> None:
    asterisk = start_asterisk(version, dialplan=DIALPLAN, bind={PROBE: "/usr/bin/probe", tmp_path: "/probe"})
    asterisk.call("probe@app", keys="A5", after_ms=100, hold_s=0.2)
    assert until(lambda: logs_of_probe(tmp_path) == ["A,TIME\n5,TIME\nH,TIME\neof\n"]), logs_of_probe(tmp_path)


@both_versions
def test_sip_keys_arrive_once_each(version: str, start_asterisk: StartAsterisk, tmp_path: Path) -> None:
    asterisk = start_asterisk(version, dialplan=DIALPLAN, sip=True, bind={PROBE: "/usr/bin/probe", tmp_path: "/probe"})
    keys = [(0.5, "1"), (0.2, "1"), (0.2, "0"), (0.7, "*"), (0.3, "#")]
    result = run_sipp(asterisk, "probe", keys=keys, rate=10, calls=20)
    assert (result.calls, result.succeeded, result.failed) == (20, 20, 0), result
    assert 1.9 <= result.length_s < 5, "the keys come at their times, and Asterisk hangs up after the last"
    assert logs_of_probe(tmp_path) == ["1,TIME\n1,TIME\n0,TIME\n*,TIME\n#,TIME\nE,TIME\neof\n"] * 20
    assert len(asterisk.wait_log(r"RESULT=110\*\.$", count=20)) == 20


def test_sip_caller_hangs_up_after_the_hold(start_asterisk: StartAsterisk, tmp_path: Path) -> None:
    asterisk = start_asterisk("22", dialplan=DIALPLAN, sip=True, bind={PROBE: "/usr/bin/probe", tmp_path: "/probe"})
    result = run_sipp(asterisk, "probe", keys=[(0.5, "7")], calls=1, hold_s=0.5)
    assert (result.succeeded, result.failed) == (1, 0), result
    assert until(lambda: logs_of_probe(tmp_path) == ["7,TIME\nH,TIME\neof\n"]), logs_of_probe(tmp_path)


def test_sip_calls_that_fail_are_counted_and_explained(start_asterisk: StartAsterisk) -> None:
    asterisk = start_asterisk("22", dialplan=DIALPLAN, sip=True)
    result = run_sipp(asterisk, "nobody", calls=3, rate=10)
    assert (result.calls, result.succeeded, result.failed) == (3, 0, 3)
    assert result.failures == {"UnexpectedMessage": 3}
    assert "404 Not Found" in result.errors


def test_two_versions_run_side_by_side(start_asterisk: StartAsterisk) -> None:
    both = [start_asterisk(version, sip=True) for version in ("22", "16")]
    assert [asterisk.cli("core show version").split(".")[0] for asterisk in both] == ["Asterisk 22", "Asterisk 16"]
    assert both[0].sip_port != both[1].sip_port


def test_a_channel_can_stay_unanswered(start_asterisk: StartAsterisk) -> None:
    asterisk = start_asterisk(
        "22", dialplan="[quiet]\nexten => 1,1,Wait(1)\n same => n,Log(NOTICE,state ${CHANNEL(state)})\n"
    )
    asterisk.originate("Local/1@quiet", application="Wait 6")
    assert asterisk.wait_log(r"state (\w+)")[0][1] == "Ring"


def test_originate_says_what_was_wrong(start_asterisk: StartAsterisk) -> None:
    asterisk = start_asterisk("22")
    with pytest.raises(AsteriskError, match="would not originate nonsense"):
        asterisk.originate("nonsense", extension="1@app")


@both_versions
def test_nothing_is_left_after_stop(version: str, start_asterisk: StartAsterisk, tmp_path: Path) -> None:
    asterisk = start_asterisk(version, dialplan=DIALPLAN, bind={tmp_path: "/probe"})
    directory, namespace = asterisk.etc.parent, os.readlink(f"/proc/{asterisk.pid}/ns/mnt")
    asterisk.call("stuck@app")
    assert until(lambda: len(processes_in(namespace)) == 2), "Asterisk and the child of ExternalIVR"
    assert "ivrd-rig" not in Path("/proc/self/mountinfo").read_text()
    asterisk.stop()
    assert processes_in(namespace) == []
    assert not directory.exists()
    assert tmp_path.is_dir(), "what was bound in is the test's own"
    assert stat.filemode(Path("/dev/null").stat().st_mode) == "crw-rw-rw-"


def test_a_killed_asterisk_answers_no_more(start_asterisk: StartAsterisk, tmp_path: Path) -> None:
    asterisk = start_asterisk("22", dialplan=DIALPLAN, bind={PROBE: "/usr/bin/probe", tmp_path: "/probe"})
    asterisk.call("probe@app", keys="1")
    assert until(lambda: logs_of_probe(tmp_path) == ["1,TIME\n"])
    asterisk.kill()
    assert until(lambda: logs_of_probe(tmp_path) == ["1,TIME\neof\n"])
    with pytest.raises(AsteriskError, match="did not answer"):
        asterisk.cli("core show version")
    with pytest.raises(AsteriskError, match="it ended"):
        asterisk.wait_log("never")


def test_asterisk_ends_with_the_process_that_started_it(start_asterisk: StartAsterisk) -> None:
    start_asterisk("22").stop()  # skips where it cannot be had
    script = "from tests.asterisk.rig import Asterisk; a = Asterisk('22'); print(a.pid, a.etc, flush=True); input()"
    with Popen([sys.executable, "-c", script], stdin=PIPE, stdout=PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid, etc = starter.stdout.readline().split()
        assert Path("/proc", pid).exists()
        starter.send_signal(signal.SIGKILL)
    assert until(lambda: not Path(etc).parent.exists() and not Path("/proc", pid).exists())


def test_a_start_that_fails_says_why_and_leaves_nothing(
    start_asterisk: StartAsterisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_asterisk("22").stop()  # skips where it cannot be had
    directories = tmp_path / "t"
    directories.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directories))
    with pytest.raises(FileNotFoundError, match="cannot be bound"):
        start_asterisk("22", bind={tmp_path / "missing": "/probe"})
    broken = tmp_path / "broken.so"
    broken.touch()
    module = next(root_for("22").glob("usr/lib/**/app_externalivr.so")).relative_to(root_for("22"))
    with pytest.raises(AsteriskError, match="it ended") as error:
        start_asterisk("22", bind={broken: f"/{module}"})
    assert "app_externalivr" in str(error.value)
    assert list(directories.iterdir()) == []


def processes_in(namespace: str) -> list[int]:
    """The processes in a mount namespace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "ns/mnt") == namespace:
                found.append(int(process.name))
        except OSError:
            continue  # it ended meanwhile
    return found
