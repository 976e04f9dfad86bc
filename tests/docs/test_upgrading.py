"""What docs/upgrading.md tells readers to type where there is no systemd, typed."""

from __future__ import annotations

import subprocess

from tests.docs.pages import ROOT, blocks
from tests.service import BIN, Service


def test_a_daemon_is_told_to_leave_by_the_line_that_is_given() -> None:
    (line,) = (
        line
        for block in blocks(ROOT / "docs" / "upgrading.md")
        for line in block.text.splitlines()
        if line.startswith("kill ")
    )
    with Service('[apps.menu]\nhandler = "menu:main"', files={"menu.py": "async def main(call): ..."}) as ivrd:
        env = {**ivrd.env, "PATH": f"{BIN}:{ivrd.env['PATH']}", "IVRD_CONFIG": str(ivrd.config_file)}
        subprocess.run(["sh", "-c", line], env=env, check=True)
        assert ivrd.wait() == 0
        assert ivrd.lines("stopped")[0]["left_to_the_next"] is True
        ivrd.start()
