"""`python -m tests.asterisk.rig setup`: get all that the tests on real Asterisk need, or say what is missing."""

from __future__ import annotations

import sys

from tests.asterisk.rig.roots import (
    RELEASES,
    RigUnavailable,
    build_root,
    check_host,
    install_tools,
    installed_version,
    say,
)


def main(arguments: list[str]) -> int:
    """Install tools, build missing roots. Returns 0 when all is there, 1 when it cannot be, 2 for wrong usage."""
    if arguments != ["setup"]:
        print("usage: python -m tests.asterisk.rig setup", file=sys.stderr)
        return 2
    try:
        check_host()
        install_tools()
        for release in RELEASES.values():
            root = build_root(release.version)
            say(f"Asterisk {installed_version(release, root)} is ready in {root}")
    except RigUnavailable as error:
        print(f"no real Asterisk for the tests: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
