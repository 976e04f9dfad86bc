"""A call's channel by itself: order of what is sent, answers to questions, what wakes whom."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from ivrd import CallEnded, eivr
from ivrd.worker.channel import Channel


class Pipe:
    """A transport that takes `room` lines."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.written: list[str] = []
        self.gone = False
        self.wake = trio.Event()

    def widen(self, room: int) -> None:
        self.room = room
        self.wake.set()
        self.wake = trio.Event()

    def read(self) -> bytes:
        raise NotImplementedError

    def write(self, line: bytes) -> None:
        if self.gone:
            raise BrokenPipeError
        if len(self.written) >= self.room:
            raise BlockingIOError
        self.written.append(line.decode().removeprefix("L,").rstrip())

    def complain(self, text: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    async def wait_readable(self) -> None:
        raise NotImplementedError

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        while len(self.written) >= self.room and not self.gone:
            await self.wake.wait()


def log(*words: str) -> list[bytes]:
    return [eivr.log(f"line {word}") for word in words]


async def test_what_finds_no_room_goes_before_what_comes_later(nursery: trio.Nursery) -> None:
    pipe = Pipe(1)
    channel = Channel(pipe, lambda: None)
    channel.run_writers_in(nursery)  # type: ignore[arg-type]  # a nursery has the one method it needs
    channel.post(*log("1", "2", "3"))
    assert pipe.written == ["line 1"]
    pipe.room = 4
    channel.post(*log("4"))
    assert pipe.written == ["line 1"], "room came, and what waits has not gone yet"
    await trio.testing.wait_all_tasks_blocked()
    assert pipe.written == ["line 1", "line 2", "line 3", "line 4"]
    async with trio.open_nursery() as inner:
        inner.start_soon(channel.send, *log("5", "6"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(pipe.written) == 4
        channel.post(*log("7"))
        pipe.widen(6)
    assert pipe.written[4:] == ["line 5", "line 6"]


async def test_a_broken_pipe_is_told_and_ends_waits_once_the_call_is_over(nursery: trio.Nursery) -> None:
    told: list[bool] = []
    pipe = Pipe(1)
    channel = Channel(pipe, lambda: told.append(channel.broken))
    channel.run_writers_in(nursery)  # type: ignore[arg-type]  # a nursery has the one method it needs
    channel.post(*log("1", "2"))
    await trio.testing.wait_all_tasks_blocked()
    pipe.gone = True
    pipe.widen(1)
    await trio.testing.wait_all_tasks_blocked()
    assert told == [True]
    assert channel.hungup
    async with trio.open_nursery() as inner:
        inner.start_soon(_expect_end, channel)
        await trio.testing.wait_all_tasks_blocked()
        channel.finish("it is over", *log("3"))
    assert pipe.written == ["line 1"]


async def _expect_end(channel: Channel) -> None:
    with pytest.raises(CallEnded, match="it is over"):
        await channel.written()
    with pytest.raises(CallEnded, match="it is over"):
        channel.post(*log("x"))


async def test_an_answer_to_a_question_that_nobody_asked_is_no_answer() -> None:
    channel = Channel(Pipe(10), lambda: None)
    first, params, second = channel.ask(
        ("A", eivr.get_variables("A")), ("", eivr.get_params()), ("B", eivr.get_variables("B"))
    )
    channel.receive(b"G,1800000000,IVRD_MARK=1\nP,1800000000,x\n")
    assert (first.reply, params.reply, second.reply) == (None, None, None)
    channel.receive(b"G,1800000000,A=1\nG,1800000000,B=2\n")
    assert isinstance(first.reply, eivr.Variables)
    assert first.reply.raw == "A=1"
    assert second.reply is None
    channel.receive(b"P,1800000000,cmd\nG,1800000000,B=2\n")
    assert isinstance(params.reply, eivr.Params)
    assert isinstance(second.reply, eivr.Variables)
    channel.receive(b"G,1800000000,B=2\n")


async def test_a_hangup_under_option_i_ends_what_plays() -> None:
    channel = Channel(Pipe(10), lambda: None)
    batch = channel.playlist.add(["a"], 0.0)
    channel.receive(b"I,1800000000,HANGUP\n")
    assert batch.settled
    assert channel.playlist.playing_until() < 0
    with pytest.raises(CallEnded):
        await channel.until(lambda: False, live=True)
