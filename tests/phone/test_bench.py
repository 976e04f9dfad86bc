"""`ivrd bench` against a real daemon: that its figures are what happened; and `ivrd dial --shim` against the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import Service, until

IVRD = str(Path(sys.executable).with_name("ivrd"))
APP = """
import anyio
async def main(call):
    if await call.menu("welcome", "1", retries=0, timeout=30):
        await call.set(RESULT="paid")
    else:
        await call.hangup("no choice")

async def work(call):
    await call.log("hello")
    end = __import__("time").process_time() + 0.02
    while __import__("time").process_time() < end:
        pass

async def boom(call):
    raise ValueError("oops")

async def short_lived(call):
    end = __import__("time").process_time() + 0.1
    while __import__("time").process_time() < end:
        pass

async def account(call):
    await call.set(NUMBER=await call.digits("account", max=2, timeout=30, digit_timeout=30))
"""
APPS = "".join(f'[apps.{name}]\nhandler = "menu:{name}"\nworkers = 1\n' for name in ("main", "work", "boom", "account"))
APPS += '[apps.full]\nhandler = "menu:main"\nworkers = 1\nconcurrency = 1\nqueue = 0\n'
APPS += '[apps.short_lived]\nhandler = "menu:short_lived"\nworkers = 1\nmax_calls_per_worker = 5\n'


@pytest.fixture(scope="module")
def ivrd() -> Iterator[Service]:
    with Service(APPS, files={"menu.py": APP}, drain_timeout=1.0) as service:
        yield service


def run(ivrd: Service, command: str, *args: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [IVRD, command, "-c", str(ivrd.config_file), *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_the_figures_are_what_happened(ivrd: Service) -> None:
    done = run(ivrd, "bench", "main", "-n", "20", "-r", "40", "--keys", "wait:welcome 1", "--json")
    report = json.loads(done.stdout)
    figures = report["figures"]
    assert (figures["offered"], figures["answered"], figures["off_script"]) == (20, 20, 0)
    assert figures["outcomes"] == {"continued": 20}
    assert report["results"] == {"completed": 20}
    assert 19 / 40 <= figures["seconds"] < 30
    assert figures["handover"]["count"] == figures["response"]["count"] == 20
    for spread in figures["handover"], figures["response"]:
        assert 0 < spread["p50"] <= spread["p90"] <= spread["p99"] <= spread["longest"] < 20
    assert (report["cost"]["workers"], report["cost"]["recycled"]) == (1, 0)
    assert 1e7 < report["cost"]["daemon_rss"] < 1e9
    assert 1e7 < report["cost"]["workers_rss"] < 1e9


def test_an_asterisk_that_is_patched_makes_no_difference(ivrd: Service) -> None:
    report = json.loads(run(ivrd, "bench", "main", "-n", "5", "-r", "50", "--keys", "1", "--patched", "--json").stdout)
    assert report["results"] == {"completed": 5}


def test_what_the_caller_still_types_is_no_response(ivrd: Service) -> None:
    report = json.loads(run(ivrd, "bench", "account", "-n", "3", "-r", "50", "--keys", "1 pause:4 2", "--json").stdout)
    response = report["figures"]["response"]
    # The first key stops the prompt, the second is the last one.
    assert response["count"] == 6
    assert response["longest"] < 4


def test_what_it_cost_is_what_the_workers_used(ivrd: Service) -> None:
    report = json.loads(run(ivrd, "bench", "work", "-n", "25", "-r", "100", "--json").stdout)
    assert 0.5 <= report["cost"]["workers_cpu"] < 5


def test_a_worker_that_is_recycled_takes_its_cost_with_it(ivrd: Service) -> None:
    report = json.loads(run(ivrd, "bench", "short_lived", "-n", "16", "-r", "5", "--json").stdout)
    assert report["cost"]["recycled"] >= 2
    # 1.6 s, of which a tenth may be missed for each that went.
    assert report["cost"]["workers_cpu"] >= 1.0


def test_who_stops_it_hears_what_there_was(ivrd: Service) -> None:
    process = subprocess.Popen(
        [IVRD, "bench", "-c", str(ivrd.config_file), "main", "-n", "500", "-r", "20", "--json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: len(ivrd.calls()) >= 3, what="three live calls")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    report = json.loads(out)
    assert report["broken_off"]
    offered = report["figures"]["offered"]
    assert err == f"ivrd: broken off after {offered} of 500 calls\n"
    assert 3 <= offered < 500
    assert report["figures"]["outcomes"]["broken_off"] == offered
    assert report["results"] == {"hangup": offered}


@pytest.mark.parametrize(
    "args", [["--patience", "nan"], ["--patience", "-1"], ["--rate", "nan"], ["--sounds", "/none"]]
)
def test_numbers_that_are_none_are_refused(ivrd: Service, args: list[str]) -> None:
    done = run(ivrd, "bench", "main", *args, status=2)
    assert f"Invalid value for '{args[0]}'" in done.stderr or f"/ {args[0]}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_call_that_does_not_end_in_time_shows_in_the_status(ivrd: Service) -> None:
    done = run(ivrd, "bench", "main", "-n", "2", "-r", "50", "--keys", "wait:welcome", "--patience", "0.1", status=1)
    assert "2 unfinished" in done.stdout


def test_the_table_and_the_status_tell_of_callers_who_waited_in_vain(ivrd: Service) -> None:
    script = "patience:4 wait:goodbye"
    done = run(ivrd, "bench", "main", "-n", "3", "-r", "50", "--keys", script, "--patience", "0.2", status=1)
    assert "3 offered, 3 answered, " in done.stdout
    assert "3 unfinished" in done.stdout
    assert "3 hangup" in done.stdout
    assert "hand-over" in done.stdout
    assert done.stderr.strip() == "ivrd: 3 times: the caller waited 4 s in vain for prompt 'goodbye'"


def test_an_app_that_fails_one_that_is_full_and_one_that_is_not_there(ivrd: Service) -> None:
    report = json.loads(run(ivrd, "bench", "boom", "-n", "4", "-r", "50", "--json").stdout)
    assert report["results"] == {"app_error": 4}
    assert report["figures"]["outcomes"] == {"hungup_by_app": 4}
    script = ("--keys", "hangup:3")
    report = json.loads(run(ivrd, "bench", "full", "-n", "3", "-r", "50", *script, "--json", status=1).stdout)
    assert (report["figures"]["answered"], report["figures"]["refused"]) == (1, {"OVERLOADED": 2})
    done = run(ivrd, "bench", "nope", status=1)
    assert done.stderr == "ivrd: the daemon has no app 'nope': it has main, work, boom, account, full, short_lived\n"


def test_no_daemon_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ivrd.toml").write_text(
        '[server]\nsocket = "s"\nworker_socket = "w"\ncontrol_socket = "c"\n[apps.menu]\nhandler = "a:b"\n'
    )
    done = subprocess.run(
        [IVRD, "bench", "-c", str(tmp_path / "ivrd.toml"), "menu"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ivrd: no daemon listens at ")


def test_dial_through_the_shim(ivrd: Service) -> None:
    done = run(ivrd, "dial", "main", "x", "--shim", "--keys", "wait:welcome 1", "--json")
    call = json.loads(done.stdout)
    assert (call["outcome"], call["variables"]["RESULT"]) == ("continued", "paid")
    # The daemon does not tell which keys are secret, so none is shown.
    assert call["pressed"][0]["key"] is None
    assert [line["text"] for line in call["wire"][:2]] == ["A,welcome", "?"]


@pytest.mark.parametrize(("app", "status"), [("nope", "UNKNOWN_APP"), ("boom", "ERROR")])
def test_a_call_that_did_not_go_as_it_should_shows_in_the_status(ivrd: Service, app: str, status: str) -> None:
    done = run(ivrd, "dial", app, "--shim", "--keys", "", status=1)
    assert f"ivrd: the app did not end it: IVRD_STATUS is {status}" in done.stderr
    # What was in the variable before is no news.
    run(ivrd, "dial", "main", "--shim", "--keys", "2", "--set", "IVRD_STATUS=ERROR")


def test_no_daemon_shows_in_the_status(ivrd: Service, tmp_path: Path) -> None:
    config = tmp_path / "ivrd.toml"
    config.write_text(f'[server]\nsocket = "{tmp_path}/none.sock"\n[apps.main]\nhandler = "menu:main"\n')
    done = subprocess.run(
        [IVRD, "dial", "-c", str(config), "main", "--shim", "--keys", "", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert json.loads(done.stdout)["errors"] == ["the app did not end it: IVRD_STATUS is UNAVAILABLE"]
