"""The examples behave the same on the simulator and on real Asterisk: the same callers, played at the same time on
both, each before the same ivrd.

The rule here: what is compared has no times in it, and no key is pressed near the end of a prompt, where it is chance
what comes first. The simulator has Asterisk's own prompts, so that they are as long as there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import trio

from ivrd.simulator.process import Exchange, ProcessCall, open_exchange
from ivrd.simulator.records import Outcome
from ivrd.simulator.script import Hangup, Pause, Press, Step, read
from ivrd.simulator.sounds import DirectorySounds
from ivrd.worker.secrets import cover_spoken
from tests.asterisk.conftest import starter
from tests.asterisk.rig import Asterisk
from tests.examples.stage import Ear, bound, example_apps
from tests.service import Service

pytestmark = [pytest.mark.asterisk, pytest.mark.timeout(300)]  # half a minute, on a machine that is not busy


class Caller(NamedTuple):
    """Who calls.

    Attributes:
        app: the app that is called.
        args: what the dialplan passes.
        script: what the caller does. There are no waits in it: only a simulated caller knows what it hears.
        gets: channel variables that tell how far the caller came.
    """

    app: str
    args: tuple[str, ...]
    script: str
    gets: Mapping[str, str]


CALLERS = {
    # In the menu's first prompt of four.
    "bank-balance": Caller("bank", ("x", "100"), "pause:1.5 8642 pause:1.3 1", {"BANK_HEARD": "all"}),
    # In the menu's last prompt, then in the midst of a number.
    "bank-overdrawn": Caller(
        "bank", ("x", "+15550100"), "pause:1.5 1357 pause:4.7 1 pause:2.1 #", {"BANK_HEARD": "part"}
    ),
    "bank-refused": Caller(
        "bank", ("x", "100"), "pause:1.5 1111 pause:2 2222 pause:2 3333", {"BANK_RESULT": "refused"}
    ),
    "bank-stranger": Caller("bank", ("x", "999"), "", {"BANK_RESULT": "refused"}),
    # In silence, then a wrong key, then the right one while that is said.
    "bank-agent": Caller("bank", ("x", "100"), "pause:4.5 8642 pause:4.7 9 pause:1.5 0", {"BANK_RESULT": "agent"}),
    # After a time-out, and gone in the midst of the menu.
    "bank-hangup": Caller("bank", ("x", "100"), "pause:15 8642 pause:1.4 hangup", {}),
    "survey-answered": Caller("survey", ("x",), "pause:1.3 5 pause:3 3 pause:1.1 4", {"SURVEY_ANSWERED": "3"}),
    # A wrong key, another while that is said, then none at all to a question that is asked twice.
    "survey-hesitant": Caller(
        "survey", ("x",), "pause:2.9 9 pause:1.5 2 pause:16.2 1", {"SURVEY_FRIENDLY": "2", "SURVEY_AGAIN": "1"}
    ),
    "survey-hangup": Caller("survey", ("x",), "pause:1.3 4 pause:3 9 pause:1.5 hangup", {"SURVEY_ANSWERED": "1"}),
    "callback-own": Caller("callback", ("x", "100"), "pause:6.7 1", {"CALLBACK_NUMBER": "100"}),
    "callback-other": Caller(
        "callback", ("x", "100"), "pause:1.3 2 pause:2.8 5550123#", {"CALLBACK_NUMBER": "5550123"}
    ),
    "callback-silence": Caller("callback", ("x", "100"), "", {"CALLBACK_RESULT": "none"}),
    # Gone in the midst of a number.
    "callback-hangup": Caller("callback", ("x", "100"), "pause:6.7 2 pause:2.8 5550 pause:1.5 hangup", {}),
}
VERSIONS = ("22", "16")
#: All that the three set.
VARIABLES = (
    "BANK_RESULT", "BANK_HEARD", "SURVEY_FRIENDLY", "SURVEY_QUICK", "SURVEY_AGAIN", "SURVEY_ANSWERED",
    "CALLBACK_RESULT", "CALLBACK_NUMBER", "IVRD_STATUS", "IVRD_CALL_ID",
)  # fmt: skip


@dataclass(frozen=True)
class Played:
    """What came of a caller on one side; the call's id is `ID`.

    Attributes:
        lines: all that went over the wire, `command V,…` or `event F,…`.
        result: what ivrd says of the call.
        variables: the channel's, at its end.
        continued: whether the dialplan went on.
    """

    lines: tuple[str, ...]
    result: str
    variables: dict[str, str]
    continued: bool

    @property
    def heard(self) -> list[tuple[str, str]]:
        """The prompts that came to an end of their own or were stopped, as the wire tells it."""
        ends = {"event F": "finished", "event T": "interrupted"}
        parted = [line.partition(",") for line in self.lines]
        return [(prompt, ends[tag]) for tag, _, prompt in parted if tag in ends]


def dialplan() -> str:
    """Each caller as two extensions of its name: in `app` the one who is called, in `caller` what the caller does."""
    variables = "|".join(f"{name}=${{{name}}}" for name in VARIABLES)
    text = ""
    for name, (app, args, script, _) in CALLERS.items():
        text += f"""
[app]
exten => {name},1,Set(CHANNEL(hangup_handler_push)=over,{name},1)
 same => n,ExternalIVR(/usr/bin/ivrd-shim({",".join([app, *args])}))
 same => n,Set(CONTINUED=yes)
 same => n,Hangup()
[over]
exten => {name},1,Log(NOTICE,over {name}: CONTINUED=${{CONTINUED}}|{variables})
 same => n,Return()
[caller]
exten => {name},1,Answer()
"""
        text += "".join(f" same => n,{what}\n" for what in deeds(read(script)))
    return text


def deeds(steps: Sequence[Step]) -> Iterator[str]:
    """What a caller in the dialplan does for a script."""
    sound_s = 0.0
    for step in steps:
        match step:
            case Pause(seconds):
                yield f"Wait({seconds - sound_s:.3f})"
            case Press(keys):
                # Behind the keys comes a sound, see the rig's own callers.
                yield f"SendDTMF({keys},100)"
                yield "Playback(silence/1)"
                sound_s = 1.0
            case Hangup(0.0):
                yield "Hangup()"
                return
            case _:
                raise AssertionError(f"{step} cannot be done in a dialplan")
    yield "Wait(120)"


class Stage:
    """Plays all callers on all sides, and keeps what came of each.

    Attributes:
        asterisks: the real ones.
        played: by caller, and by `simulator` or Asterisk's version.
        simulated: the simulator's own record of each call.
    """

    def __init__(self, ivrd: Service, asterisks: Sequence[Asterisk]) -> None:
        self._ivrd = ivrd
        self.asterisks = asterisks
        self.played: dict[tuple[str, str], Played] = {}
        self.simulated: dict[str, ProcessCall] = {}

    async def play(self) -> None:
        # `en` is a link that leads elsewhere outside of Asterisk's root.
        directory = f"/proc/{self.asterisks[0].pid}/root/usr/share/asterisk/sounds"
        sounds = DirectorySounds(directory, language="en_US_f_Allison")
        with trio.fail_after(120):
            async with open_exchange(sounds=sounds) as exchange, trio.open_nursery() as nursery:
                for name in CALLERS:
                    await self._dial(name, exchange, nursery)
                    for asterisk in self.asterisks:
                        await self._originate(name, asterisk, nursery)

    async def _dial(self, name: str, exchange: Exchange, nursery: trio.Nursery) -> None:
        app, args, script, _ = CALLERS[name]
        ear = Ear(self._ivrd, app)
        await ear.open()
        call = exchange.dial([str(self._ivrd.shim), f"--socket={self._ivrd.socket}", app, *args])
        self.simulated[name] = call
        nursery.start_soon(call.follow, read(script))
        await ear.found()
        nursery.start_soon(self._simulated, name, call, ear)

    async def _simulated(self, name: str, call: ProcessCall, ear: Ear) -> None:
        lines, result = await ear.hear()
        ending = await call.ended()
        variables = {key: ear.anonymous(value) for key, value in call.variables.items()}
        self.played[name, "simulator"] = Played(lines, result, variables, ending.outcome is Outcome.CONTINUED)

    async def _originate(self, name: str, asterisk: Asterisk, nursery: trio.Nursery) -> None:
        ear = Ear(self._ivrd, CALLERS[name].app)
        await ear.open()
        await trio.to_thread.run_sync(lambda: asterisk.originate(f"Local/{name}@caller", extension=f"{name}@app"))
        await ear.found()
        nursery.start_soon(self._real, name, asterisk, ear)

    async def _real(self, name: str, asterisk: Asterisk, ear: Ear) -> None:
        lines, result = await ear.hear()
        (over,) = await trio.to_thread.run_sync(lambda: asterisk.wait_log(rf"over {name}: (.*)$"))
        pairs = [pair.split("=", 1) for pair in ear.anonymous(over[1]).split("|")]
        variables = {key: value for key, value in pairs if value}
        continued = variables.pop("CONTINUED", "") == "yes"
        self.played[name, asterisk.version] = Played(lines, result, variables, continued)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """All callers, played on all sides at once."""
    env = {"CALLBACK_DATABASE": str(tmp_path_factory.mktemp("callback") / "callbacks.sqlite3")}
    apps = example_apps("bank", "survey", "callback").replace("\npath", "\nworkers = 1\npath")
    with starter() as start, Service(apps, env=env, drain_timeout=2.0) as ivrd:
        asterisks = [start(version, dialplan=dialplan(), bind=bound(ivrd)) for version in VERSIONS]
        stage = Stage(ivrd, asterisks)
        trio.run(stage.play)
        yield stage


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_call_goes_as_on_real_asterisk(stage: Stage, caller: str, version: str) -> None:
    simulated, real = stage.played[caller, "simulator"], stage.played[caller, version]
    assert simulated.heard == real.heard
    assert simulated.lines == real.lines
    assert simulated == real
    # Both would be alike as well if the caller got nowhere.
    assert CALLERS[caller].gets.items() <= real.variables.items()
    assert (real.result, real.continued) == (("hangup", False) if "hangup" in caller else ("completed", True))


@pytest.mark.parametrize("caller", CALLERS)
def test_a_simulated_caller_hears_what_the_wire_tells(stage: Stage, caller: str) -> None:
    # What plays when the caller hangs up has no end that Asterisk would tell of.
    heard = [(cover_spoken(one.prompt), one.how) for one in stage.simulated[caller].heard if one.how != "cut off"]
    assert heard == [(cover_spoken(prompt), how) for prompt, how in stage.played[caller, "simulator"].heard]


def test_asterisk_has_nothing_to_complain_of(stage: Stage) -> None:
    for asterisk in stage.asterisks:
        assert not re.findall(r"(?:WARNING|ERROR)\[.*", asterisk.log_text())
    for call in stage.simulated.values():
        assert {line.level for line in call.log} <= {"NOTICE"}, call.transcript()
