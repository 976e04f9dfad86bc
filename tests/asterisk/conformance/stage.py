"""The directory that a run happens in: the probe, the prompts, the scenarios' programs and the records of what came.

The rule that holds here: it has the same path inside Asterisk's root and outside, because the reply to `P` tells it.
Only `out` differs: each side has its own, which the real one gets bound over the simulator's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.asterisk.conformance.scenario import Scenario

__all__ = ["Event", "Record", "Stage", "open_stage"]

# One frame of silence, 20 ms.
_GSM_FRAME = bytes.fromhex("d820a2e15a50" + "00492492492450" * 3 + "004924924924")
_SECONDS = {
    "silence/10": 10.0,
    "c/short": 0.3,
    "c/second": 1.0,
    "c/long": 6.0,
    "c/empty": 0.0,
    "c/with space": 0.2,
    "c/tick": 0.02,
}


@dataclass(frozen=True)
class Event:
    """A line that the probe read, its timestamp replaced, or `eof`."""

    ms: float
    line: str

    def __str__(self) -> str:
        return f"{self.ms:8.0f}  {self.line[:150]}"


@dataclass(frozen=True)
class Record:
    """What came of a scenario on one side."""

    events: tuple[Event, ...]
    continued: bool
    """Whether the dialplan went on after ExternalIVR()."""
    log: tuple[str, ...]
    """What app_externalivr logged about the channel."""


def _read_events(path: Path) -> tuple[Event, ...]:
    events = []
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]:
        ms, _, event = line.partition(" ")
        # Exactly ten digits: whatever else there is in its place stays, and is a difference.
        events.append(Event(float(ms), re.sub(r"^(.),\d{10}(?!\d)", r"\1,TIME", event)))
    return tuple(events)


class Stage:
    """See the module; `directory` should be short, for the reply to `P` is cut at 99 bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sounds = directory / "sounds"
        self.probe = directory / "probe"
        for name in ("in", "out"):
            (directory / name).mkdir()
        self._make_sounds()
        self._compile()
        self._count = 0
        self._names: dict[int, str] = {}

    def _make_sounds(self) -> None:
        for name, seconds in _SECONDS.items():
            path = self.sounds / "en" / f"{name}.gsm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_GSM_FRAME * round(seconds * 50))
        (self.sounds / "en/c/broken.wav").write_bytes(b"this is no WAV file, whatever it is called")
        (self.sounds / "c").mkdir()
        (self.sounds / "c/no language.gsm").write_bytes(_GSM_FRAME * 10)

    def _compile(self) -> None:
        compiler = next((name for name in ("musl-gcc", "cc", "gcc", "clang") if shutil.which(name)), "cc")
        source = Path(__file__).with_name("probe.c")
        flags = ["-static", "-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wpedantic"]
        subprocess.run([compiler, *flags, "-o", str(self.probe), str(source)], check=True)

    def put(self, scenarios: Iterable[Scenario]) -> dict[str, Scenario]:
        """Write the programs of scenarios, each under a name that was not used before: `{name: scenario}`."""
        named = {}
        for scenario in scenarios:
            self._count += 1
            name = f"s{self._count:04d}"
            (self.directory / "in" / name).write_text(scenario.program, encoding="utf-8")
            named[name] = scenario
        return named

    def argv(self, name: str, scenario: Scenario) -> Sequence[str]:
        """The command of ExternalIVR() and its arguments."""
        return (str(self.probe), str(self.directory / "in" / name), *scenario.args)

    def read(self, name: str, out: Path | None = None) -> tuple[Event, ...] | None:
        """The events of a scenario that is over, `None` while it is not."""
        path = (out or self.directory / "out") / name
        return _read_events(path) if path.exists() else None


@contextmanager
def open_stage() -> Iterator[Stage]:
    """A stage for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="eivr-") as directory:
        yield Stage(Path(directory))
