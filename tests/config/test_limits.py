"""What is computed from a configuration: descriptors, restarts, keys without effect."""

from __future__ import annotations

import re
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.config import (
    NOT_YET,
    App,
    Config,
    Server,
    check_descriptors,
    descriptors_needed,
    document,
    needs_restart,
    parse,
    without_effect,
)

MENU = "[apps.menu]\nhandler = 'menu:main'\n"


def test_descriptors() -> None:
    small = parse(f"[server]\nmax_calls = 1000\n{MENU}workers = 1\nconcurrency = 50\nqueue = 10\n", "x.toml")
    needed = 1000 * 3 + 60 + 2 * 4 + 256
    assert descriptors_needed(small) == needed
    assert check_descriptors(small, needed, needed) is None
    assert check_descriptors(small, resource.RLIM_INFINITY, resource.RLIM_INFINITY) is None
    assert check_descriptors(small, 1024, needed) == (
        f"x.toml: server.max_calls: 1000 calls need {needed} descriptors, the soft limit is 1024; "
        f"raise it with ulimit -Sn {needed}, which the hard limit allows"
    )
    assert check_descriptors(small, 64, 64) == (
        f"x.toml: server.max_calls: 1000 calls need {needed} descriptors, the hard limit is 64; "
        f"raise LimitNOFILE= of the unit (ulimit -Hn) to {needed}, or have fewer workers"
    )


@given(
    calls=st.integers(1, 10_000),
    places=st.integers(1, 5_000),
    limit=st.integers(300, 30_000),
)
def test_the_number_of_calls_that_is_advised_is_the_largest_that_fits(calls: int, places: int, limit: int) -> None:
    apps = {"a": App(handler="a:b", workers=1, concurrency=places, queue=0)}
    message = check_descriptors(Config(server=Server(max_calls=calls), apps=apps), limit, limit)
    if message is not None:
        (fits,) = map(int, re.findall(r"max_calls = (\d+) or less", message))
        assert descriptors_needed(Config(server=Server(max_calls=fits), apps=apps)) <= limit
        assert descriptors_needed(Config(server=Server(max_calls=fits + 1), apps=apps)) > limit


def test_only_sockets_need_a_restart() -> None:
    old = parse(MENU)
    new = parse(f"[server]\nsocket = '/a'\nmetrics = ''\nmax_calls = 9\nlog_level = 'debug'\n{MENU}workers = 5\n")
    assert needs_restart(old, old) == []
    assert needs_restart(old, new) == ["server.socket", "server.metrics"]


def test_keys_without_effect_are_named_only_where_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NOT_YET, "apps.NAME.max_age", "workers are not recycled by age")
    read = parse(f"{MENU}[apps.b]\nhandler = 'b:c'\nmax_age = 1\n")
    assert without_effect(read.given) == ["apps.b.max_age: has no effect yet: workers are not recycled by age"]
    assert without_effect(parse(MENU).given) == []


def test_the_keys_without_effect_are_keys() -> None:
    assert NOT_YET.keys() <= {f"{key.section}.{key.name}" for key in document()}
