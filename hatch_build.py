"""Compiles the shim when a wheel is built, so that `pip install` puts `ivrd-shim` on PATH beside `ivrd`.

The rule here: how the shim is compiled is known to `shim/build` alone; this file calls it and says where the result
goes.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ShimBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling does not export the builder's config type
    """Adds the compiled shim to the wheel's scripts; editable wheels go the same way."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="ivrd-shim-"))
        shim = self.scratch / "ivrd-shim"
        done = subprocess.run(["sh", str(Path(self.root, "shim", "build")), str(shim)], check=False)
        if done.returncode != 0:
            shutil.rmtree(self.scratch)
            self.app.abort()  # shim/build has said why, in one line
        build_data["shared_scripts"][str(shim)] = "ivrd-shim"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(self.scratch)
