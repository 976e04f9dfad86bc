"""What every test gets: a guard against leaks, the compiled shim, and Hypothesis without wall-clock limits.

The rule here: a test leaves no descriptor and no child process behind. Calls live on descriptors that several processes
share, so one forgotten copy keeps a caller in silence.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeAlias

import hypothesis
import pytest
import structlog

ROOT = Path(__file__).parent.parent
Held: TypeAlias = frozenset[tuple[str, str]]
GRACE_S = float(
    os.environ.get("IVRD_LEAK_GRACE", "5")
)  # for children that are just exiting and for what only the garbage collector closes

# Examples are slow now and then because the machine is busy, which is no failure; pytest-timeout catches hangs.
hypothesis.settings.register_profile("ivrd", deadline=None)
hypothesis.settings.load_profile("ivrd")

# A shell starts what is to run in the background with SIGINT ignored, and so would be what tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def held_by_this_process() -> Held:
    """List open descriptors and child processes, zombies included, each with what it is."""
    held: set[tuple[str, str]] = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            held.add((f"descriptor {fd}", os.readlink(f"/proc/self/fd/{fd}")))
        except FileNotFoundError:
            continue  # the one that listed the directory
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that ended meanwhile
        held.update((f"child {pid}", _start_time(pid)) for pid in pids)
    return frozenset(held)


def _start_time(pid: str) -> str:
    # A pid may be used again; a child's name would not do, for it changes at exec.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


class Kept:
    """What fixtures of a wider scope than one test hold, even those that a test asks for in its middle."""

    def __init__(self) -> None:
        self.held: Held = frozenset()


KEPT = pytest.StashKey[Kept]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[KEPT] = Kept()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    if fixturedef.scope == "function":
        return (yield)
    before = held_by_this_process()
    try:
        return (yield)
    finally:
        request.config.stash[KEPT].held |= held_by_this_process() - before


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a descriptor or a child behind.

    Autouse fixtures come first within their scope, so this one sees the test and all its fixtures of function scope.
    """
    before = held_by_this_process()
    yield
    deadline = time.monotonic() + GRACE_S
    while left := held_by_this_process() - before - request.config.stash[KEPT].held:
        gc.collect()
        if time.monotonic() > deadline:
            pytest.fail("left behind: " + ", ".join(sorted(f"{name} ({what})" for name, what in left)))
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Leave the next test no log that writes where this one's stderr was."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shim_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, compiled as the wheel has it."""
    binary = tmp_path_factory.mktemp("shim") / "ivrd-shim"
    subprocess.run([ROOT / "shim" / "build", binary], check=True)
    return binary
