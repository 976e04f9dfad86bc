"""Fixtures for tests on booted systemd. Where it cannot be had a test is skipped, saying why; with CI=true it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.systemd.rig import REPOSITORY, Container, RigUnavailable, wheel, wheelhouse

NEXT = "99.1"  # the version after this one
WHEELS = "/mnt/wheels"
INSTALL, UNINSTALL = (f"/mnt/deploy/systemd/{script}" for script in ("install", "uninstall"))


class Host(Container):
    """A container with ivrd's `deploy` directory, this version's wheel and the next one's, and what they need."""

    def install(self, version: str, *options: str, find_links: str = WHEELS) -> list[str]:
        """The command that installs a version's wheel."""
        wheel = self.ask("sh", "-c", f"ls /mnt/ivrd/ivrd-{version}-*.whl")
        return [INSTALL, "--find-links", find_links, *options, wheel]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A booted container, for all tests of a module."""
    try:
        wheels = tmp_path_factory.mktemp("wheels")
        wheel(wheels)
        wheel(wheels, NEXT)
        container = Host(bind={REPOSITORY / "deploy": "/mnt/deploy", wheels: "/mnt/ivrd", wheelhouse(): WHEELS})
    except RigUnavailable as error:
        reason = str(error)
        if os.environ.get("CI") == "true":
            pytest.fail(f"with CI=true nothing is left out: {reason}", pytrace=False)
        pytest.skip(f"no booted systemd: {reason}")
    with container:
        yield container
