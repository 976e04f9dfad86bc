"""`python -m docs.generate`: writes the pages that are made from the code; with `--check` says which are out of date.

The rule that holds here: a page is a function of the code alone, so that the same code always gives the same bytes, and
the committed page is equal to them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from docs import commands, configuration, metrics

ROOT = Path(__file__).parent.parent
PAGES: dict[str, Callable[[], str]] = {
    "docs/configuration.md": configuration.page,
    "docs/metrics.md": metrics.page,
    "deploy/man/ivrd.1": commands.manual,
    "deploy/man/ivrd.toml.5": configuration.manual,
}


def outdated() -> list[str]:
    """The pages that are not what the code says."""
    return [name for name, page in PAGES.items() if not _is(ROOT / name, page())]


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def main(arguments: list[str]) -> int:
    stale = outdated()
    if arguments == ["--check"]:
        for name in stale:
            print(f"{name} is out of date: run python -m docs.generate", file=sys.stderr)
        return bool(stale)
    for name in stale:
        (ROOT / name).write_text(PAGES[name]())
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
