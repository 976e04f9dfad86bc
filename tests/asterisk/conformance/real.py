"""Scenarios on real Asterisk: calls between two ends of a Local channel, the app at one, the caller at the other.

The rule that holds here: all that a scenario needs stands in the dialplan before its call begins, so that nothing but
the call itself goes on while it lasts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.asterisk.conformance.scenario import Scenario
from tests.asterisk.conformance.stage import Event, Record, Stage
from tests.asterisk.rig import Asterisk

__all__ = ["SOUNDS", "Real"]

SOUNDS = "/usr/share/asterisk/sounds"
_LINGER_S = 1.0
_STAY_S = 30
_FRAME = "Playback(c/tick)"
_APP_STARTS = "Wait(0.04)"  # as long as the app's own frame and the fork take: both sides' times count from its start


def _application(stage: Stage, name: str, scenario: Scenario) -> str:
    command, *arguments = stage.argv(name, scenario)
    return f"ExternalIVR({command}({','.join(arguments)}),{scenario.options})"


def _extension(extension: str, applications: Sequence[str]) -> str:
    first, *others = applications
    return f"exten => {extension},1,{first}\n" + "".join(f" same => n,{other}\n" for other in others)


def dialplan(stage: Stage, scenarios: Mapping[str, Scenario]) -> str:
    """Contexts `app` and `caller`, with an extension for each scenario, and one context for each dead channel."""
    # Answering waits half a second for the other end's first frame, so each end begins with one.
    app, caller, dead = "[app]\n", "[caller]\n", ""
    for name, scenario in scenarios.items():
        run = [f"Set({variable}={value})" for variable, value in scenario.variables]
        run += [_application(stage, name, scenario), f"Log(NOTICE,CONTINUED {name})"]
        if scenario.channel == "dead":
            app += _extension(name, [f"Goto(dead-{name},{name},1)"])
            dead += f"[dead-{name}]\n" + _extension(name, ["Hangup()"]) + _extension("h", run)
        else:
            app += _extension(name, [*([_FRAME] if scenario.channel == "up" else []), *run, "Hangup()"])
        actions = ["Answer()", _FRAME if scenario.channel == "down" else _APP_STARTS]
        for pause_ms, action in scenario.caller:
            actions.append(f"Wait({pause_ms / 1000})")
            actions.append("Hangup()" if action == "hangup" else f"SendDTMF({action})")
        caller += _extension(name, [*actions, f"Wait({_STAY_S})", "Hangup()"])
    return app + caller + dead


class Real:
    """One Asterisk with the stage bound in; `bind` is what to start it with.

    Args:
        stage: the run's stage.
        version: "22" or "16".
    """

    def __init__(self, stage: Stage, version: str) -> None:
        self.version = version
        self._stage = stage
        self._out = stage.directory / f"out-{version}"
        self._out.mkdir(exist_ok=True)
        self._asterisk: Asterisk | None = None
        self.bind: dict[Path, str] = {
            stage.directory: str(stage.directory),
            self._out: str(stage.directory / "out"),
            stage.sounds: SOUNDS,
        }

    def use(self, asterisk: Asterisk) -> None:
        """The Asterisk that was started."""
        self._asterisk = asterisk

    def run(
        self, scenarios: Mapping[str, Scenario], at_once: int = 8, done: Callable[[], None] = lambda: None
    ) -> dict[str, Record]:
        """Run scenarios (`Stage.put`), so many at once; records by name. `done` is called as each is over."""
        asterisk = self._asterisk
        assert asterisk is not None, "call use() first"
        (asterisk.etc / "extensions.conf").write_text(dialplan(self._stage, scenarios), encoding="utf-8")
        asterisk.cli("dialplan reload")
        waiting = list(scenarios)
        running: dict[str, float] = {}  # when the call was last seen
        events: dict[str, tuple[Event, ...]] = {}
        while waiting or running:
            while waiting and len(running) < at_once:
                name = waiting.pop(0)
                ends = [f"{name}@app", f"{name}@caller"]
                local, extension = ends if scenarios[name].channel == "down" else reversed(ends)
                asterisk.originate(f"Local/{local}/n", extension=extension)
                running[name] = time.monotonic()
            channels, now = asterisk.cli("core show channels concise"), time.monotonic()
            for name in list(running):
                if f"/{name}@" in channels:
                    running[name] = now
                record = self._stage.read(name, self._out)
                if record is None and now < running[name] + _LINGER_S:
                    continue
                events[name] = record or ()  # nothing, for one that Asterisk would not start
                del running[name]
                done()
            time.sleep(0.02)
        # The call's last lines come after the end of the probe.
        asterisk.wait_channels(0)
        return {name: self._record(name, events[name], asterisk.log_text()) for name in scenarios}

    def _record(self, name: str, events: tuple[Event, ...], log: str) -> Record:
        ours = rf"^\[[^\]]*\] (\w+)\[\d+\](?:\[C-\w+\])? app_externalivr\.c: Local/{name}@\w+-\w+;[12]: (.*)$"
        return Record(
            events,
            f"CONTINUED {name}\n" in log,
            # Asterisk 16 has a word wrong.
            tuple(
                f"{level} {text.replace('depricated', 'deprecated')}"
                for level, text in re.findall(ours, log, re.MULTILINE)
            ),
        )
