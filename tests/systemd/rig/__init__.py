"""Real systemd for tests: a booted container, what it is made of, and a caller inside."""

from tests.asterisk.rig.roots import RigUnavailable
from tests.systemd.rig.container import Caller, Container
from tests.systemd.rig.roots import REPOSITORY, check_host, root, wheel, wheelhouse

__all__ = ["REPOSITORY", "Caller", "Container", "RigUnavailable", "check_host", "root", "wheel", "wheelhouse"]
