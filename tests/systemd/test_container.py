"""ivrd as a service on booted systemd: from a wheel through reload, upgrade, crash, hang and stop to its removal.

The tests are one story in order, on one container: each goes on where the one before ended.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ivrd import __version__
from tests.service import until
from tests.systemd.conftest import NEXT, Host

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(240)]

WATCHDOG_S = 3
LIVE = 100
NEW = 1000
CONFIG = """
[server]
allow_users = []
max_calls = 3000
[apps.hold]
handler = "story:hold"
path = "/srv/story"
[apps.quick]
handler = "story:quick"
path = "/srv/story"
[apps.prisoner]
handler = "prisoner:main"
path = "/srv/story"
workers = 1
"""
STORY = """
import time
from ivrd import __version__

time.sleep({imports_s})

async def hold(call):
    key = await call.digits("beep", max=1, timeout=600)
    await call.set(KEY=key, BY="{by}-" + __version__)

async def quick(call):
    await call.play("beep")
    await call.set(BY="{by}-" + __version__)
"""
# In Asterisk's place at boot and shutdown: looks what ivrd is doing when it begins, and again before it ends.
ASTERISK = """
[Service]
ExecStart=/bin/sh -c 'systemctl is-active ivrd >> /var/lib/seen; exec sleep infinity'
ExecStop=/bin/sh -c 'sleep 0.5; systemctl is-active ivrd >> /var/lib/seen'
[Install]
WantedBy=multi-user.target
"""
# What an app could try to get out. Each attempt has to fail; what worked is told to the caller.
PRISONER = """
import ctypes, os, socket

libc = ctypes.CDLL(None, use_errno=True)

def did(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "no")

def write(path):
    with open(path, "w") as file:
        file.write("x")

ATTEMPTS = {
    "etc": lambda: write("/etc/ivrd/ivrd.toml"),
    "opt": lambda: write("/opt/ivrd/current/escape"),
    "app": lambda: write("/srv/story/escape.py"),
    "world-writable": lambda: write("/srv/open/escape"),
    "own directory": lambda: write("/srv/own/escape"),
    "own file": lambda: write("/srv/own/file"),
    "cgroup": lambda: os.mkdir("/sys/fs/cgroup/escape"),
    "sysctl": lambda: write("/proc/sys/kernel/core_pattern"),
    "root": lambda: os.listdir("/root"),
    "home": lambda: os.listdir("/home"),
    "shadow": lambda: open("/etc/shadow").close(),
    "init": lambda: os.stat("/proc/1/cmdline"),
    "setuid": lambda: os.setuid(0),
    "suid file": lambda: (write("/tmp/suid"), os.chmod("/tmp/suid", 0o4755)),
    "chroot": lambda: os.chroot("/tmp"),
    "mount": lambda: did(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "namespace": lambda: did(libc.unshare(0x10000000)),
    "module": lambda: did(libc.syscall(313, 0, b"", 0)),
    "ptrace": lambda: did(libc.ptrace(16, os.getppid(), None, None)),
    "bpf": lambda: did(libc.syscall(321, 0, None, 0)),
    "clock": lambda: __import__("time").clock_settime(0, 0),
    "hostname": lambda: socket.sethostname("escape"),
    "raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "device": lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(7, 0)),
    "executable memory": lambda: __import__("mmap").mmap(-1, 4096, prot=7),
    "realtime": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "systemd": lambda: [os.environ[name] for name in ("NOTIFY_SOCKET",)],
    "network": lambda: socket.socket(socket.AF_INET).close(),
}

async def main(call):
    worked = []
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
            worked.append(name)
        except (OSError, KeyError):
            pass
    for place in ("/tmp", "/dev/shm"):
        write(f"{place}/allowed")  # what any app may do, and nobody else sees
    await call.set(WORKED=";".join(worked) or "none")
"""


def configure(host: Host, by: str, imports_s: float = 0) -> None:
    host.write("/srv/story/story.py", STORY.format(by=by, imports_s=imports_s))
    host.write("/srv/story/prisoner.py", PRISONER)
    host.write("/etc/ivrd/ivrd.toml", CONFIG)


def main_pid(host: Host) -> int:
    return int(host.show("ivrd.service", "MainPID"))


def active_anew(host: Host, before: int) -> bool:
    return main_pid(host) not in (0, before) and host.show("ivrd.service", "ActiveState") == "active"


def test_a_wheel_becomes_a_running_service(host: Host) -> None:
    said = host.run(*host.install(__version__), timeout=110).stdout
    assert f"ivrd {__version__} serves" in said
    assert host.show("ivrd.service", "ActiveState") == "active"
    assert "2 workers" in host.show("ivrd.service", "StatusText")
    assert host.ask("readlink", "-f", "/usr/bin/ivrd-shim") == f"/opt/ivrd/{__version__}/bin/ivrd-shim"
    with host.caller() as caller:
        answer = caller.ask("call", app="menu", heard="pls-entr-num-uwish2-call", keys="42#")
    assert answer["outcome"].startswith("continued IVRD_STATUS=OK"), answer
    assert answer["variables"]["MENU_CHOICE"] == "42"
    # The journal has the call's line field by field.
    line = json.loads(host.ask("journalctl", "--boot", "--output=json", "IVRD_EVENT=ivrd_call", "IVRD_APP=menu"))
    assert line["IVRD_RESULT"] == "completed"
    assert line["IVRD_CALL"] in line["MESSAGE"]
    assert line["PRIORITY"] == "6"
    assert host.show("ivrd.service", "LogRateLimitIntervalUSec") == "0", "journald would drop calls' lines"


def test_reload_moves_new_calls_and_keeps_old_ones(host: Host) -> None:
    configure(host, "first")
    host.run("systemctl", "reload", "ivrd")
    with host.caller() as caller:
        assert caller.ask("hold", count=20) == 20
        configure(host, "second")
        host.run("systemctl", "reload", "ivrd")
        answer = caller.ask("call", app="quick")
        assert answer["variables"]["BY"] == f"second-{__version__}"
        # What cannot be loaded changes nothing, and systemctl says that it failed.
        host.write("/srv/story/story.py", "import nothing_of_that_name")
        assert host.run("systemctl", "reload", "ivrd", check=False).returncode != 0
        assert host.show("ivrd.service", "ActiveState") == "active"
        assert "nothing_of_that_name" in host.journal()
        configure(host, "second")
        assert caller.ask("finish") == {f"continued IVRD_STATUS=OK KEY=7 BY=first-{__version__}": 20}


def test_an_app_is_locked_in(host: Host) -> None:
    # Places that its user may write to by their permissions: there only the sandbox is in the way.
    host.run("install", "-d", "-m", "1777", "/srv/open")
    host.run("install", "-d", "-o", "ivrd", "/srv/own")
    for place in ("/srv/open/seen", "/srv/own/file"):
        host.run("runuser", "-u", "ivrd", "--", "touch", place)
    with host.caller() as caller:
        answer = caller.ask("call", app="prisoner")
    assert answer["variables"].get("WORKED") == "network", answer
    for place in ("/tmp", "/dev/shm"):
        assert host.run("test", "-e", f"{place}/allowed", check=False).returncode == 1


def test_an_upgrade_with_calls_up_loses_none(host: Host) -> None:
    """By what a configuration and a dialplan say that say nothing: 2 s for the shim and in a queue of 100."""
    before = main_pid(host)
    # More calls come in that time than would find room in the queue.
    configure(host, "second", imports_s=3)
    with host.caller() as caller:
        assert caller.ask("hold", count=LIVE) == LIVE
        old, new = (f"continued IVRD_STATUS=OK BY=second-{version}" for version in (__version__, NEXT))
        caller.ask("rush", rate=5, options=[])
        until(lambda: old in caller.ask("rushing")["outcomes"], what="a new call in the old version")
        with host.start(*host.install(NEXT)) as installation:
            there = f"/opt/ivrd/{NEXT}/bin/ivrd"
            until(lambda: host.run("test", "-e", there, check=False).returncode == 0, 110, "the new version's files")
            # Most are to come while the one goes and the other comes, not while pip is at work.
            caller.ask("pace", rate=60)
            least = caller.ask("rushing")["begun"] + NEW
            said, _ = installation.communicate(timeout=110)
        assert f"ivrd {NEXT} serves" in said
        assert main_pid(host) != before
        until(lambda: new in caller.ask("rushing")["outcomes"], what="a new call in the new version")
        rushed = caller.ask("rushed", least=least)
        print(f"upgrade: {rushed}")
        assert set(rushed["outcomes"]) == {old, new}, rushed
        assert sum(rushed["outcomes"].values()) == rushed["begun"] >= least
        # The old workers run the old code from the old place to the end, and are gone with their last call.
        assert caller.ask("finish") == {f"continued IVRD_STATUS=OK KEY=7 BY=second-{__version__}": LIVE}
    configure(host, "second")
    until(
        lambda: __version__ not in host.ask("sh", "-c", "ps -o args= -u ivrd 2>/dev/null || cat /proc/[0-9]*/cmdline")
    )


def test_a_kill_of_the_main_process_loses_no_call(host: Host) -> None:
    host.write("/etc/systemd/system/ivrd.service.d/test.conf", f"[Service]\nWatchdogSec={WATCHDOG_S}\n")
    host.run("systemctl", "daemon-reload")
    before = main_pid(host)
    with host.caller() as caller:
        assert caller.ask("hold", count=LIVE) == LIVE
        caller.ask("rush", rate=40)
        host.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "ivrd")
        until(lambda: active_anew(host, before), what="the restart")
        rushed = caller.ask("rushed", least=100)
        print(f"crash: {rushed}")
        assert rushed["outcomes"] == {f"continued IVRD_STATUS=OK BY=second-{NEXT}": rushed["begun"]}, rushed
        until(lambda: f"{LIVE} calls" in host.show("ivrd.service", "StatusText"), what="the live figure")
        assert caller.ask("finish") == {f"continued IVRD_STATUS=OK KEY=7 BY=second-{NEXT}": LIVE}


def test_the_watchdog_ends_a_hung_loop(host: Host) -> None:
    before = main_pid(host)
    with host.caller() as caller:
        assert caller.ask("hold", count=20) == 20
        hang = f"import os, time; print(time.monotonic()); os.kill({before}, {signal.SIGSTOP.value})"
        hung = float(host.ask("python3", "-c", hang))
        until(lambda: active_anew(host, before), what="the watchdog's work")
        # By systemd's own stamps, for the test gets its turn when it gets it. That python3 then takes its time to start
        # is not the watchdog's doing.
        stamps = (host.show("ivrd.service", f"{name}TimestampMonotonic") for name in ("ExecMainStart", "ActiveEnter"))
        started, ready = (int(stamp) / 1e6 for stamp in stamps)
        print(f"watchdog: started anew {started - hung:.1f} s after it hung, and serves {ready - started:.1f} s later")
        assert 0 < started - hung < WATCHDOG_S + 2
        assert caller.ask("finish") == {f"continued IVRD_STATUS=OK KEY=7 BY=second-{NEXT}": 20}
    assert host.show("ivrd.service", "NRestarts") != "0"


SCRAPE = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9949/metrics', timeout=30).read().decode())"


def scrape(host: Host) -> str:
    figures = host.ask("python3", "-c", SCRAPE)
    assert re.search(rf'ivrd_build_info\{{.*version="{NEXT}"', figures), figures[:2000]
    # Also of the process, though the sandbox hides /proc/stat.
    assert re.search(r"^process_start_time_seconds 1\.", figures, re.MULTILINE)
    assert re.search(r"^process_open_fds \d", figures, re.MULTILINE)
    return figures


@contextmanager
def drop_in(host: Host, name: str) -> Iterator[None]:
    """One of the drop-ins, as the README says to put it in; systemd knows of it, the service not yet."""
    host.run("install", "-D", f"/mnt/deploy/systemd/drop-ins/{name}", f"/etc/systemd/system/ivrd.service.d/{name}")
    host.run("systemctl", "daemon-reload")
    yield
    host.run("rm", f"/etc/systemd/system/ivrd.service.d/{name}")
    host.run("systemctl", "daemon-reload")


def test_the_metrics_socket_comes_to_a_service_that_runs(host: Host) -> None:
    before = main_pid(host)
    with host.caller() as caller:
        assert caller.ask("hold", count=20) == 20
        with drop_in(host, "metrics-socket.conf"):
            host.run("systemctl", "kill", "--signal=USR2", "--kill-whom=main", "ivrd")
            until(lambda: active_anew(host, before), what="the restart")
            assert host.show("ivrd-metrics.socket", "ActiveState") == "active"
            assert "ivrd_calls_active" in scrape(host)
            # Now a scrape waits for the next daemon, as calls do.
            host.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "ivrd")
            scrape(host)
            assert caller.ask("finish") == {f"continued IVRD_STATUS=OK KEY=7 BY=second-{NEXT}": 20}
            # The socket goes with that of the shims, or the next scrape would start what was stopped.
            host.run("systemctl", "stop", "ivrd.socket", "ivrd.service")
            assert host.show("ivrd-metrics.socket", "ActiveState") == "inactive"
    host.run("systemctl", "start", "ivrd.socket", "ivrd.service")
    assert host.show("ivrd-metrics.socket", "ActiveState") == "inactive"
    scrape(host)


def test_without_network_metrics_come_through_the_socket(host: Host) -> None:
    with drop_in(host, "no-network.conf"):
        host.run("systemctl", "restart", "ivrd")
        scrape(host)
        with host.caller() as caller:
            assert caller.ask("call", app="prisoner")["variables"]["WORKED"] == "none"
    host.run("systemctl", "stop", "ivrd-metrics.socket")


def test_an_app_may_be_given_a_larger_tmp(host: Host) -> None:
    with drop_in(host, "tmp.conf"):
        host.run("systemctl", "restart", "ivrd")
        sizes = host.ask("nsenter", "-t", str(main_pid(host)), "-m", "df", "-BM", "--output=size", "/tmp", "/var/tmp")
        assert sizes.split()[1:] == ["4096M", "512M"]


def test_the_way_back_is_as_smooth(host: Host) -> None:
    with host.caller() as caller:
        assert caller.ask("hold", count=20) == 20
        host.run("/mnt/deploy/systemd/install", __version__)
        assert caller.ask("call", app="quick")["variables"]["BY"] == f"second-{__version__}"
        assert caller.ask("finish") == {f"continued IVRD_STATUS=OK KEY=7 BY=second-{NEXT}": 20}


def test_stop_leaves_nothing(host: Host) -> None:
    host.run("systemctl", "restart", "ivrd")
    assert len(host.processes("ivrd")) >= 6
    host.run("systemctl", "stop", "ivrd.socket", "ivrd.service")
    assert host.processes("ivrd") == []
    assert host.ask("find", "/run/ivrd", "-mindepth", "1") == ""
    assert host.show("ivrd.service", "Result") == "success"


def test_enabled_it_survives_a_reboot(host: Host) -> None:
    host.write("/etc/systemd/system/asterisk.service", ASTERISK)
    host.run("systemctl", "start", "ivrd.service")
    host.run("systemctl", "enable", "--now", "asterisk.service")
    host.reboot()
    until(lambda: host.show("ivrd.service", "ActiveState") == "active", what="the start at boot")
    with host.caller() as caller:
        assert caller.ask("call", app="quick")["outcome"].startswith("continued IVRD_STATUS=OK")
    # Asterisk always had somebody to take its calls: before the reboot when it came and when it went, and after it.
    until(lambda: len(host.ask("cat", "/var/lib/seen").split()) == 3, what="Asterisk's start")
    assert host.ask("cat", "/var/lib/seen").split() == ["active"] * 3


def test_uninstall_leaves_what_is_the_operators(host: Host) -> None:
    host.run("/mnt/deploy/systemd/uninstall")
    assert host.processes("ivrd") == []
    left = host.ask("sh", "-c", "find / -xdev -iname '*ivrd*' -not -path '/proc/*' -not -path '/mnt/*' | sort")
    assert set(left.split()) <= {"/etc/ivrd", "/etc/ivrd/ivrd.toml", "/etc/systemd/system/ivrd.service.d"}, left
