"""`install` and `uninstall` where something stands in their way: all of it is done, or a line says why nothing was.

The tests are one story in order, on one container: each goes on where the one before ended.
"""

from __future__ import annotations

import re

import pytest

from ivrd import __version__
from tests.service import until
from tests.systemd.conftest import INSTALL, NEXT, UNINSTALL, WHEELS, Host

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(240)]

CONFIG = """# The operator's own.
[server]
allow_users = []
[apps.menu]
handler = "menu:main"
lifespan = "menu:lifespan"
path = "/srv/ivr"
workers = 1
"""
OTHER = """
[apps.other]
handler = "other:main"
path = "/srv/ivr"
"""
APP = """
from contextlib import asynccontextmanager
from ivrd import __version__

@asynccontextmanager
async def lifespan():
    yield

async def main(call):
    await call.set(BY=__version__)
"""
GREETING = "import greeting\n" + APP.replace("BY=__version__", "BY=__version__, GREETING=greeting.TEXT")
# Its import is in order, so that `ivrd check` sees nothing; its lifespan is not, under the next version.
FAILS_LATER = APP.replace("    yield", f"    assert __version__ != '{NEXT}', 'no database'\n    yield")
# A reload under the next version waits for a file.
HOLDS_THE_RELOAD = "import asyncio, os\n" + APP.replace(
    "    yield",
    f"""
    while __version__ == '{NEXT}' and not os.path.exists('/srv/ivr/go'):
        await asyncio.sleep(0.1)
    yield""",
)
HOLD = """
[apps.hold]
handler = "hold:main"
path = "/srv/ivr"
workers = 1
"""
HOLDS = """
async def main(call):
    await call.digits("beep", max=1, timeout=600)
"""
CURRENT = "/opt/ivrd/current"
HOUSE = "/srv/house"  # the wheels of ivrd's needs and of one thing more
# A wheel by hand, made inside.
WHEEL = """
import sys, zipfile
name, version = sys.argv[2:]
with zipfile.ZipFile(f"{sys.argv[1]}/{name}-{version}-py3-none-any.whl", "w") as wheel:
    about = f"{name}-{version}.dist-info"
    wheel.writestr(f"{name}.py", f"TEXT = 'hello {version}'")
    wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(f"{about}/RECORD", "")
"""


def in_force(host: Host) -> tuple[str, str]:
    """The version that `current` points to, and the main process."""
    return host.ask("readlink", CURRENT), host.show("ivrd.service", "MainPID")


def environments(host: Host) -> set[str]:
    return set(host.ask("ls", "/opt/ivrd").split())


def refused(host: Host, *command: str) -> list[str]:
    """What a command that has to fail says."""
    done = host.run(*command, check=False, timeout=110)
    assert done.returncode == 1, done.stdout
    return done.stderr.splitlines()


def variables(host: Host) -> dict[str, str]:
    with host.caller() as caller:
        answer = caller.ask("call", app="menu")
    assert answer["outcome"].startswith("continued IVRD_STATUS=OK"), answer
    return {name: value for name, value in answer["variables"].items() if name != "IVRD_STATUS"}


def test_root_is_needed(host: Host) -> None:
    for command in ([INSTALL, "1.0"], [UNINSTALL]):
        (line,) = refused(host, "runuser", "-u", "nobody", "--", *command)
        assert line == f"{command[0].rpartition('/')[2]}: this needs root"
    assert host.run("test", "-e", "/opt/ivrd", check=False).returncode == 1


def test_the_operators_configuration_and_app_are_kept(host: Host) -> None:
    host.write("/etc/ivrd/ivrd.toml", CONFIG)
    host.write("/srv/ivr/menu.py", APP)
    host.write("/srv/ivr/other.py", APP)
    said = host.run(*host.install(__version__), timeout=110).stdout
    assert "writing an example" not in said
    assert host.run("cat", "/etc/ivrd/ivrd.toml", "/srv/ivr/menu.py").stdout == CONFIG + APP
    assert variables(host) == {"BY": __version__}


@pytest.mark.parametrize("name", ["current", ".", "..", "", "98.1", f"../ivrd/{__version__}", f"{__version__}/", "/"])
def test_what_is_no_installed_version_is_refused_in_a_line(host: Host, name: str) -> None:
    before = in_force(host)
    (line,) = refused(host, INSTALL, name)
    assert line.rstrip() == f"install: '{name}' is not an installed version; these are: {__version__}"
    assert in_force(host) == before


@pytest.mark.parametrize("apps", [["menu"], ["menu", "other"]], ids=["all", "one"])
def test_a_version_whose_apps_do_not_start_tells_the_way_back(host: Host, apps: list[str]) -> None:
    host.write("/etc/ivrd/ivrd.toml", CONFIG if len(apps) == 1 else CONFIG + OTHER)
    host.write("/srv/ivr/menu.py", FAILS_LATER)
    host.run("systemctl", "reload", "ivrd")
    *_, line = refused(host, *(host.install(NEXT) if len(apps) == 1 else [INSTALL, NEXT]))
    said = re.fullmatch(
        r"install: ivrd (\S+) does not (?:start|serve app menu: .*); see: journalctl -u ivrd; back to (\S+): (.+)", line
    )
    assert said, line
    assert said.group(1, 2) == (NEXT, __version__)
    assert "no database" in host.journal()
    assert f"ivrd {__version__} serves" in host.ask(*said[3].split())
    assert variables(host) == {"BY": __version__}


def test_a_reload_is_no_reason_to_stay_with_the_old_version(host: Host) -> None:
    host.write("/srv/ivr/menu.py", APP)
    assert f"ivrd {NEXT} serves" in host.ask(INSTALL, NEXT)
    host.write("/srv/ivr/menu.py", HOLDS_THE_RELOAD)
    left, before = in_force(host)
    with host.start("systemctl", "reload", "ivrd") as reload:
        until(lambda: host.show("ivrd.service", "ActiveState") == "reloading", what="the reload")
        said = host.ask(INSTALL, __version__)
        reload.communicate(timeout=60)
    assert f"handing over to {__version__}" in said
    now, after = in_force(host)
    assert now == __version__
    assert after != before
    assert variables(host) == {"BY": __version__}
    host.write("/srv/ivr/go", "")
    commands = ["sh", "-c", "cat /proc/[0-9]*/cmdline"]
    until(lambda: f"/opt/ivrd/{left}/" not in host.run(*commands, check=False).stdout, what="the old workers' end")


def test_the_same_wheel_once_more_changes_nothing(host: Host) -> None:
    before = in_force(host)
    for command in (host.install(__version__), [INSTALL, __version__]):
        assert "nothing is new" in host.ask(*command)
        assert in_force(host) == before
    assert environments(host) == {__version__, NEXT, "current"}


def test_where_the_check_fails_the_old_version_stays(host: Host) -> None:
    before = in_force(host)
    host.write("/srv/ivr/menu.py", GREETING)  # which the workers that run have not seen yet
    host.write("/srv/others.txt", "h11\n")
    *_, why, line = refused(host, *host.install(NEXT, "--requirement", "/srv/others.txt"))
    assert "No module named 'greeting'" in why
    assert line.startswith(f"install: version {NEXT}-2 cannot serve /etc/ivrd/ivrd.toml, so nothing was switched over")
    assert in_force(host) == before
    assert environments(host) == {__version__, NEXT, "current"}
    assert variables(host) == {"BY": __version__}


def test_what_apps_require_comes_with_the_version(host: Host) -> None:
    host.write("/srv/wheel.py", WHEEL)
    host.run("sh", "-c", f"mkdir {HOUSE} && cp {WHEELS}/*.whl {HOUSE}")
    for version in ("1.0", "2.0"):
        host.run("python3", "/srv/wheel.py", HOUSE, "greeting", version)
    host.write("/srv/ours.txt", "greeting < 2\n")
    (line,) = refused(host, *host.install(NEXT, "--requirement", "/srv/theirs.txt", find_links=HOUSE))
    assert line == "install: there is no file /srv/theirs.txt"
    (line,) = refused(host, INSTALL, "--requirement", "/srv/ours.txt", __version__)
    assert line == f"install: --requirement goes with a wheel: {__version__} stays what it is"
    command = host.install(NEXT, "--requirement", "/srv/ours.txt", find_links=HOUSE)
    assert f"ivrd {NEXT}-2 serves" in host.run(*command, timeout=110).stdout
    assert variables(host) == {"BY": NEXT, "GREETING": "hello 1.0"}
    assert "nothing is new" in host.ask(*command)


def test_other_requirements_get_an_environment_of_their_own(host: Host) -> None:
    host.write("/etc/ivrd/requirements.txt", "greeting\n")
    command = host.install(NEXT, find_links=HOUSE)
    said = host.run(*command, timeout=110).stdout
    assert f"making /opt/ivrd/{NEXT}-3, with what /etc/ivrd/requirements.txt asks for" in said
    assert variables(host) == {"BY": NEXT, "GREETING": "hello 2.0"}
    assert "nothing is new" in host.ask(*command)
    assert f"ivrd {NEXT}-2 serves" in host.ask(INSTALL, f"{NEXT}-2")
    assert variables(host) == {"BY": NEXT, "GREETING": "hello 1.0"}
    # What it was made of is known, wherever it is.
    assert f"ivrd {NEXT}-3 serves" in host.ask(*command)
    assert environments(host) == {__version__, NEXT, f"{NEXT}-2", f"{NEXT}-3", "current"}


def test_an_install_that_was_cut_short_leaves_no_trace(host: Host) -> None:
    before = in_force(host)
    host.write("/etc/ivrd/requirements.txt", "greeting\n# once more\n")
    command = host.install(NEXT, find_links=HOUSE)
    half = f"/opt/ivrd/{NEXT}-4"
    # Killed as a whole, as by a power cut, or by a signal that it hears.
    for signal in ("KILL", "TERM"):
        with host.start("setsid", "--wait", "sh", "-c", 'echo $$ > /run/install; exec "$@"', "sh", *command) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(f"install: making {half}")
            until(lambda: host.run("test", "-e", f"{half}/bin/pip", check=False).returncode == 0, what="its beginning")
            (line,) = refused(host, *command)
            assert line == "install: another install is at work"
            host.run("sh", "-c", f"kill -{signal} -$(cat /run/install)")
            process.communicate(timeout=60)
        assert in_force(host) == before
        assert (f"{NEXT}-4" in environments(host)) == (signal == "KILL")
        (line,) = refused(host, INSTALL, f"{NEXT}-4")
        assert line.startswith(f"install: '{NEXT}-4' is not an installed version")
    assert f"ivrd {NEXT}-4 serves" in host.run(*command, timeout=110).stdout


def test_nothing_is_removed_while_anything_runs(host: Host) -> None:
    host.write("/etc/ivrd/ivrd.toml", CONFIG + HOLD)
    host.write("/srv/ivr/hold.py", HOLDS)
    host.write("/srv/ivr/menu.py", APP)
    host.run("systemctl", "reload", "ivrd")
    with host.caller() as caller:
        assert caller.ask("hold", count=1) == 1
        # Somebody starts it while it drains.
        with host.start(UNINSTALL) as process:
            until(lambda: host.show("ivrd.service", "ActiveState") == "deactivating", what="the stop")
            host.run("systemctl", "start", "--no-block", "ivrd.service")
            said, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        line = "uninstall: ivrd was not stopped, so nothing was removed; see: systemctl status ivrd"
        assert said.splitlines()[-1] == line
        # Somebody kills it while it drains: the worker still has the call.
        with host.start(UNINSTALL) as process:
            until(lambda: "stop" in host.ask("systemctl", "list-jobs", "--no-legend"), what="the stop")
            host.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "ivrd")
            said, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        line = "uninstall: processes of user ivrd still run, with calls perhaps, so nothing was removed; wait for: "
        assert said.splitlines()[-1].startswith(line)
        left = said.rpartition(": ")[2].split()
        assert set(host.processes("ivrd")) <= {int(pid) for pid in left}
        assert host.ask("readlink", "-f", "/usr/bin/ivrd-shim") == f"/opt/ivrd/{in_force(host)[0]}/bin/ivrd-shim"
        assert caller.ask("finish") == {"continued IVRD_STATUS=OK": 1}
    # They go by themselves, but not at once: their daemon might come back.
    host.run("sh", "-c", f"kill {' '.join(left)} || true")
    until(lambda: not host.processes("ivrd"), what="the workers' end")
    host.run(UNINSTALL)
    assert host.run("test", "-e", "/opt/ivrd", check=False).returncode == 1
    # Nothing is in the way of a second time, nor of a first one.
    host.run(UNINSTALL, "--purge")
    assert host.run("test", "-e", "/etc/ivrd", check=False).returncode == 1
    assert host.run("id", "ivrd", check=False).returncode == 1
    host.run(UNINSTALL)
