"""The names that app authors import, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ivrd


@pytest.mark.parametrize("name", ivrd.__all__)
def test_each_name_is_there(name: str) -> None:
    assert getattr(ivrd, name) is not None
    assert name in dir(ivrd)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Caller'"):
        ivrd.Caller  # noqa: B018 - that is what is tested


def test_importing_the_package_imports_nothing_else() -> None:
    script = "import sys, ivrd; print([n for n in sys.modules if n.startswith(('ivrd.', 'anyio', 'msgspec'))])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
