"""How the shim is built: static, small, without a warning by any compiler at hand, and within its bounds of size."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

BUILD = ROOT / "shim" / "build"
SOURCE = ROOT / "shim" / "ivrd-shim.c"


def build(output: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUILD, output], env=os.environ | env, capture_output=True, text=True, check=False)


def needs_a_dynamic_linker(program: Path) -> bool:
    data = program.read_bytes()
    assert data[:5] == b"\x7fELF\x02"  # 64 bits
    offset, size, count = struct.unpack_from("=Q14xHH", data, 32)
    kinds = {struct.unpack_from("=I", data, offset + at * size)[0] for at in range(count)}
    return 3 in kinds  # PT_INTERP


@pytest.mark.parametrize("compiler", ["musl-gcc", "gcc", *filter(shutil.which, ["clang"])])
def test_no_compiler_warns(tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        if compiler != "clang" and os.environ.get("CI") == "true":
            pytest.fail(f"{compiler} is missing")
        pytest.skip(f"{compiler} is not installed")
    output = tmp_path / "ivrd-shim"
    done = build(output, CC=compiler)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert b"ivrd-shim: hanging up: " in output.read_bytes()
    assert needs_a_dynamic_linker(output) == ("no static libc" in done.stderr)


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname", "sed", "mktemp", "rm"):
        (tools / name).symlink_to(shutil.which(name) or name)
    done = build(tmp_path / "ivrd-shim", PATH=str(tools), CC="")
    assert done.returncode == 1
    assert done.stderr.startswith("shim/build: no C compiler found: install one (Debian: apt install gcc musl-tools)")
    assert done.stderr.count("\n") == 1


def test_an_error_in_the_source_fails_the_build(tmp_path: Path) -> None:
    # It must not be taken for the lack of a static libc, which only earns a note.
    done = build(tmp_path / "ivrd-shim", CFLAGS="-DMAX_LINE=)")
    assert done.returncode != 0
    assert "no static libc" not in done.stderr


def test_it_stays_small_and_without_a_heap() -> None:
    source = SOURCE.read_text()
    assert source.count("\n") <= 250
    assert max(map(len, source.splitlines())) <= 120
    for word in ("malloc", "calloc", "realloc", "strdup", "asprintf", "alloca", "printf(stdout", "fopen"):
        assert word + "(" not in source
