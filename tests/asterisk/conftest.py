"""Fixtures for tests on real Asterisk. Where it cannot be had a test is skipped, saying why; with CI=true it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from tests.asterisk.rig import Asterisk, RigUnavailable, which


class StartAsterisk(Protocol):
    """What the fixture `start_asterisk` gives: starts an Asterisk that ends with the test; arguments as `Asterisk`
    has them.
    """

    def __call__(
        self, version: str, *, dialplan: str = "", sip: bool = False, bind: Mapping[Path, str] | None = None
    ) -> Asterisk: ...


@pytest.fixture
def start_asterisk() -> Iterator[StartAsterisk]:
    """Starts real Asterisks ("22", "16"), about half a second each, and stops them all after the test."""
    with starter() as start:
        yield start


@contextmanager
def starter() -> Iterator[StartAsterisk]:
    """What `start_asterisk` gives, for fixtures that live longer than a test."""
    with ExitStack() as running:

        def start(
            version: str, *, dialplan: str = "", sip: bool = False, bind: Mapping[Path, str] | None = None
        ) -> Asterisk:
            try:
                if sip:
                    which("sipp")
                return running.enter_context(Asterisk(version, dialplan=dialplan, sip=sip, bind=bind))
            except RigUnavailable as error:
                reason = str(error)
            if os.environ.get("CI") == "true":
                pytest.fail(f"with CI=true nothing is left out: {reason}", pytrace=False)
            pytest.skip(f"no real Asterisk: {reason}")

        yield start
