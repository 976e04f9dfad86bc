"""What an operator reads when something is wrong: a line, what, where, what to do; and nothing is left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import IVRD, Service, ServiceError

APP = "async def main(call):\n    pass\n"


def ivrd(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return run([*IVRD, *map(str, args)])


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)


# Its interpreter may be where nobody else can read: all is imported before it becomes somebody else.
AS_NOBODY = """
import os, sys
import ivrd.cli.serve, ivrd.config, ivrd.daemon.main, ivrd.daemon.signals
ivrd.config.load(sys.argv[-1])
os.setuid(65534)
ivrd.cli.main(sys.argv[1:])
"""


def config(directory: Path, apps: str = "", **server: str) -> Path:
    """A configuration in a directory, with an app that works unless said otherwise."""
    (directory / "good.py").write_text(APP)
    keys = {
        "socket": f"{directory}/ivrd.sock",
        "worker_socket": f"{directory}/workers.sock",
        "control_socket": f"{directory}/control.sock",
        "metrics": "",
        **server,
    }
    text = "[server]\nallow_users = []\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    apps = apps or '[apps.good]\nhandler = "good:main"'
    file = directory / "ivrd.toml"
    file.write_text(f'{text}{apps}\npath = "{directory}"\nworkers = 1\n')
    return file


def left_in(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir() if file.suffix == ".sock")


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("ivrd: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    ("apps", "words"),
    [
        ('[apps.a]\nhandler = "good:main"\nconcurency = 3', ("apps.a", "concurency", "concurrency")),
        ('[apps.a]\nhandler = "good"', ("apps.a.handler", "module:function")),
        ('[apps.a]\nhandler = "good:main"\nbackend = "twisted"', ("apps.a.backend", "asyncio", "trio")),
        ('[apps.a]\nhandler = "good:main"\nscript = "/x.py"', ("script", "not supported yet")),
        ("[apps.a\nhandler = 1", ("line",)),
    ],
)
def test_a_bad_configuration(tmp_path: Path, command: str, apps: str, words: tuple[str, ...]) -> None:
    done = ivrd(command, "--config", config(tmp_path, apps))
    assert done.returncode == 2
    line = one_line(done)
    assert all(word in line for word in ("ivrd.toml", *words)), line
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("command", ["serve", "check", "status", "calls", "reload", "drain"])
def test_a_missing_configuration(tmp_path: Path, command: str) -> None:
    done = ivrd(command, "--config", tmp_path / "nowhere.toml")
    assert done.returncode == 2
    assert "nowhere.toml" in one_line(done)


@pytest.mark.parametrize(
    ("handler", "source", "words"),
    [
        ("gone:main", "", ("gone", "ModuleNotFoundError")),
        ("bad:main", "import nothing_of_that_name\n", ("bad", "nothing_of_that_name")),
        ("bad:main", "1 / 0\n", ("ZeroDivisionError",)),
        ("bad:main", "raise SystemExit(3)\n", ("SystemExit",)),
        ("bad:main", "def other(call):\n    pass\n", ("main",)),
        ("bad:main", "main = 3\n", ("int",)),
        ("bad:main", "async def main():\n    pass\n", ("one argument",)),
        ("bad:main", "async def main(call):\n    yield\n", ("yield",)),
        ("bad:x.y", "x = 3\n", ("bad.x has no 'y'",)),
        ("bad:x.y", "class x:\n    y = property()\nx = x()\n", ("bad.x has no 'y'",)),
        ("bad:x.y", "class x:\n    y = property(lambda self: 1 / 0)\nx = x()\n", ("'y' of bad.x", "ZeroDivisionError")),
        ("bad:main", "raise RuntimeError('first\\n  second\\nthird')\n", ("RuntimeError: first second third;",)),
        ("bad:main", "raise RuntimeError\n", ("raised RuntimeError;",)),
        ("bad:main", "def main(call:\n", ("SyntaxError", "bad.py")),
    ],
)
def test_an_app_that_does_not_import(tmp_path: Path, handler: str, source: str, words: tuple[str, ...]) -> None:
    (tmp_path / "bad.py").write_text(source)
    file = config(tmp_path, f'[apps.a]\nhandler = "{handler}"')
    for command in ("check", "serve"):
        done = ivrd(command, "--config", file)
        assert done.returncode == 1
        line = one_line(done) if command == "check" else done.stderr.splitlines()[-1]
        assert all(word in line for word in ("a", *words)), done.stderr
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os\nos._exit(0)\n", "ended with status 0: an import must not"),
        ("import os\nos.abort()\n", "killed by signal 6: an import must not"),
    ],
)
def test_an_import_that_ends_its_process(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "bad.py").write_text(source)
    done = ivrd("check", "--config", config(tmp_path, '[apps.a]\nhandler = "bad:main"'))
    assert done.returncode == 1
    assert words in one_line(done)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def (:\n", "SyntaxError: invalid syntax (bad.py, line 1); mend it"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3; mend the module; an import must not end its process"),
        ("import no_such_module\n", "see that the app's path and the installed packages are right"),
    ],
)
def test_an_import_that_fails_says_where_to_look(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "bad.py").write_text(source)
    done = ivrd("check", "--config", config(tmp_path, '[apps.a]\nhandler = "bad:main"'))
    assert done.returncode == 1
    assert words in one_line(done)


def test_check_warns_of_a_directory_for_the_sockets_that_is_missing(tmp_path: Path) -> None:
    path = Path(config(tmp_path))
    path.write_text(path.read_text().replace(str(tmp_path / "control"), str(tmp_path / "elsewhere" / "control")))
    done = ivrd("check", "--config", str(path))
    assert done.returncode == 0
    assert "warning: server.control_socket: the directory" in one_line(done)
    assert done.stdout.endswith("1 app, 1 warning, otherwise well\n")


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (":", "handler ':': write module:function"),
        (":main", "handler ':main': write module:function"),
        ("menu", "or dial module:function"),
        ("menu.py", "or dial module:function"),
    ],
)
def test_what_cannot_be_dialled(tmp_path: Path, app: str, words: str) -> None:
    done = ivrd("dial", app, "--config", str(tmp_path / "none.toml"), "--keys", "1")
    assert done.returncode != 0
    assert words in one_line(done)


def test_check_says_that_all_is_well(tmp_path: Path) -> None:
    done = ivrd("check", "--config", config(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "all well" in done.stdout
    assert left_in(tmp_path) == []


def test_a_socket_that_is_served_already(tmp_path: Path) -> None:
    with Service('[apps.good]\nhandler = "good:main"\nworkers = 1', files={"good.py": APP}) as first:
        done = ivrd("serve", "--config", first.config_file)
        assert done.returncode == 1
        line = one_line(done)
        assert "served already" in line
        assert str(first.socket) in line
        assert first.status()["calls"] == {}  # the first one goes on


@pytest.mark.parametrize("key", ["socket", "worker_socket", "control_socket"])
def test_a_socket_directory_that_is_missing(tmp_path: Path, key: str) -> None:
    done = ivrd("serve", "--config", config(tmp_path, **{key: f"{tmp_path}/no/such.sock"}))
    assert done.returncode == 1
    assert f"{tmp_path}/no" in one_line(done)
    assert "create it" in one_line(done)


def test_a_file_in_the_sockets_place_is_kept(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    done = ivrd("serve", "--config", config(tmp_path, socket=f"{tmp_path}/precious"))
    assert done.returncode == 1
    assert "not a socket" in one_line(done)
    assert (tmp_path / "precious").read_text() == "data"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not")
def test_no_permission_for_the_socket(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents[:2]:
        os.chmod(parent, 0o755)
    done = run([sys.executable, "-c", AS_NOBODY, "serve", "--config", str(config(tmp_path))])
    assert done.returncode == 1, done.stderr
    assert "permission" in one_line(done)


def test_an_exporter_whose_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ivrd("serve", "--config", config(tmp_path, metrics=f"127.0.0.1:{port}"))
    assert done.returncode == 1
    assert str(port) in one_line(done)
    assert "in use" in one_line(done)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("command", [("status",), ("calls",), ("hangup", "x"), ("reload",), ("drain",)])
def test_a_daemon_that_is_not_there(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = ivrd(command[0], "--config", config(tmp_path), *command[1:])
    assert done.returncode == 1
    assert f"{tmp_path}/control.sock" in one_line(done)


def test_one_bad_app_does_not_hold_up_the_others(tmp_path: Path) -> None:
    apps = '[apps.good]\nhandler = "good:main"\nworkers = 1\n\n[apps.bad]\nhandler = "gone:main"\nworkers = 1'
    with Service(apps, files={"good.py": APP}) as service:
        (line,) = service.lines("app_not_started")
        assert line["app"] == "bad"
        assert "gone" in line["reason"]
        assert len(service.workers("good")) == 1


def test_serve_ends_when_no_app_starts() -> None:
    service = Service('[apps.bad]\nhandler = "gone:main"\nworkers = 2', files={})
    with pytest.raises(ServiceError, match="no app could be started"):
        service.__enter__()


@pytest.mark.parametrize(
    "broken", ["[apps.good]\nworkers = 3\n", "[apps.good\n", "[apps.new]\nhandler = 'x:y'\nnice = 1\n"]
)
def test_a_configuration_that_was_broken_meanwhile_is_the_daemons_to_refuse(broken: str) -> None:
    with Service('[apps.good]\nhandler = "good:main"', files={"good.py": APP}) as service:
        service.config_file.write_text(service.config_file.read_text() + broken)
        assert service.status()["pid"] == service.pid
        assert service.calls() == []
        done = service.ctl("reload")
        assert done.returncode == 1
        assert str(service.config_file) in one_line(done)
        assert [line["reason"] for line in service.lines("reload_failed")] == [one_line(done).removeprefix("ivrd: ")]
        # Whoever hides even that key is told where was looked.
        service.config_file.write_text("[server")
        assert "no daemon listens at /run/ivrd/control.sock" in one_line(service.ctl("status"))


def test_hanging_up_a_call_that_is_not_there() -> None:
    with Service('[apps.good]\nhandler = "good:main"\nworkers = 1', files={"good.py": APP}) as service:
        done = service.ctl("hangup", "nobody")
        assert done.returncode == 1
        assert "no live call 'nobody'" in done.stderr
