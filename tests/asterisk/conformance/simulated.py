"""Scenarios on the simulator: the probe as a real child on real pipes, the caller as the dialplan's caller would be.

The rule that holds here: nothing of the model is adjusted for the comparison; what differs is the model's fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import trio

from ivrd.simulator.caller import NotSeen
from ivrd.simulator.process import Exchange, ProcessCall, open_exchange
from ivrd.simulator.records import Log, Outcome
from ivrd.simulator.sounds import DirectorySounds
from tests.asterisk.conformance.scenario import KEY_GAP_S, KEY_LEAD_S, Scenario
from tests.asterisk.conformance.stage import Record, Stage

__all__ = ["run_simulated"]

_AT_ONCE = 20
_NOT_OURS = "Illegal DTMF character"  # logged by Asterisk's core, without the channel's name
_CALL_TIMEOUT_S = 40.0


async def _act(call: ProcessCall, scenario: Scenario) -> None:
    # A caller has the call once it is answered, if ever.
    with suppress(NotSeen):
        await call.until(lambda: call.channel.answered, "an answer", _CALL_TIMEOUT_S)
    for pause_ms, action in scenario.caller:
        await trio.sleep(pause_ms / 1000)
        if action == "hangup":
            call.hangup()
            return
        await trio.sleep(KEY_LEAD_S)
        call.press(action)
        await trio.sleep(KEY_GAP_S)


async def _run(exchange: Exchange, stage: Stage, name: str, scenario: Scenario) -> Record:
    dead = scenario.channel == "dead"
    call = exchange.dial(
        stage.argv(name, scenario),
        scenario.options,
        answered=scenario.channel != "down",
        hung_up=dead,
        variables=dict(scenario.variables),
    )
    async with trio.open_nursery() as nursery:
        if scenario.caller:
            nursery.start_soon(_act, call, scenario)
        await call.ended(_CALL_TIMEOUT_S)
        if call.pid is not None:
            await call.exited(_CALL_TIMEOUT_S)
        nursery.cancel_scope.cancel()
    return Record(
        stage.read(name) or (),
        # The dialplan stops at a hangup, whatever ExternalIVR() returns, unless it is in `h` already.
        call.outcome is Outcome.CONTINUED and (dead or not call.channel.hung_up),
        tuple(
            _log_line(line) for line in call.log if line.level != "SIMULATOR" and not line.text.startswith(_NOT_OURS)
        ),
    )


def _log_line(line: Log) -> str:
    # As the log of the real one is read: with a mark for what is no UTF-8.
    return f"{line.level} {line.text}".encode("utf-8", "surrogateescape").decode("utf-8", "replace")


async def _run_all(stage: Stage, scenarios: Mapping[str, Scenario]) -> dict[str, Record]:
    records: dict[str, Record] = {}
    at_once = trio.Semaphore(_AT_ONCE)

    async def one(name: str, scenario: Scenario) -> None:
        async with at_once:
            records[name] = await _run(exchange, stage, name, scenario)

    sounds = DirectorySounds(stage.sounds)
    async with open_exchange(sounds=sounds, patience=_CALL_TIMEOUT_S) as exchange, trio.open_nursery() as nursery:
        for name, scenario in scenarios.items():
            nursery.start_soon(one, name, scenario)
    return records


def run_simulated(stage: Stage, scenarios: Mapping[str, Scenario]) -> dict[str, Record]:
    """Run scenarios (`Stage.put`) on the simulator; records by name."""
    return trio.run(_run_all, stage, scenarios)
