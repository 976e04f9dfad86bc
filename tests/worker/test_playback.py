"""What is known of Asterisk's playlist, from what was sent and what came back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivrd.eivr import Dropped, Failed, Finished, Interrupted, Key, parse
from ivrd.simulator.sounds import SoundTable
from ivrd.worker.arguments import interrupting_keys
from ivrd.worker.keys import ANY_KEY
from ivrd.worker.playback import Played, Playlist
from tests.simulator.line import Line


def test_keys_that_interrupt() -> None:
    assert interrupting_keys(False) == interrupting_keys("") == ""
    assert interrupting_keys(True) == ANY_KEY
    assert interrupting_keys("1a#") == "1A#"


def test_prompts_finish_in_order() -> None:
    playlist = Playlist()
    batch = playlist.add(["a", "b", "a"], 0.0)
    assert playlist.playing_until() == 600
    for now, prompt in ((1.0, "a"), (2.0, "b")):
        playlist.note(Finished(0, prompt), now)
        assert not batch.settled
        assert playlist.playing_until() == now + 600
    playlist.note(Finished(0, "a"), 3.0)
    assert batch.settled
    assert not playlist.waiting
    assert playlist.playing_until() < 0
    assert batch.played() == Played(finished=("a", "b", "a"))


def test_an_event_settles_what_was_before_it() -> None:
    playlist = Playlist()
    first = playlist.add(["a", "b"], 0.0)
    second = playlist.add(["c"], 0.0)
    playlist.note(Finished(0, "c"), 1.0)
    assert first.settled
    assert first.played() == Played(lost=("a", "b"))
    assert second.played() == Played(finished=("c",))


def test_a_missing_prompt_settles_only_itself() -> None:
    playlist = Playlist()
    first = playlist.add(["a", "x"], 0.0)
    second = playlist.add(["b"], 0.0)
    playlist.note(Failed(0, "x"), 0.1)
    assert first.missing == "x"
    assert first.waiting
    assert not second.settled
    playlist.note(Failed(0, "unknown"), 0.1)
    playlist.note(Finished(0, "a"), 1.0)
    playlist.note(Finished(0, "b"), 2.0)
    assert second.played().complete
    assert first.played().finished == ("a",)


def test_an_interruption_before_the_answer_does_not_refuse_what_comes_behind_it() -> None:
    playlist = Playlist()
    early = playlist.add(["a"], 0.0)
    playlist.interruption()
    late = playlist.add(["b"], 0.0)
    playlist.note(Failed(0, ""), 0.1)
    assert early.not_up
    playlist.note(Failed(0, ""), 0.1)
    assert not late.not_up
    playlist.note(Finished(0, "b"), 1.0)
    assert late.played().complete


def test_a_refusal_on_a_channel_that_was_up_means_that_it_is_being_hung_up() -> None:
    playlist = Playlist()
    batch = playlist.add(["a", "b"], 0.0)
    playlist.note(Finished(0, "a"), 1.0)
    late = playlist.add(["c"], 1.0)
    playlist.note(Failed(0, ""), 1.1)
    assert batch.settled
    assert late.settled
    assert not batch.not_up
    assert not late.not_up


def test_what_was_given_up_can_still_be_told_of_without_harm() -> None:
    playlist = Playlist()
    old = playlist.add(["a"], 0.0)
    playlist.give_up(old)
    assert old.played() == Played(lost=("a",))
    new = playlist.add(["a"], 5.0)
    playlist.note(Interrupted(0, "a"), 5.1)
    assert not new.settled
    playlist.note(Dropped(0, "a"), 5.2)
    assert new.played() == Played(dropped=("a",))


def test_a_key_interrupts_a_batch_once_and_only_if_it_is_one_of_its_own() -> None:
    playlist = Playlist()
    deaf = playlist.add(["a"], 0.0)
    batch = playlist.add(["b"], 0.0, keys="12")
    assert not playlist.interrupting("3")
    assert playlist.interrupting("2")
    playlist.interruption()
    assert not playlist.interrupting("1")
    assert (deaf.key, batch.key) == (None, "2")
    assert deaf.stopped
    assert batch.stopped


SECONDS = {"a": 0.3, "b": 0.5, "c": 1.0}
steps = st.lists(
    st.one_of(
        st.tuples(st.just("play"), st.lists(st.sampled_from(["a", "b", "c", "missing", "locked"]), max_size=4)),
        st.tuples(st.just("wait"), st.floats(0.01, 2.0)),
        st.tuples(st.just("key"), st.sampled_from("12")),
        st.tuples(st.just("interrupt"), st.none()),
    ),
    max_size=12,
)


@given(steps)
def test_whatever_is_played_the_playlist_knows_what_was_heard(course: list[tuple[str, object]]) -> None:
    """The model of Asterisk plays; what is said of each prompt must be what the caller heard of it."""
    line = Line(sounds=SoundTable(SECONDS, missing={"missing"}, unopenable={"locked"}))
    playlist = Playlist()
    batches = []

    def follow() -> None:
        for tag, data in line.take():
            text = f"{tag},1800000000" + (f",{data}" if data is not None else "")
            event = parse(text.encode())
            if isinstance(event, Key):
                if playlist.interrupting(event.key):
                    interrupt()
            elif isinstance(event, Finished | Interrupted | Dropped | Failed):
                playlist.note(event, line.now)

    def interrupt() -> None:
        if playlist.waiting:
            playlist.interruption()
            line.write("I,x")

    for what, how in course:
        match what, how:
            case "play", list(prompts):
                batches.append(playlist.add(prompts, line.now, keys="1"))
                line.write(*(f"A,{prompt}" for prompt in prompts))
            case "wait", float(seconds):
                line.wait(seconds)
            case "key", str(key):
                line.press(key)
            case _:
                interrupt()
        follow()
    line.wait(60)
    follow()

    heard = [one for one in line.channel.heard if one.end is not None]
    played = [batch.played() for batch in batches]
    assert [one.prompt for one in heard if one.how == "finished"] == [p for one in played for p in one.finished]
    assert [one.prompt for one in heard if one.how == "interrupted"] == [
        one.interrupted for one in played if one.interrupted
    ]
    for batch in batches:
        assert (batch.missing is not None) == any(entry.prompt == "missing" for entry in batch.entries)
        assert set(batch.played().lost) <= {"locked"}


@pytest.mark.parametrize("prompt", ["a", "missing", "locked"])
def test_the_property_above_tells_right_from_wrong(prompt: str) -> None:
    """Without the prompt's fate known it would be lost."""
    playlist = Playlist()
    batch = playlist.add([prompt], 0.0)
    assert batch.played().lost == (prompt,)
