"""Where the real Asterisks come from: a Debian root directory per version, built once by debootstrap, kept in a cache.

The rule here: a root that other code gets to see is complete and of the right version. It is built under another name,
checked, and renamed; two runs at once wait for each other on a lock. Roots are never written to after that (each
Asterisk runs on a layer of its own, see `server`), so they may be kept for months; remove the directory to fetch a
newer one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class RigUnavailable(Exception):
    """Real Asterisk cannot be had on this machine; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Release:
    """One Asterisk the tests run against: its major version and the Debian suite that has it."""

    version: str
    suite: str


RELEASES = {r.version: r for r in (Release("22", "sid"), Release("16", "bullseye"))}

#: What the rig calls on the host, and the Debian package that has it.
TOOLS = {"debootstrap": "debootstrap", "sipp": "sip-tester", "unshare": "util-linux", "mount": "mount"}

# minbase leaves out recommended packages, and with them the prompts that the dialplans play.
_PACKAGES = "asterisk,asterisk-core-sounds-en-gsm"
_DEBIAN_SUITES = re.compile(r"(sid|unstable|testing|stable|oldstable|bullseye|bookworm|trixie|forky)")
_SETUP = "run `python -m tests.asterisk.rig setup` as root on Debian"


def say(line: str) -> None:
    """Print one line of progress at once, whatever stdout is."""
    print(line, flush=True)


def cache_dir() -> Path:
    """The directory that holds the roots: `IVRD_TEST_CACHE`, else `ivrd-tests` in the user's cache directory."""
    if named := os.environ.get("IVRD_TEST_CACHE"):
        return Path(named).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(base) / "ivrd-tests").resolve()


def which(tool: str) -> str:
    """The full path of `tool`, a key of `TOOLS`; raises `RigUnavailable` where it is not installed."""
    # Debian's su keeps a PATH without the sbin directories, where debootstrap lives.
    found = shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise RigUnavailable(f"{tool} is not installed (Debian package {TOOLS[tool]}): {_SETUP}")
    return found


def check_host() -> None:
    """Raise `RigUnavailable` unless this process may make mount namespaces, mount in them and change root."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise RigUnavailable("real Asterisk runs in a chroot and needs root: run the tests as root on Linux")
    probe = subprocess.run(
        [which("unshare"), "--mount", "mount", "-t", "tmpfs", "ivrd-rig", "/mnt"],
        check=False,
        capture_output=True,
        text=True,
    )
    if probe.returncode != 0:
        raise RigUnavailable(f"root here may not mount (CAP_SYS_ADMIN is missing?): {probe.stderr.strip()}")


def install_tools() -> None:
    """Install the missing ones of `TOOLS` with apt-get; raises `RigUnavailable` where there is no apt-get or it
    fails.
    """
    missing = []
    for tool, package in TOOLS.items():
        try:
            which(tool)
        except RigUnavailable:
            missing.append(package)
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise RigUnavailable(f"no apt-get here to install {', '.join(missing)}: install them by hand")
    say(f"installing {', '.join(missing)}")
    _run_apt("update")
    _run_apt("install", "--yes", "--no-install-recommends", *missing)


def root_for(version: str) -> Path:
    """The root directory with Asterisk `version` ("22" or "16"); raises `RigUnavailable` where `build_root` has not
    been run.
    """
    release = RELEASES[version]
    root = cache_dir() / f"asterisk-{release.suite}"
    if not root.is_dir():
        raise RigUnavailable(f"Asterisk {version} has not been set up: {_SETUP}")
    installed_version(release, root)
    return root


def build_root(version: str) -> Path:
    """The root directory with Asterisk `version`, built first if the cache does not have it (about a minute).

    Raises `RigUnavailable` where it cannot be built, or where the suite by now carries another major version.
    """
    release = RELEASES[version]
    root = cache_dir() / f"asterisk-{release.suite}"
    with _locked(root) as lock:
        if not root.is_dir():
            _build(release, root, lock)
    return root_for(version)


def installed_version(release: Release, root: Path) -> str:
    """The full version of Asterisk in `root`; raises `RigUnavailable` unless it is one of `release.version`."""
    status = (root / "var/lib/dpkg/status").read_text(encoding="utf-8", errors="replace")
    # Debian writes 1:22.10.1+dfsg…: the epoch is not Asterisk's.
    found = re.search(r"^Package: asterisk\n(?:.+\n)*?Version: (?:\d+:)?([\d.]+)", status, re.MULTILINE)
    if found is None:
        raise RigUnavailable(f"{root} has no Asterisk: remove it, and {_SETUP}")
    if found[1].split(".")[0] != release.version:
        raise RigUnavailable(
            f"Debian {release.suite} has Asterisk {found[1]}, the tests want {release.version}.x ({root})"
        )
    return found[1]


def mirror_for(suite: str) -> str:
    """The first Debian mirror of this machine's own apt configuration that has `suite`; raises `RigUnavailable`."""
    mirrors = _apt_mirrors()
    if not mirrors and os.geteuid() == 0 and shutil.which("apt-get"):
        _run_apt("update")  # apt does not list a repository that it never fetched, as in a fresh container
        mirrors = _apt_mirrors()
    if not mirrors:
        raise RigUnavailable("apt is configured with no Debian mirror to take Asterisk from: run on Debian")
    tried = []
    for mirror in mirrors:
        try:
            with urllib.request.urlopen(f"{mirror}/dists/{suite}/Release", timeout=30):
                return mirror
        except (urllib.error.URLError, TimeoutError) as error:
            tried.append(f"{mirror}: {error}")
    raise RigUnavailable(f"no mirror here has Debian {suite} (moved to the archive by now?): {'; '.join(tried)}")


def _apt_mirrors() -> list[str]:
    # apt itself reads both of its formats, resolves mirror lists, and says whose repository each is.
    if shutil.which("apt-get") is None:
        return []
    form = "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    targets = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, None] = {}
    for line in targets.stdout.splitlines():
        origin, release, component, uri = line.split("|", 3)
        if origin == "Debian" and component == "main" and _DEBIAN_SUITES.fullmatch(release):
            found[uri.rstrip("/")] = None
    return list(found)


def _run_apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", "-q", *arguments], env=environment, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RigUnavailable(f"apt-get {' '.join(arguments)} failed: {done.stderr.strip()[-500:]}")


@contextmanager
def _locked(root: Path) -> Iterator[int]:
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(root.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _build(release: Release, root: Path, lock: int) -> None:
    debootstrap = which("debootstrap")
    mirror = mirror_for(release.suite)
    say(f"Asterisk {release.version}: building {root} from Debian {release.suite}, about a minute")
    scratch = root.with_suffix(".new")
    if scratch.exists():
        shutil.rmtree(scratch)  # of a run that was killed; ours to remove, for we hold the lock
    # In a mount namespace of its own, so that the /proc that debootstrap mounts ends with it, whatever happens.
    command = [which("unshare"), "--mount", debootstrap, "--variant=minbase", f"--include={_PACKAGES}"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    try:
        with subprocess.Popen(
            [*command, release.suite, str(scratch), mirror],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            pass_fds=(lock,),  # when this is killed, the next setup waits for the orphan, and does not build beside it
        ) as process:  # fmt: skip
            last_lines = _follow(process, release.version)
        if process.returncode != 0:
            log = scratch / "debootstrap/debootstrap.log"
            detail = log.read_text(errors="replace")[-500:] if log.exists() else ""
            raise RigUnavailable(f"debootstrap of {release.suite} failed: {' / '.join(last_lines)} {detail}".rstrip())
        installed_version(release, scratch)
        for package in (scratch / "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        scratch.rename(root)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _follow(process: subprocess.Popen[str], version: str) -> list[str]:
    """Print each step of debootstrap once (it prints every package) and return its last lines."""
    assert process.stdout is not None
    steps = ["Retrieving", "Extracting", "Unpacking", "Configuring"]
    last_lines: list[str] = []
    for line in process.stdout:
        last_lines = [*last_lines[-2:], line.strip()]
        if (found := re.match(r"I: (\w+)", line)) and found[1] in steps:
            steps.remove(found[1])
            say(f"Asterisk {version}: {found[1].lower()} …")
    return last_lines
