"""The keys of ivrd.toml: defaults, documentation, and what is derived from a key that is right."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

import pytest

from ivrd.config import App, ConfigError, Server, app_for_function, config_for_function, document, load, parse

EXAMPLE = Path(__file__).parents[2] / "deploy" / "ivrd.example.toml"
MENU = "[apps.menu]\nhandler = 'menu:main'\n"


def app(lines: str) -> App:
    return parse(MENU + lines, "x.toml").apps["menu"]


def test_the_example_holds_exactly_the_defaults_and_every_key() -> None:
    read = load(EXAMPLE)
    assert read.server == Server()
    assert read.apps == {"menu": App(handler="menu:main")}
    text = EXAMPLE.read_text()
    for key in document():
        assert re.search(rf"^(# )?{key.name} = ", text, re.MULTILINE), f"{key.name} is not in the example"


def test_the_example_with_its_commented_keys_parses(tmp_path: Path) -> None:
    text = re.sub(
        r"^# (lifespan|path|min_workers|max_workers|spare_slots|shrink_after) =",
        r"\1 =",
        EXAMPLE.read_text(),
        flags=re.MULTILINE,
    )
    text = text.replace('"/srv/ivr"', f'"{tmp_path}"').replace("\nworkers = 2\n", "\n")
    menu = parse(text, "x.toml").apps["menu"]
    assert (menu.lifespan, menu.path) == ("menu:lifespan", str(tmp_path))
    assert (menu.pool_min, menu.pool_max, menu.spare_slots) == (2, 8, 100)


def test_each_key_is_documented() -> None:
    keys = document()
    assert [key.name for key in keys if key.section == "server"] == list(Server.__struct_fields__)
    assert [key.name for key in keys if key.section == "apps.NAME"] == list(App.__struct_fields__)
    for key in keys:
        assert len(key.description) > 20, key
        assert key.description.endswith("."), key
    by_name = {key.name: key for key in keys}
    assert by_name["queue_timeout"].unit == "seconds"
    assert by_name["min_workers"].unit == "workers"
    assert by_name["backend"].type == "'asyncio' or 'trio'"
    assert by_name["allow_users"].default == '["asterisk"]'
    assert [key.name for key in keys if key.required] == ["handler"]


def test_what_is_off_by_default_may_be_written_out_as_off() -> None:
    assert app("lifespan = ''\npath = ''\nmax_memory = ''") == app("")


def test_the_keys_that_a_file_sets_are_known() -> None:
    read = parse(f"[server]\nmax_calls = 9\n{MENU}queue = 100\n[apps.'a.b']\nhandler = 'a:b'\n", "x.toml")
    assert read.given == (
        ("server", "max_calls"),
        ("apps", "menu", "handler"),
        ("apps", "menu", "queue"),
        ("apps", "a.b", "handler"),
    )
    assert read.source == "x.toml"


def test_a_pool_is_fixed_or_elastic() -> None:
    assert (app("").pool_min, app("").pool_max) == (2, 2)
    fixed, elastic = app("workers = 3"), app("min_workers = 1\nmax_workers = 4\nspare_slots = 50\nshrink_after = 9")
    assert (fixed.pool_min, fixed.pool_max) == (3, 3)
    assert (elastic.pool_min, elastic.pool_max, elastic.spare_slots, elastic.shrink_after) == (1, 4, 50, 9)


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("512 MiB", 512 * 1024**2), ("1.5GiB", 3 * 1024**3 // 2), ("64000 kB", 64_000_000), ("16 MiB", 2**24)],
)
def test_memory_sizes(text: str, size: int) -> None:
    assert app(f"max_memory = '{text}'").max_memory_bytes == size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", None),
        ("127.0.0.1:9949", ("127.0.0.1", 9949)),
        ("[::1]:0", ("::1", 0)),
        ("host-1.lan:65535", ("host-1.lan", 65535)),
    ],
)
def test_metrics_addresses(text: str, address: tuple[str, int] | None) -> None:
    assert parse(f"[server]\nmetrics = '{text}'\n{MENU}").server.metrics_address == address


def test_relative_paths_count_from_the_files_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "apps").mkdir()
    file = tmp_path / "etc" / "ivrd.toml"
    file.write_text(f"[server]\nsocket = 'i.sock'\n{MENU}path = '../apps'\n")
    monkeypatch.chdir(tmp_path)
    read = load("etc/ivrd.toml")
    assert read.server.socket == str(tmp_path / "etc" / "i.sock")
    assert read.apps["menu"].path == str(tmp_path / "apps")
    assert read.server.worker_socket == "/run/ivrd/workers.sock"


def test_allowed_users_by_name_and_number() -> None:
    server = Server(allow_users=("daemon", 4711, "no-such-user"))
    user = os.geteuid()
    own = pwd.getpwnam("nobody").pw_uid if user == 0 else user  # root's own number would prove nothing
    os.seteuid(own)
    try:
        uids, warnings = server.allowed_uids()
    finally:
        os.seteuid(user)
    assert uids == {0, own, pwd.getpwnam("daemon").pw_uid, 4711}
    (warning,) = warnings
    assert warning.startswith("server.allow_users: this machine has no user 'no-such-user'")


def test_a_byte_order_mark_and_windows_line_ends_are_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "ivrd.toml"
    file.write_bytes(b"\xef\xbb\xbf" + MENU.replace("\n", "\r\n").encode())
    assert list(load(file).apps) == ["menu"]


def test_a_configuration_from_just_a_function() -> None:
    made = config_for_function("shop.menu:main", backend="trio", max_duration=60)
    assert made.apps == {
        "shop.menu": App(handler="shop.menu:main", path=os.getcwd(), backend="trio", max_duration=60.0)
    }
    assert app_for_function("menu:main", path="").path == ""
    with pytest.raises(ConfigError, match=r"^command line: apps\.menu\.handler: 'menu' will not do; give it as"):
        app_for_function("menu")
    with pytest.raises(ConfigError, match="did you mean 'backend'"):
        app_for_function("menu:main", backnd="trio")
