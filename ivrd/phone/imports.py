"""Apps of several directories in one process: each gets its own modules, though another has some of the same name.

The rule that holds here: a worker imports the app of one `path` in a process of its own; a run of tests imports those
of many. From the import of an app on, modules that came from another path under a name that this one has too are out of
sight, and come back with the next app of theirs. What a test had imported by itself before is left alone.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

__all__ = ["Imports"]


class Imports:
    """Which modules apps have brought, by their `path`; for as long as the process."""

    def __init__(self) -> None:
        self._before: dict[str, frozenset[str]] = {}  # what was there when a path was first used
        self._shelves: dict[str, dict[str, ModuleType]] = {}

    def turn_to(self, path: str) -> None:
        """Make ready for the import of an app.

        Args:
            path: the app's `path`; "" where it has none and is found like any module.
        """
        if not path:
            return
        path = os.path.abspath(path)
        importlib.invalidate_caches()  # a test may have written the module a moment ago
        names = _names_in(path)
        for other, before in self._before.items():
            for name in list(sys.modules):
                if name not in before and name.partition(".")[0] in names and _is_under(name, other, path):
                    self._shelves[other][name] = sys.modules.pop(name)
        self._before.setdefault(path, frozenset(sys.modules))
        sys.modules.update(self._shelves.pop(path, {}))
        self._shelves[path] = {}


def _is_under(name: str, path: str, other: str) -> bool:
    """Whether a module came from one path and not from the other, which may lie within it."""
    file = getattr(sys.modules[name], "__file__", None) or ""
    return path != other and file.startswith(path + os.sep) and not file.startswith(other + os.sep)


def _names_in(path: str) -> set[str]:
    """The modules that stand in a directory, by name."""
    try:
        return {entry.name.partition(".")[0] for entry in os.scandir(path) if not entry.name.startswith((".", "_"))}
    except OSError:
        return set()
