"""The pytest plugin: fixture `ivr`, a telephone to the app under test.

The rule that holds here: it takes part only in tests that ask for `ivr`, and asks nothing of other plugins. The app has
an event loop of its own, so a test may be run by anyio, pytest-trio or pytest-asyncio; where none of them runs an
`async def` test, this plugin does.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    # All of ivrd is imported by the tests that use it, not by every run of pytest on this machine.
    from ivrd.config import Config
    from ivrd.phone.caller import Ivr
    from ivrd.phone.imports import Imports
    from ivrd.simulator.sounds import Sounds

__all__ = ["ivr", "ivr_backend", "ivr_config", "ivr_sounds"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `ivrd_config` to pytest's configuration."""
    parser.addini("ivrd_config", "ivrd.toml in which `ivr.dial(NAME)` looks apps up by name", type="paths", default=[])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test that uses `ivr`, unless another plugin does."""
    names = pyfuncitem.fixturenames
    if "ivr" not in names or "anyio_backend" in names or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    import anyio

    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    anyio.run(functools.partial(pyfuncitem.obj, **arguments))
    return True


@pytest.fixture
def ivr_backend(request: pytest.FixtureRequest) -> Literal["asyncio", "trio"]:
    """The loop that apps run on: anyio's where the test uses its fixture, else asyncio. Override it as you like."""
    if "anyio_backend" in request.fixturenames:
        backend: Literal["asyncio", "trio"] = request.getfixturevalue("anyio_backend_name")
        return backend
    return "asyncio"


@pytest.fixture
def ivr_sounds() -> Sounds:
    """Which prompts there are, and how long they play: here any name, one second. Override it as you like."""
    from ivrd.simulator.sounds import SoundTable

    return SoundTable()


@pytest.fixture
def ivr_config(request: pytest.FixtureRequest) -> Callable[[], Config] | None:
    """Where configured apps are found: the file of the option `ivrd_config`. Override it as you like."""
    paths = request.config.getini("ivrd_config")
    if not paths:
        return None
    from ivrd.config import load

    return lambda: load(str(paths[0]))


@pytest.fixture(scope="session")
def _ivr_imports() -> Imports:
    from ivrd.phone.imports import Imports

    return Imports()


@pytest.fixture
def ivr(
    ivr_backend: Literal["asyncio", "trio"],
    ivr_sounds: Sounds,
    ivr_config: Callable[[], Config] | None,
    _ivr_imports: Imports,
) -> Iterator[Ivr]:
    """A telephone to the app under test, in virtual time; see `ivrd.phone.caller.Ivr`."""
    from ivrd.phone.caller import Ivr

    telephone = Ivr(ivr_backend, ivr_sounds, ivr_config, _ivr_imports)
    try:
        yield telephone
    finally:
        problems = telephone.close()
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
