"""`ivrd trace` on live calls of a real daemon: the ladder, the file, secrets, and who comes and goes meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from ivrd.simulator.process import open_exchange
from ivrd.simulator.sounds import SoundTable
from tests.service import Service

IVRD = str(Path(sys.executable).with_name("ivrd"))
APP = """
async def main(call):
    pin = await call.digits("enter-pin", max=4, timeout=60, secret=True)
    choice = await call.menu("menu", "12", timeout=60)
    await call.set(PIN=pin, CHOICE=choice or "")

async def reads_back(call):
    pin = await call.digits(["press", "digits/7"], max=4, timeout=60, secret=True)
    await call.say_digits(pin)

async def flood(call):
    await call.digits("go", max=1, timeout=60)
    for _ in range(4000):
        await call.set(X="y")
"""
APPS = """
[apps.main]
handler = "menu:main"
workers = 1
set_call_id = true
log_call_id = true

[apps.reads_back]
handler = "menu:reads_back"
workers = 1

[apps.flood]
handler = "menu:flood"
workers = 1
"""


@pytest.fixture(scope="module")
def ivrd() -> Iterator[Service]:
    with Service(APPS, files={"menu.py": APP}, drain_timeout=1.0) as service:
        yield service


class Trace:
    """A running `ivrd trace`, read line by line."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.text = ""

    async def sees(self, text: str) -> None:
        assert self.process.stdout is not None
        with trio.fail_after(30):
            while text not in self.text:
                data = await self.process.stdout.receive_some()
                assert data, f"it ended: {self.text}"
                self.text += data.decode()

    async def ended(self) -> str:
        assert self.process.stdout is not None
        with trio.fail_after(30):
            async for data in self.process.stdout:
                self.text += data.decode()
            await self.process.wait()
        return self.text


@asynccontextmanager
async def tracing(ivrd: Service, *args: str) -> AsyncIterator[Trace]:
    argv = [IVRD, "trace", "-c", str(ivrd.config_file), *args]
    process = await trio.lowlevel.open_process(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        yield Trace(process)
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


def only_call(ivrd: Service) -> str:
    (call,) = ivrd.calls()
    return str(call["id"])


async def test_a_live_call_as_a_ladder_and_in_a_file(ivrd: Service, tmp_path: Path) -> None:
    path = tmp_path / "call.rec"
    async with open_exchange() as exchange:
        call = exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", "main", "x"])
        await call.hears("enter-pin")
        async with tracing(ivrd, only_call(ivrd), "--save", str(path)) as trace:
            await trace.sees("of main")
            call.press("8642")
            await call.hears("menu")
            call.press("1")
            await call.ended()
            text = await trace.ended()
    assert "8642" not in text
    rungs = [line.split("app  ")[1].split() for line in text.splitlines() if "app  " in line]
    assert rungs.count(["?", "key"]) == 4
    assert ["A,menu", "play"] in rungs
    assert ["1", "key"] in rungs
    assert ["V,PIN=****,CHOICE=1", "set"] in rungs
    assert text.splitlines()[-1].strip() == "over: completed (the handler returned)"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    recording = json.loads(path.read_text())
    assert (recording["app"], recording["args"], recording["result"]) == ("main", ["x"], "completed")
    assert "8642" not in path.read_text()
    # What came before is not in it, and who plays it is told so.
    assert recording["since"] > 0
    replay = [IVRD, "dial", "-c", str(ivrd.config_file), "main", "--replay", str(path), "--secret=8642", "--fast"]
    done = await trio.run_process(replay, capture_stderr=True, capture_stdout=True, check=False)
    assert b"s after the call did: what was before cannot be played" in done.stderr


async def test_what_may_be_a_secrets_digits_is_covered_and_plays_again(ivrd: Service, tmp_path: Path) -> None:
    path = tmp_path / "call.rec"
    sounds = SoundTable({f"digits/{digit}": 0.1 for digit in "86427"})
    async with open_exchange(sounds=sounds) as exchange:
        call = exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", "reads_back"])
        await call.hears("press")
        async with tracing(ivrd, only_call(ivrd), "--save", str(path)) as trace:
            await trace.sees("of reads_back")
            call.press("8642")
            await call.ended()
            text = await trace.ended()
    assert text.count("A,digits/****") == text.count("F,digits/****") == 4
    assert not re.search("digits/[8642]", text + path.read_text())
    replay = [IVRD, "dial", "-c", str(ivrd.config_file), "reads_back", "--replay", str(path), "--secret=8642", "--fast"]
    done = await trio.run_process(replay, capture_stdout=True, check=False)
    _, _, diff = done.stdout.decode().partition("the app behaves differently:\n")
    differs = [line.strip() for line in diff.splitlines() if line.strip()[0] in "+-"]
    assert differs == ["+A,press", "+A,digits/****"], "who looked came late"


@pytest.mark.parametrize("which", [["--next"], ["--app", "main"]])
async def test_the_next_call_is_seen_whole_and_plays_again(ivrd: Service, tmp_path: Path, which: list[str]) -> None:
    path = tmp_path / "call.rec"
    async with open_exchange() as exchange, tracing(ivrd, *which, "--save", str(path)) as trace:
        with trio.fail_after(30):
            while not path.exists():  # until the daemon has heard of the wish, calls come and go untraced
                call = exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", "main", "x"])
                await call.hears("enter-pin")
                await call.follow([])
                call.press("8642")
                await call.hears("menu")
                call.press("2")
                await call.ended()
                with trio.move_on_after(0.5):
                    await trace.ended()
    text = trace.text
    assert "A,enter-pin" in text
    assert "8642" not in text
    for where in "--fast", "--shim":
        done = await trio.run_process(
            [IVRD, "dial", "-c", str(ivrd.config_file), "main", "--replay", str(path), "--secret", "8642", where],
            capture_stdout=True,
            check=False,
        )
        assert b"the app behaves as it did" in done.stdout, done.stdout
        assert b"8642" not in done.stdout
        assert done.returncode == 0
    assert json.loads(path.read_text())["since"] == 0


async def test_several_may_look_and_each_may_leave(ivrd: Service) -> None:
    async with open_exchange() as exchange:
        call = exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", "main", "x"])
        await call.hears("enter-pin")
        name = only_call(ivrd)
        async with tracing(ivrd, name) as first:
            await first.sees("of main")
            async with tracing(ivrd, name) as second:
                await second.sees("of main")
                call.press("8642")
                await first.sees("A,menu")
                await second.sees("A,menu")
                first.process.send_signal(signal.SIGINT)
                await first.ended()
                assert first.process.returncode == 0
                call.press("1")
                await call.ended()
                assert (await second.ended()).endswith("over: completed (the handler returned)\n")
    assert "CHOICE" in second.text
    assert "CHOICE" not in first.text


async def test_who_has_left_may_come_again(ivrd: Service) -> None:
    async with open_exchange() as exchange:
        call = exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", "main", "x"])
        await call.hears("enter-pin")
        for _ in range(2):
            async with tracing(ivrd, only_call(ivrd)) as trace:
                await trace.sees("of main")
        async with tracing(ivrd, only_call(ivrd)) as trace:
            await trace.sees("of main")
            call.press("8642")
            await trace.sees("A,menu")
        call.press("1")
        await call.ended()


async def test_one_who_does_not_look_holds_up_nothing_and_misses_nothing_untold(ivrd: Service, tmp_path: Path) -> None:
    async with open_exchange() as exchange:
        call = exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", "flood", "x"])
        await call.hears("go")
        async with tracing(ivrd, only_call(ivrd), "--save", str(tmp_path / "call.rec")) as trace:
            await trace.sees("of flood")
            trace.process.send_signal(signal.SIGSTOP)
            call.press("1")
            await call.ended(30)
            trace.process.send_signal(signal.SIGCONT)
            text = await trace.ended()
    told = text.count("app  ")
    left_out = re.findall(r"(\d+) lines were left out so far", text)
    assert len(left_out) == len(set(left_out))  # each gap is told once
    # The prompt came before; the key, what stops the prompt, and how the call ends are in it.
    assert 4000 <= told + int(left_out[-1] if left_out else 0) <= 4010
    assert json.loads((tmp_path / "call.rec").read_text())["dropped"] == int(left_out[-1] if left_out else 0)


async def test_what_cannot_be_traced_is_one_line(ivrd: Service) -> None:
    for args, says in (
        (["nope"], "ivrd: there is no live call 'nope'; `ivrd calls` lists them"),
        (["--app", "nope"], "ivrd: there is no app 'nope'; there is "),
        ([], "ivrd: say which call"),
        (["x", "--next"], "ivrd: say which call"),
    ):
        async with tracing(ivrd, *args) as trace:
            text = await trace.ended()
            assert text.startswith(says)
            assert len(text.splitlines()) == 1
