"""What a scenario is: an ExternalIVR program's steps, a caller's actions, the dialplan's options; and its text form.

The rule that holds here: a scenario says everything that both sides need, so that neither knows which one it is. In the
files of `scenarios/` one looks like this; the steps are `probe.c`'s, and `{x*1100}` stands for 1,100 times `x`:

    [a key clears the playlist]
    channel: down
    options: n
    args: one,two
    variables: NAME=Bob,CITY=Rome
    caller: 500 12 300 hangup
    > A,c/long
    until F
    > E,x

A variable whose value has a comma stands by itself: `variable: NAME=Rome, Italy`; there may be several such lines.
`channel` is `up` (answered before), `down` or `dead` (hung up before). The caller waits milliseconds and presses keys
in turn; numbers that stand first, third… are pauses. Without `hangup` it stays until the app ends the call.
`tight: yes` marks one whose point is what happens between two ticks of the generator; it is tried again if a tick got
in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

__all__ = ["KEY_GAP_S", "KEY_LEAD_S", "SCENARIOS", "Action", "Channel", "Scenario", "load", "parse", "scenario_text"]

Channel: TypeAlias = Literal["up", "down", "dead"]
Action: TypeAlias = tuple[int, str]
"""A pause in milliseconds, then what the caller does: a key, or `hangup`."""

KEY_LEAD_S = 0.2
"""From the start of SendDTMF(1) to the key's event: 100 ms of quiet, then the tone, whose end is the event."""

KEY_GAP_S = 0.25
"""From there to the end of SendDTMF(1)."""

SCENARIOS = Path(__file__).with_name("scenarios")


@dataclass(frozen=True)
class Scenario:
    name: str
    steps: tuple[str, ...]
    options: str = ""
    channel: Channel = "up"
    caller: tuple[Action, ...] = ()
    args: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    tight: bool = False

    @property
    def program(self) -> str:
        """The steps as the probe reads them."""
        expanded = (
            re.sub(r"\{([^*{}]+)\*(\d+)\}", lambda found: found[1] * int(found[2]), step) for step in self.steps
        )
        return "".join(f"{step}\n" for step in expanded)


def _parse_caller(text: str) -> Iterator[Action]:
    words = text.split()
    for pause, action in zip(words[::2], words[1::2], strict=True):
        if action != "hangup" and not re.fullmatch(r"[0-9A-D*#]", action):
            raise ValueError(f"caller: {action!r} is neither a key nor hangup")
        yield int(pause), action


def _parse(name: str, lines: Iterable[str]) -> Scenario:
    headers: dict[str, str] = {}
    pairs: list[str] = []
    steps: list[str] = []
    for line in lines:
        header = re.fullmatch(r"(options|channel|caller|args|variables?|tight): (.*)", line)
        if header and not steps:
            headers[header[1]] = header[2]
            if header[1].startswith("variable"):
                pairs += [header[2]] if header[1] == "variable" else filter(None, header[2].split(","))
        else:
            steps.append(line)
    channel: Channel | None = next(
        (known for known in get_args(Channel) if known == headers.get("channel", "up")), None
    )
    if channel is None:
        raise ValueError(f"[{name}] channel: {headers['channel']!r} is none of {', '.join(get_args(Channel))}")
    variables = (pair.partition("=") for pair in pairs)
    return Scenario(
        name,
        tuple(steps),
        headers.get("options", ""),
        channel,
        tuple(_parse_caller(headers.get("caller", ""))),
        tuple(filter(None, headers.get("args", "").split(","))),
        tuple((variable, value) for variable, _, value in variables),
        headers.get("tight") == "yes",
    )


def parse(text: str) -> list[Scenario]:
    """The scenarios of a text. `#` begins a comment line."""
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    return [
        _parse(name, [line for line in body.split("\n") if line.strip()])
        for name, body in re.findall(r"^\[(.+)\]\n((?:(?!\[).*\n?)*)", text, re.MULTILINE)
    ]


def load(*files: str) -> list[Scenario]:
    """The scenarios of these files of `scenarios/`, of all of them when none is named."""
    scenarios: list[Scenario] = []
    for path in sorted(SCENARIOS / name for name in files) if files else sorted(SCENARIOS.glob("*.txt")):
        scenarios += parse(path.read_text(encoding="utf-8"))
    names = [scenario.name for scenario in scenarios]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two scenarios of one name: {', '.join(sorted(twice))}")
    return scenarios


def scenario_text(scenario: Scenario) -> str:
    """The scenario as it stands in a file."""
    lines = [f"[{scenario.name}]"]
    if scenario.options:
        lines.append(f"options: {scenario.options}")
    if scenario.channel != "up":
        lines.append(f"channel: {scenario.channel}")
    if scenario.tight:
        lines.append("tight: yes")
    if scenario.caller:
        lines.append("caller: " + " ".join(f"{pause} {action}" for pause, action in scenario.caller))
    if scenario.args:
        lines.append("args: " + ",".join(scenario.args))
    pairs = [f"{name}={value}" for name, value in scenario.variables]
    if plain := [pair for pair in pairs if "," not in pair]:
        lines.append("variables: " + ",".join(plain))
    lines += [f"variable: {pair}" for pair in pairs if "," in pair]
    return "\n".join([*lines, *scenario.steps]) + "\n"
