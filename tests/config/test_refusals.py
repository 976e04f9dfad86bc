"""What a configuration may not hold.

The rule that holds here: a refusal is checked by its text, since that is what an operator reads.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from ivrd.config import ConfigError, InvalidConfig, load, parse

MENU = "[apps.menu]\nhandler = 'menu:main'\n"


def problems(text: str, source: str = "x.toml") -> list[str]:
    """What is wrong with a configuration, each line checked for its form and stripped of the source."""
    with pytest.raises(InvalidConfig) as caught:
        parse(text, source)
    assert str(caught.value).split("\n") == caught.value.problems
    assert all(line.startswith("x.toml: ") and line.isprintable() for line in caught.value.problems)
    return [line.removeprefix("x.toml: ") for line in caught.value.problems]


def in_server(line: str) -> list[str]:
    return problems(f"[server]\n{line}\n{MENU}")


def in_app(lines: str) -> list[str]:
    return problems(MENU + lines)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[sever]\n", "sever: unknown key; did you mean 'server'?"),
        ("max_calls = 1\n", "max_calls: unknown key; give [server] and [apps.NAME] tables"),
        ("[server]\nmax-calls = 1\n", "server.max-calls: unknown key; did you mean 'max_calls'?"),
        ("[server]\nworkers = 1\n", "server.workers: unknown key; it belongs into [apps.NAME]"),
        ("[server]\n'a\\nb' = 1\n", "server.'a\\\\nb': unknown key; the keys here are socket, worker_socket, "),
        ("[apps.menu]\nHANDLER = 'a:b'\nhandler = 'a:b'\n", "apps.menu.HANDLER: unknown key; did you mean 'handler'?"),
        ("[apps.menu]\nhandler = 'a:b'\nmetrics = ''\n", "apps.menu.metrics: unknown key; it belongs into [server]"),
        ("server = 3\n", "server: 3 is no table; give its keys in [server]"),
        ("[[server]]\nmax_calls = 1\n", "server: [a table] is no table; give its keys in [server]"),
        ("apps = 3\n", "apps: 3 is no table; give one [apps.NAME] table for each app"),
        ("apps.menu = 3\n", "apps.menu: 3 is no table; give its keys in [apps.menu]"),
        ("[apps.menu]\nqueue = 1\n", "apps.menu.handler: missing; give handler = 'module:function'"),
        ("[apps]\n", "no app is configured; add a table such as [apps.menu] with handler = 'menu:main'"),
        ("# nothing\n", "the configuration is empty; add a table such as [apps.menu]"),
        ("[[listen]]\nport = 1\n", "listen: listening for ivr:// calls is not supported yet; take [[listen]] out"),
        ("[apps.x]\nscript = 'a'\n", "apps.x.script: running a script is not supported yet; give handler ="),
        ("[apps.x]\ncommand = ['a']\n", "apps.x.command: running a command is not supported yet; give handler ="),
        ("a = [1\n2", "line 2, column 1: Unclosed array; mend the TOML there"),
        ("a =", "end of document: Invalid value; mend the TOML there"),
        ("[server]\n[server]\n", "line 2, column 8: Cannot declare ('server',) twice; mend the TOML there"),
        ("a = " + "[" * 50_000, "arrays or tables nested too deeply; ivrd needs two levels"),
        ("a = " + "9" * 5_000, "a number of thousands of digits; give one that a key can take"),
        ("a = '\ud800'", "not UTF-8 text; save the file as UTF-8"),
        ("#" * 1024 * 1025, "larger than 1048576 bytes; give the path of ivrd's TOML file"),
    ],
)
def test_structure(text: str, line: str) -> None:
    assert problems(text)[0].startswith(line)


@pytest.mark.parametrize(
    ("line", "shown", "mend"),
    [
        ("max_calls = 0", "0", "give a whole number from 1 to 1000000"),
        ("max_calls = true", "true", "give a whole number from 1 to 1000000"),
        ("max_calls = 1e3", "1000.0", "give a whole number from 1 to 1000000"),
        (f"max_calls = {'9' * 4000}", "a number of more than 77 digits", "give a whole number from 1 to 1000000"),
        ("drain_timeout = -0.1", "-0.1", "give a number from 0 to 31536000 (seconds)"),
        ("drain_timeout = inf", "inf", "give a number from 0 to 31536000 (seconds)"),
        ("close_timeout = nan", "nan", "give a number above 0, to 31536000 (seconds)"),
        ("close_timeout = 0", "0", "give a number above 0, to 31536000 (seconds)"),
        ("close_timeout = '5'", "'5'", "give a number above 0, to 31536000 (seconds)"),
        ("log_format = 'xml'", "'xml'", "give '' or 'console' or 'json'"),
        ("log_level = 3", "3", "give 'debug' or 'error' or 'info' or 'warning'"),
        ("metrics = 'localhost'", "'localhost'", "give HOST:PORT with a port of 0 to 65535, such as"),
        ("metrics = 'a:65536'", "'a:65536'", "give HOST:PORT with a port of 0 to 65535, such as"),
        ("metrics = '::1:80'", "'::1:80'", "give HOST:PORT with a port of 0 to 65535, such as"),
        ("allow_users = 'asterisk'", "'asterisk'", "give an array, each item a string or a whole number"),
        ("allow_users = [true]", "[true]", "give an array, each item a string or a whole number"),
        ("allow_users = [-1]", "[-1]", "give user names, or numbers from 0 to 4294967294"),
        ("allow_users = ['']", "['']", "give user names such as 'asterisk', or numbers"),
        ("socket = ''", "''", "give the path of a Unix socket, such as '/run/ivrd/ivrd.sock'"),
        ("socket = '/run/'", "'/run/'", "give the path of a Unix socket, such as '/run/ivrd/ivrd.sock'"),
        ('socket = "/a\\u0000"', "'/a\\x00'", "give the path of a Unix socket, such as '/run/ivrd/ivrd.sock'"),
        (
            "socket = '/run/ivrd/workers.sock'",
            None,
            "'/run/ivrd/workers.sock' is the path of socket; give each socket its own",
        ),
        (f"control_socket = '/{'s' * 107}'", f"'/{'s' * 55}...", "give a path of at most 107 bytes: more does not fit"),
    ],
)
def test_server_values(line: str, shown: str | None, mend: str) -> None:
    (problem,) = in_server(line)
    key = "worker_socket" if shown is None else line.split(" ", maxsplit=1)[0]
    assert problem.startswith(f"server.{key}: {f'{shown} will not do; ' if shown is not None else ''}{mend}")


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        ("lifespan = 'menu'", "give it as 'module:function', both of them dotted Python names, such as 'menu:main'"),
        ("lifespan = 'menu:'", "give it as 'module:function'"),
        ("lifespan = ':main'", "give it as 'module:function'"),
        ("lifespan = 'menu:main()'", "give it as 'module:function'"),
        ("lifespan = 'a.class:b'", "give it as 'module:function'"),
        ("lifespan = 'a..b:c'", "give it as 'module:function'"),
        ("lifespan = 'a:b:c'", "give it as 'module:function'"),
        ("backend = 'Trio'", "give 'asyncio' or 'trio'"),
        ("workers = 0", "give a whole number from 1 to 1024"),
        ("workers = -2", "give a whole number from 1 to 1024"),
        ("concurrency = 0", "give a whole number from 1 to 100000"),
        ("queue = -1", "give a whole number from 0 to 1000000"),
        ("queue_timeout = inf", "give a number above 0, to 31536000 (seconds)"),
        ("on_overload = 'retry'", "give 'exit' or 'hangup'"),
        ("on_crash = 'restart'", "give 'exit' or 'hangup' or 'retry'"),
        ("on_error = ''", "give 'exit' or 'hangup'"),
        ("on_timeout = false", "give 'exit' or 'hangup'"),
        ("max_duration = -1", "give a number from 0 to 31536000 (seconds)"),
        ("max_age = 31536001", "give a number from 0 to 31536000 (seconds)"),
        ("max_calls_per_worker = -1", "give a whole number from 0 to 1000000000"),
        ("max_memory = 512", "give a string"),
        ("max_memory = '512'", "give a number and one of kB, MB, GB, TB, KiB, MiB, GiB, TiB, such as '512 MiB', or ''"),
        ("max_memory = '-1 GiB'", "give a number and one of kB"),
        ("max_memory = '15 MiB'", "give 16 MiB to 1024 TiB (a worker that holds no call takes more than 16 MiB)"),
        ("max_memory = '99999999 TiB'", "give 16 MiB to 1024 TiB"),
        (
            "allow_functions = ['CALLERID(num)']",
            "give names of dialplan functions without brackets, such as 'CALLERID'",
        ),
        ("allow_functions = ['CDR', 'A,B']", "give names of dialplan functions without brackets"),
        ("set_call_id = 1", "give true or false"),
        ("path = 'nowhere'", f"'{os.getcwd()}/nowhere' does not exist"),
        ("path = 'LICENSE'", f"'{os.getcwd()}/LICENSE' is not a directory; give the directory that holds"),
        ('path = "a\\u0000"', f"'{os.getcwd()}/a\\x00' does not exist"),
    ],
)
def test_app_values(line: str, mend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    (problem,) = in_app(line)
    key = line.split(" ", maxsplit=1)[0]
    assert problem.startswith(f"apps.menu.{key}: ")
    assert f" will not do; {mend}" in problem


@pytest.mark.parametrize(
    "handler", ["", "menu", "menu.main", "1menu:main", "menu:main ", "menu-a:main", "./menu.py:main"]
)
def test_handlers(handler: str) -> None:
    (problem,) = problems(f"[apps.menu]\nhandler = '{handler}'\n")
    assert problem.startswith(f"apps.menu.handler: '{handler}' will not do; give it as 'module:function'")


@pytest.mark.parametrize("name", ["''", "'a b'", "'a,b'", "'-x'", "'a:b'", "'ä'", '"a\\n"', "x" * 65])
def test_app_names(name: str) -> None:
    parse(f"[apps.{'x' * 64}]\nhandler='a:b'\n[apps.'a.B_1-']\nhandler='a:b'\n")
    (problem,) = problems(f"[apps.{name}]\nhandler = 'a:b'\n")
    assert " will not do; give an app name of 1 to 64 ASCII letters, digits" in problem


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            "workers = 2\nmin_workers = 1\nmax_workers = 2",
            "workers: goes against min_workers; give workers, or min_workers and max_workers",
        ),
        ("min_workers = 1", "max_workers: missing beside min_workers; an elastic pool needs both"),
        ("max_workers = 1", "min_workers: missing beside max_workers; an elastic pool needs both"),
        ("min_workers = 3\nmax_workers = 2", "max_workers: 2 is less than min_workers = 3; give at least 3"),
        ("min_workers = 0\nmax_workers = 2", "min_workers: 0 will not do; give a whole number from 1 to 1024"),
        (
            "spare_slots = 9",
            "spare_slots: a pool of fixed size keeps none; give min_workers and max_workers, or take it out",
        ),
    ],
)
def test_pools(lines: str, problem: str) -> None:
    assert in_app(lines) == [f"apps.menu.{problem}"]


def test_a_feature_that_is_not_built_is_the_only_complaint() -> None:
    assert len(problems("[apps.x]\nscript = 'a'\n")) == 1


def test_all_problems_are_told_at_once_and_unknown_keys_first() -> None:
    told = problems("[server]\nmax_calls = 0\n[apps.menu]\nhandler = 'x'\nworkrs = 2\n[apps.b]\nqueue = -1\n")
    assert [line.split(": ")[0] for line in told] == [
        "apps.menu.workrs",
        "server.max_calls",
        "apps.menu.handler",
        "apps.b.queue",
        "apps.b.handler",
    ]


def unreadable(path: Path | str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    fifo, latin, large = tmp_path / "fifo", tmp_path / "latin.toml", tmp_path / "large.toml"
    os.mkfifo(fifo)
    latin.write_bytes(b"\n# caf\xe9\n")
    large.write_bytes(b"\xff" * (1024 * 1024 + 1))
    assert (
        unreadable(tmp_path / "no") == f"{tmp_path}/no: there is no such file; write one, or name it with --config FILE"
    )
    assert unreadable(tmp_path) == f"{tmp_path}: is a directory; give the path of ivrd's TOML file"
    assert unreadable(fifo) == f"{fifo}: is no regular file; give the path of ivrd's TOML file"
    assert unreadable("/dev/zero") == "/dev/zero: is no regular file; give the path of ivrd's TOML file"
    assert unreadable(latin) == f"{latin}: line 2: not UTF-8 text; save the file as UTF-8"
    assert unreadable(large) == f"{large}: larger than 1048576 bytes; give the path of ivrd's TOML file"
    assert unreadable("a\nb").startswith("'a\\nb': there is no such file")
    assert unreadable("a\0b").startswith("'a\\x00b': cannot be read (embedded null byte); name a readable file")
    assert unreadable(latin / "x").startswith(f"{latin}/x: cannot be read (Not a directory); name a readable file")


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "ivrd.toml"
    file.write_text(MENU)
    file.chmod(0)
    user = os.geteuid()
    reader = pwd.getpwnam("nobody").pw_uid if user == 0 else user  # root may read everything
    os.seteuid(reader)
    try:
        message = unreadable(file)
    finally:
        os.seteuid(user)
    assert message.startswith(f"{file}: user {reader} may not read it; give that user the right")
