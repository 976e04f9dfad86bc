"""Tests with the fixture `ivr` are run on both kinds of loop."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def ivr_backend(request: pytest.FixtureRequest) -> Any:
    return request.param
