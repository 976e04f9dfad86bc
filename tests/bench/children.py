"""The contenders of `make bench`: each a program that Asterisk could start for a call, as short as its kind can be.

The rule that holds here: each sends `E` as its first command and waits for the end of its stdin, as a well-behaved
child must, so that what is compared is only what it takes to get there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["IMPORTS", "Contender", "build"]

IMPORTS = "json, re, logging, sqlite3, urllib.request, datetime"

_C = r"""
#include <unistd.h>
int main(void)
{
    char events[4096];
    if (write(1, "E,done\n", 7) != 7)
        return 1;
    while (read(0, events, sizeof events) > 0)
        ;
    return 0;
}
"""

_PYTHON = "import sys{imports}\nsys.stdout.write('E,done\\n')\nsys.stdout.flush()\nsys.stdin.read()\n"


@dataclass(frozen=True)
class Contender:
    """One way to answer a call.

    Attributes:
        name: what the table calls it.
        argv: the program.
    """

    name: str
    argv: tuple[str, ...]


def build(directory: Path, shim: Path, socket: str) -> list[Contender]:
    """Make the programs.

    Args:
        directory: where to put them.
        shim: the shim.
        socket: the daemon's socket, on which app `now` is served.

    Returns:
        The contenders; those whose compiler or interpreter this machine lacks are left out.
    """
    source = directory / "child.c"
    source.write_text(_C)
    contenders = [Contender("ivrd: shim and worker", (str(shim), f"--socket={socket}", "now"))]
    system = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    for name, compiler in (("C child, system's compiler", system), ("C child, musl", shutil.which("musl-gcc"))):
        if compiler is not None:
            program = directory / Path(compiler).name
            subprocess.run([compiler, "-O2", "-static", "-o", program, source], check=True)
            contenders.append(Contender(name, (str(program),)))
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    for name, imports in (("python3, bare", ""), ("python3, six imports", ", " + IMPORTS)):
        script = directory / f"child{len(imports)}.py"
        script.write_text(_PYTHON.format(imports=imports))
        contenders.append(Contender(name, (python, str(script))))
    return contenders
