"""What the container is made of: a Debian root with systemd and Python, and the wheels of all that ivrd needs.

The rule here is that of the Asterisk roots: what other code gets to see is complete, for it was made under another name
and renamed; it lies in the same cache and is never written to.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.asterisk.rig.roots import RigUnavailable, cache_dir, mirror_for

REPOSITORY = Path(__file__).parents[3]
SUITE = "bookworm"
PYTHON = "3.11"  # of that suite
_PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv"
_PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]

#: What the rig calls, and the Debian package that has it.
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}


def check_host() -> None:
    """Raise `RigUnavailable` unless containers can be booted here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise RigUnavailable("a booted container needs root: run the tests as root on Linux")
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise RigUnavailable(f"not installed: {', '.join(missing)} (Debian packages)")


def root() -> Path:
    """The root directory, made first if the cache does not have it (half a minute).

    Raises:
        RigUnavailable: it cannot be made here.
    """
    place = cache_dir() / f"systemd-{SUITE}"
    with _locked(place):
        if not place.is_dir():
            scratch = _scratch(place)
            _run(
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                f"--include={_PACKAGES}",
                SUITE,
                scratch,
                mirror_for(SUITE),
            )
            scratch.rename(place)
    return place


def wheelhouse() -> Path:
    """The directory with the wheels of ivrd's dependencies, fetched first if the cache does not have them.

    Raises:
        RigUnavailable: they cannot be had here.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needs: list[str] = project["dependencies"]
    machine = platform.machine()
    digest = hashlib.sha256("\n".join([*needs, machine]).encode()).hexdigest()[:12]
    place = cache_dir() / f"wheels-{digest}"
    with _locked(place):
        if not place.is_dir():
            scratch = _scratch(place)
            platforms = [f"--platform=manylinux{tag}_{machine}" for tag in ("2014", "_2_28")]
            target = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *platforms]
            _run(*_PIP, "download", *target, "--dest", scratch, *needs)
            scratch.rename(place)
    return place


def wheel(directory: Path, version: str | None = None) -> Path:
    """Build ivrd's wheel in a directory, as what it is or under another version; returns its path."""
    source = directory / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in ("ivrd", "shim"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    if version is not None:
        init = source / "ivrd/__init__.py"
        text, changed = re.subn(r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"', init.read_text())
        assert changed == 1, "the version is not where it was"
        init.write_text(text)
    _run(*_PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, source)
    shutil.rmtree(source)
    (built,) = directory.glob(f"ivrd-{version or '*'}-*.whl")
    return built


def _scratch(place: Path) -> Path:
    scratch = place.with_suffix(".new")
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed; ours to remove, for we hold the lock
    return scratch


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RigUnavailable(f"{Path(command[0]).name} failed: {done.stderr.strip()[-800:]}")


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
