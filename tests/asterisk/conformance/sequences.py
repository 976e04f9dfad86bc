"""Random scenarios from Hypothesis, and how a failing one is made short.

The rule that holds here: they are drawn beforehand and run many at once, since a call takes seconds and nearly no CPU.
That is why Hypothesis does not shrink them itself: a round of `shorter` runs all candidates at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ivrd.simulator.sounds import Sounds
from tests.asterisk.conformance.rehearsal import lively, steady
from tests.asterisk.conformance.scenario import Action, Channel, Scenario

__all__ = ["draw", "shorter"]

_prompts = st.sampled_from(
    ["c/short", "c/second", "c/long", "c/short", "c/with space", "c/no language", "c/broken", "c/empty", "c/nowhere"]
)
_names = st.sampled_from(["A", "B", "_A", "__B", "A B", "", "CHANNEL"])
_words = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\{"), max_size=12)
_digits = st.text("0123456789ABCD*#wfx", max_size=3)
_commands = st.one_of(
    st.builds("{},{}".format, st.sampled_from("AASS"), _prompts),
    st.builds("{},{}".format, st.sampled_from("AASS"), _prompts),
    st.sampled_from(
        ["I,x", "I,x", "O,autoclear", "O,autoclear", "O,noautoclear", "T,x", "P,1", "O,what", "P", "E,", ""]
    ),
    st.builds("D,{}".format, _digits),
    st.builds(
        "D,{},{},{}".format, _digits, st.sampled_from(["50", "0", "-1", "0.2s", "x"]), st.sampled_from(["80", ""])
    ),
    st.builds("V,{}={}".format, _names, _words),
    st.builds("G,{},{}".format, _names, _names),
    st.builds("L,{}".format, _words),
    st.builds("L,{{x*{}}}A,c/short".format, st.integers(1015, 1025)),
    _words.filter(lambda word: word[:1] not in "EHX"),
)
_CHANNELS: tuple[tuple[Channel, str], ...] = (
    *(("up", options) for options in ("", "", "", "", "i", "i", "n", "ni", "d")),
    *(("down", options) for options in ("", "n")),
    *(("dead", options) for options in ("d", "i")),
)
_LAST_STEPS = 48
_APART = 2  # neighbours often differ in a single word
_last_words = st.sampled_from(["E,x", "E,x", "E,x", "H,x", "X,x"])


@st.composite
def _scenarios(draw: st.DrawFn) -> Scenario:
    channel, options = draw(st.sampled_from(_CHANNELS))
    packet = draw(st.booleans())
    steps = ["packet"] if packet else ["wait 50"]
    # Without packet mode two writes in a row may or may not be one read.
    pauses = st.sampled_from([0, 0, 100, 300, 700] if packet else [150, 300, 700])
    for pause, lines in draw(
        st.lists(st.tuples(pauses, st.lists(_commands, min_size=1, max_size=3)), min_size=3, max_size=9)
    ):
        if pause:
            steps.append(f"wait {pause}")
        steps.extend([f"> {line}" for line in lines] if packet else ["> " + "\\n".join(lines)])
    # What is left in Asterisk's buffer comes out line by line.
    steps.append("wait 700")
    last = draw(_last_words)
    steps += [f"> {last}", "wait 110"] * (_LAST_STEPS // 2)
    caller: list[Action] = draw(
        st.lists(st.tuples(st.sampled_from([100, 400, 900]), st.sampled_from("12*D")), max_size=3)
    )
    if draw(st.sampled_from([False, False, True])):
        caller.append((draw(st.sampled_from([200, 700])), "hangup"))
    # On a dead channel there is no caller, and before an answer that may never come none either.
    waits = channel == "dead" or (channel == "down" and "n" in options)
    return Scenario("random", tuple(steps), options, channel, () if waits else tuple(caller))


def draw(count: int, number: int, sounds: Sounds) -> list[Scenario]:
    """So many fair scenarios, the same ones for the same seed as long as the code is the same.

    Args:
        count: how many.
        number: the seed.
        sounds: the prompts that both sides have.
    """
    drawn: list[Scenario] = []

    @seed(number)
    @settings(
        max_examples=count * 20 * _APART,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_scenarios())
    def take(scenario: Scenario) -> None:
        if len(drawn) < count * _APART and lively(scenario, sounds) and steady(scenario, sounds):
            drawn.append(replace(scenario, name=f"random {number}-{len(drawn) + 1}"))

    take()
    assert len(drawn) == count * _APART, f"only {len(drawn)} of {count * 20 * _APART} scenarios were fair"
    return drawn[_APART - 1 :: _APART]


def shorter(scenario: Scenario, size: int, sounds: Sounds) -> Iterator[Scenario]:
    """The fair scenarios that have so many steps in a row less, or one of the caller's actions; the end stays."""
    for start in range(0, len(scenario.steps) - _LAST_STEPS, size):
        end = min(start + size, len(scenario.steps) - _LAST_STEPS)
        left_out = scenario.steps[start:end]
        less = replace(scenario, steps=scenario.steps[:start] + scenario.steps[end:])
        if "packet" not in left_out and steady(less, sounds):
            yield less
    for index in range(len(scenario.caller)):
        less = replace(scenario, caller=scenario.caller[:index] + scenario.caller[index + 1 :])
        if steady(less, sounds):
            yield less
