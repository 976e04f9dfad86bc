"""The layout: which package may lean on which, what the pure core may not touch, and the shape of every file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ivrd"
TESTS = Path(__file__).parent

# Downwards only: a package may import from layers below its own, never from another of its own layer or above.
# `ivrd/__init__.py` stands beside the table: of what it exports, ivrd itself uses the version only.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"phone"},
    {"daemon", "worker", "simulator"},
    {"observe"},
    {"rules"},
    {"wire"},
    {"eivr"},
    {"descriptors", "config"},
    {"errors"},
)
LEVEL = {name: level for level, names in enumerate(reversed(LAYERS)) for name in names}
TOP = len(LAYERS)

PURE = ("eivr", "wire", "rules")
IMPURE = {
    "anyio",
    "asyncio",
    "random",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
    "trio",
}
LINES = 400


def sources(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if "__pycache__" not in path.parts)


def dotted(path: Path) -> tuple[str, ...]:
    """The module's full name, in parts; a package's `__init__` is the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(source: str, module: tuple[str, ...], *, package: bool) -> Iterator[str]:
    """The full names that a module imports anywhere, functions and `TYPE_CHECKING` included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [] if node.module is None else node.module.split(".")
            if node.level:
                # One dot is the package that the module is in.
                base = [*module[: len(module) - node.level + package], *base]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def imported_by(path: Path) -> list[str]:
    return list(imports(path.read_text(), dotted(path), package=path.name == "__init__.py"))


def climbing(part: str, names: list[str]) -> list[str]:
    """Of the names that a part of ivrd imports, those which the table does not allow."""
    wrong = []
    for name in names:
        root, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if root == "ivrd" and other not in (part, "__version__") and LEVEL.get(other, TOP) >= LEVEL[part]:
            wrong.append(name)
    return wrong


MODULES = [path for path in sources(PACKAGE) if path != PACKAGE / "__init__.py"]


def shown(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_dependencies_point_downwards(path: Path) -> None:
    part = dotted(path)[1]
    assert part in LEVEL, f"{part} has no place in the table of layers: give it one"
    assert climbing(part, imported_by(path)) == []


@pytest.mark.parametrize("path", [path for path in MODULES if dotted(path)[1] in PURE], ids=shown)
def test_the_core_knows_no_clock_no_socket_and_no_loop(path: Path) -> None:
    assert {name.partition(".")[0] for name in imported_by(path)} & IMPURE == set()


@pytest.mark.parametrize("path", sources(PACKAGE), ids=shown)
def test_every_module_opens_with_a_paragraph_that_says_what_it_is_for(path: Path) -> None:
    opening = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0]
    assert opening.endswith((".", ":"))


@pytest.mark.parametrize("path", sources(PACKAGE) + sources(TESTS), ids=shown)
def test_every_file_is_short_and_has_a_name_that_says_something(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES
    assert "util" not in path.stem


# The test's own eyes.


def test_every_way_of_importing_is_seen() -> None:
    source = """
import ivrd.daemon.pool as p, time
from ivrd import worker
from ivrd.wire.hello import Status
from . import sibling
from .. import observe
from ..rules.life import Life
def later():
    if TYPE_CHECKING:
        from ivrd.cli import main
"""
    seen = set(imports(source, ("ivrd", "daemon", "calls"), package=False))
    assert seen == {
        "ivrd.daemon.pool", "time", "ivrd.worker", "ivrd.wire.hello.Status", "ivrd.daemon.sibling", "ivrd.observe",
        "ivrd.rules.life.Life", "ivrd.cli.main",
    }  # fmt: skip
    assert set(imports("from .hello import a\nfrom ..eivr import b", ("ivrd", "wire"), package=True)) == {
        "ivrd.wire.hello.a", "ivrd.eivr.b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("part", "name", "allowed"),
    [
        ("daemon", "ivrd.rules.life", True),
        ("daemon", "ivrd.daemon.pool", True),
        ("daemon", "trio", True),
        ("daemon", "ivrd.worker", False),
        ("worker", "ivrd.daemon.calls", False),
        ("simulator", "ivrd.worker.call", False),
        ("rules", "ivrd.observe", False),
        ("wire", "ivrd.rules.life", False),
        ("eivr", "ivrd.wire", False),
        ("errors", "ivrd.config", False),
        ("cli", "ivrd.daemon", True),
        ("daemon", "ivrd.__version__", True),
        ("daemon", "ivrd.Call", False),
        ("daemon", "ivrd", False),
    ],
)
def test_the_table(part: str, name: str, allowed: bool) -> None:
    assert climbing(part, [name]) == ([] if allowed else [name])
