"""Whatever a file holds, what comes out is a right configuration or lines that say what is wrong."""

from __future__ import annotations

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ivrd.config import Config, InvalidConfig, document, parse
from ivrd.config.load import _Check

_KEYS = st.sampled_from(["server", "apps", "listen", *(key.name for key in document())]) | st.text(max_size=5)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 9).map(lambda power: 10 ** (power * 100))
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["a:b", "512 MiB", "[::1]:9", "exit", "trio", "/a"])
    | st.datetimes()
    | st.dates()
    | st.times()
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5), max_leaves=20
)
_TABLES = st.dictionaries(_KEYS, _VALUES, max_size=6)
_DOCUMENTS = (
    st.fixed_dictionaries(
        {}, optional={"server": _TABLES | _VALUES, "apps": st.dictionaries(_KEYS, _TABLES, max_size=3) | _VALUES}
    )
    | _TABLES
)


@settings(max_examples=300, deadline=None)
@given(_DOCUMENTS)
@example({"apps": {"menu": {"handler": "menu:main"}}})
def test_any_mapping_is_a_configuration_or_a_list_of_lines(mapping: dict[str, object]) -> None:
    try:
        made = _Check("x.toml", "/").config(mapping)
    except InvalidConfig as error:
        assert error.problems
        assert all(line.isprintable() for line in error.problems)
    else:
        assert made.apps
        assert msgspec.convert(msgspec.to_builtins(made), Config) == made  # every constraint holds


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(["[", "]", "=", "\n", "'", '"', ".", "apps", "a", "1"])).map("".join)
)
def test_any_text_is_a_configuration_or_a_list_of_lines(text: str) -> None:
    try:
        parse(text, "x.toml")
    except InvalidConfig as error:
        assert all(line.startswith("x.toml: ") and line.isprintable() for line in error.problems)
